"""Protective steps of training: chunks, checkpoints, exactness, processes and signals."""

from __future__ import annotations

from mutation import Mutation

_CHUNK = "stages/chunks/chunk.py"
_CHECKPOINTS = "stages/training/checkpoints.py"
_LOOP = "stages/training/loop.py"
_PROCESSES = "stages/data_generation/processes.py"

MUTATIONS = (
    # chunks
    Mutation(
        "the digest of each sample",
        _CHUNK,
        "    is_damaged = sample_digests(arrays) != arrays[DIGEST]\n",
        "    is_damaged = np.zeros(count, bool)\n",
        "test_writer.py::test_no_byte_of_a_chunk_can_change_unseen",
    ),
    Mutation(
        "the seal of a chunk",
        _CHUNK,
        "    if seal != _seal(arrays[DIGEST], origin):\n",
        "    if False:\n",
        "test_writer.py::test_a_whole_chunk_of_something_else_is_not_taken",
    ),
    Mutation(
        "the header check of a chunk",
        _CHUNK,
        "    if not _is_tidy(data, arrays):\n",
        "    if False:\n",
        "test_writer.py::test_white_space_in_a_header_does_not_change_unseen",
    ),
    Mutation(
        "verifying a chunk before it is read",
        "stages/chunks/opened.py",
        "            if damage is not None:\n",
        "            if False:\n",
        "test_reader.py::test_a_flipped_pixel_costs_one_sample",
    ),
    Mutation(
        "loading the pages of a chunk where an error is no signal",
        "stages/chunks/damage.py",
        "        load_pages(mapped, name=str(path))\n",
        "",
        "test_opened.py::test_a_chunk_whose_pages_cannot_be_read_is_lost_and_kills_nobody",
    ),
    # training checkpoints
    Mutation(
        "the digest check of a checkpoint",
        _CHECKPOINTS,
        "        if digest_bytes(data) != expected.xxh3:\n",
        "        if False:\n",
        "test_checkpoints.py::test_any_damage_is_found_and_the_older_one_used",
    ),
    Mutation(
        "rotation only after the new one is safe",
        _CHECKPOINTS,
        "        files.write_folder(path, written())\n",
        "        self._rotate()\n        [files.remove(item.path) for item in self.checkpoints()]\n"
        "        files.write_folder(path, written())\n",
        "test_checkpoints.py::test_rotation_comes_after_the_new_one_is_safe",
    ),
    Mutation(
        "leaving checkpoints of other runs alone",
        _CHECKPOINTS,
        "        return (checkpoint.metadata.config_hash, checkpoint.metadata.inputs_digest) in self._owners\n",
        "        return True\n",
        "test_checkpoints.py::test_checkpoint_of_another_run_is_left_alone",
    ),
    # exact training
    Mutation(
        "the random numbers in a checkpoint",
        "stages/training/session.py",
        '            "rng": self.rng,  # last: nothing',
        "            # last: nothing",
        "test_loop.py::test_every_position_resumes_twice_to_the_same_bytes",
    ),
    Mutation(
        "the average in a checkpoint",
        "stages/training/session.py",
        '            **({} if averaging == "none" else {averaging: learner.average}),\n',
        "",
        "test_loop.py::test_every_position_resumes_twice_to_the_same_bytes",
    ),
    Mutation(
        "the learning-rate schedule in a checkpoint",
        "stages/training/session.py",
        '            "schedule": learner.schedule,\n',
        "",
        "test_loop.py::test_every_position_resumes_twice_to_the_same_bytes",
    ),
    Mutation(
        "clipping gradients whose norm is not known yet",
        "stages/training/clipping.py",
        "(known is not None and _is_surely_below(known, limit))",
        "(known is None or _is_surely_below(known, limit))",
        "test_clipping.py::test_gradients_are_those_of_torch",
    ),
    Mutation(
        "keeping validation out of the random numbers",
        "stages/training/validation.py",
        "            with rng.preserved(), torch.no_grad():\n",
        "            with torch.no_grad():\n",
        "test_loop.py::test_validation_is_done_exactly_once_wherever_it_is_interrupted",
    ),
    Mutation(
        "keeping the reader out of the random numbers",
        "stages/training/feed.py",
        "        with self._rng.preserved():\n",
        "        if True:\n",
        "test_feed.py::test_iterators_that_draw_leave_no_trace",
    ),
    Mutation(
        "checking steps before a save",
        "stages/training/saving.py",
        "            session.guard.settle()\n",
        "",
        "test_saving.py::test_unchecked_steps_are_checked_before_a_save",
    ),
    Mutation(
        "checking the state before a save",
        "stages/training/saving.py",
        "        if name.result():\n",
        "        if False:\n",
        "test_saving.py::test_bad_step_is_found_before_it_is_saved",
    ),
    Mutation(
        "writing a snapshot before its memory is used again",
        "stages/training/saving.py",
        "            self.finish()\n            if self._is_time_left():\n",
        "            if self._is_time_left():\n",
        "test_background_saves.py::test_memory_is_not_used_again_before_it_is_written",
    ),
    Mutation(
        "not taking a wait for data for the cost of a save",
        _LOOP,
        "            saver.before_step()\n",
        "",
        "test_saving.py::test_waiting_for_data_is_no_part_of_a_step",
    ),
    Mutation(
        "a failed save ending the wait for data",
        "stages/training/saving.py",
        "                stop.fail(error)",
        "                pass",
        "test_saving.py::test_failed_save_ends_the_waiting_for_data",
    ),
    Mutation(
        "letting go of a save that failed",
        "stages/training/background.py",
        "            del work",
        "            pass",
        "test_background.py::test_what_failed_is_not_kept",
    ),
    Mutation(
        "raising what a save in flight has met when training is left",
        "stages/training/background.py",
        "            self.wait()\n        finally:\n",
        "            pass\n        finally:\n",
        "test_background.py::test_errors_come_up_once_in_the_caller",
    ),
    Mutation(
        "not writing again what failed past the cache",
        "pipeline/disk.py",
        "        if error.errno not in _ONLY_THROUGH_CACHE:  # with these, none of the bytes was written\n",
        "        if False:\n",
        "test_disk.py::test_an_error_of_the_disk_is_no_reason_to_write_again",
    ),
    # processes and signals
    Mutation(
        "keeping signals from workers",
        "pipeline/processes.py",
        "    previous = signal.pthread_sigmask(signal.SIG_BLOCK, ",
        "    previous = signal.pthread_sigmask(signal.SIG_UNBLOCK, ",
        "test_data_generation_processes.py::test_signals_to_the_group_do_not_reach_workers",
    ),
    Mutation(
        "workers that die with their parent, also when they hang",
        _PROCESSES,
        "    die_with_parent()\n",
        "",
        "test_data_generation_processes.py::test_no_worker_outlives_its_parent_not_even_at_work",
    ),
    Mutation(
        "replacing a worker that hangs",
        _PROCESSES,
        "                elif self._patience(worker) <= 0:\n",
        "                elif False:\n",
        "test_data_generation_processes.py::test_a_hung_worker_is_killed_and_replaced",
    ),
    Mutation(
        "giving up a chunk that loses three workers",
        _PROCESSES,
        "        if job.num_lost == _MAX_LOST:\n",
        "        if False:\n",
        "test_data_generation_processes.py::test_an_item_that_kills_three_workers_fails_the_stage",
    ),
    Mutation(
        "a stage's process that dies with its parent",
        "pipeline/stage_process.py",
        "    die_with_parent()\n",
        "",
        "test_incremental.py::test_killed_while_it_waits",
    ),
    Mutation(
        "replacing a stage's process that is lost",
        "pipeline/stage_process.py",
        "num_lost == _MAX_LOST",
        "True",
        "test_incremental.py::test_its_data_generation_is_killed",
    ),
    Mutation(
        "binding finished work to its inputs",
        "pipeline/execution.py",
        "            files.rename(context.state_folder, run_key(context.config_hash, context.inputs_digest))\n",
        "            pass\n",
        "test_incremental.py::test_finished_work_belongs_to_its_inputs",
    ),
    Mutation(
        "comparing the chunks that a checkpoint has seen",
        "stages/training/session.py",
        "    require_ground(contents, data)\n",
        "",
        "test_incremental.py::test_what_stands_on_other_data_is_not_continued",
    ),
    Mutation(
        "waiting for inputs that may be those of before",
        "pipeline/orchestrator.py",
        "None if self._contexts.has_other_work(after, records, pending=stage.name) else after",
        "after",
        "test_incremental.py::test_work_that_may_be_done_already_is_not_begun",
    ),
    Mutation(
        "leaving at once at the second Ctrl+C",
        "pipeline/interrupts.py",
        "            os._exit(130)\n",
        "            pass\n",
        "test_interrupts.py::test_second_interrupt_leaves_at_once",
    ),
    Mutation(
        "ignoring SIGHUP",
        "pipeline/interrupts.py",
        "    previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)\n",
        "",
        "test_interrupts.py::test_closed_terminal_stops_nothing",
    ),
    Mutation(
        "not beginning a save that SIGKILL would cut off",
        "stages/training/saving.py",
        "            if self._is_time_left():\n",
        "            if True:\n",
        "test_saving.py::test_save_that_would_not_end_before_sigkill_is_not_begun",
    ),
)
