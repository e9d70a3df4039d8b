"""The protective steps, each with what the code would be without it and the test that tells."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """Replaces the text `old`, which occurs once in the file `path`, by `new`; `test` is a pytest node below tests/."""

    name: str
    path: str
    old: str
    new: str
    test: str

    def applied_to(self, source: str) -> str:
        """Return the mutated source."""
        assert source.count(self.old) == 1, f"{self.name}: {self.path} has {source.count(self.old)} times {self.old!r}"
        return source.replace(self.old, self.new)


_FILES = "pipeline/files.py"
_SEALED = "pipeline/sealed.py"
_LOCK = "pipeline/lock.py"
_EXECUTION = "pipeline/execution.py"
_OBSERVE = "pipeline/observe.py"
_CACHE = "pipeline/stat_cache.py"
_CHUNK = "stages/chunks/chunk.py"
_CHECKPOINTS = "stages/training/checkpoints.py"
_LOOP = "stages/training/loop.py"
_PROCESSES = "stages/data_generation/processes.py"

MUTATIONS = (
    # the commit protocol
    Mutation(
        "fsync of a file's bytes",
        _FILES,
        "        disk.fsync(descriptor)\n",
        "",
        "test_files.py::test_order_of_operations",
    ),
    Mutation(
        "fsync of the folder after a file got its name",
        _FILES,
        "        disk.rename(temporary, path)\n    disk.fsync_folder(path.parent)\n\n\ndef write_folder",
        "        disk.rename(temporary, path)\n\n\ndef write_folder",
        "test_files.py::test_order_of_operations",
    ),
    Mutation(
        "fsync of a folder's entries before it gets its name",
        _FILES,
        "        disk.fsync_folder(temporary)\n",
        "",
        "test_files.py::test_order_of_operations",
    ),
    Mutation(
        "fsync of the parent after a folder got its name",
        _FILES,
        "        disk.rename(temporary, path)\n    disk.fsync_folder(path.parent)\n\n\ndef make_folder",
        "        disk.rename(temporary, path)\n\n\ndef make_folder",
        "test_files.py::test_order_of_operations",
    ),
    Mutation(
        "fsync of the parent of a new folder",
        _FILES,
        "        disk.fsync_folder(path.parent)\n    _refuse_links(path)\n",
        "    _refuse_links(path)\n",
        "test_files.py::test_folder_of_a_killed_process_is_made_durable",
    ),
    Mutation(
        "fsync of the parent of a folder that was there",
        _FILES,
        "    if not path.is_dir() or (os.access(path.parent, os.W_OK) and not path.is_mount()):\n",
        "    if not path.is_dir():\n",
        "test_files.py::test_folder_of_a_killed_process_is_made_durable",
    ),
    Mutation(
        "the temporary and its rename",
        _FILES,
        "    temporary = _temporary_beside(path)\n    with _dropping(temporary, num_bytes=len(data)):\n",
        "    temporary = path\n    path.unlink(missing_ok=True)\n    with _dropping(temporary, num_bytes=len(data)):\n",
        "test_files.py::test_failed_write_leaves_the_old_file",
    ),
    Mutation(
        "writing on after a short write",
        _FILES,
        "        while written < len(view):\n",
        "        if written < len(view):\n",
        "test_files.py::test_short_writes_are_continued",
    ),
    Mutation(
        "the size check after a write",
        _FILES,
        "    if size != len(view):\n",
        "    if False:\n",
        "test_files.py::test_disk_that_says_it_took_more_than_it_did_is_found_out",
    ),
    Mutation(
        "dropping the temporary of a failed write",
        _FILES,
        "                else:\n                    disk.unlink(temporary)\n",
        "",
        "test_files.py::test_failed_write_leaves_the_old_file",
    ),
    Mutation(
        "the rename before a folder is removed",
        _FILES,
        "        disk.rename(path, doomed)\n",
        "        doomed = path\n",
        "test_files.py::test_removal_that_is_killed_leaves_no_half",
    ),
    Mutation(
        "fsync after a removal",
        _FILES,
        "        disk.unlink(path)\n        disk.fsync_folder(path.parent)\n",
        "        disk.unlink(path)\n",
        "test_files.py::test_removal_is_durable",
    ),
    Mutation(
        "fsync after setting aside",
        _FILES,
        "    disk.rename(path, path.with_name(name))\n    disk.fsync_folder(path.parent)\n",
        "    disk.rename(path, path.with_name(name))\n",
        "test_files.py::test_removal_is_durable",
    ),
    Mutation(
        "refusing to write through links",
        _FILES,
        "    _refuse_links(path)\n    _durable",
        "    _durable",
        "test_files.py::test_nothing_is_written_through_a_link",
    ),
    Mutation(
        "exclusive creation",
        "pipeline/disk.py",
        "os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW",
        "os.O_WRONLY | os.O_CREAT",
        "test_files.py::test_new_file_takes_nobody_s_place",
    ),
    # documents
    Mutation(
        "the digest check of a document",
        _SEALED,
        "        return bool(seal == digest_json(document)) and data == _encode(document, seal)\n",
        "        return True\n",
        "test_sealed.py::test_every_changed_byte_is_found",
    ),
    Mutation(
        "the size cap of a document",
        "pipeline/reading.py",
        "        if os.fstat(file.fileno()).st_size > max_bytes:\n",
        "        if False:\n",
        "test_sealed.py::test_huge_document_is_not_read",
    ),
    Mutation(
        "refusing a newer format",
        "pipeline/schema.py",
        "        if version > self.version:\n",
        "        if False:\n",
        "test_schema.py::test_newer_format_names_the_version_needed",
    ),
    # the lock
    Mutation(
        "the kernel's lock",
        _LOCK,
        "            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
        "test_lock.py::test_second_run_is_told_who_works",
    ),
    Mutation(
        "watching the lease of another machine",
        _LOCK,
        "            if self._moves(known):\n",
        "            if False:\n",
        "test_lock.py::test_run_on_another_machine_keeps_this_one_out",
    ),
    Mutation(
        "leaving when another took over",
        _LOCK,
        '        if lease and lease["token"] != self._token:\n',
        "        if False:\n",
        "test_lock.py::test_holder_that_stood_still_leaves_when_another_took_over",
    ),
    Mutation(
        "noticing that the workspace was moved",
        _LOCK,
        "        if not is_same:\n",
        "        if False:\n",
        "test_lock.py::test_workspace_that_was_moved_is_no_longer_held",
    ),
    Mutation(
        "taking the lock for a run",
        "pipeline/orchestrator.py",
        "            lock = stack.enter_context(self._locked())\n",
        "            lock = self._locked()\n",
        "test_orchestrator.py::test_only_one_run_at_a_time",
    ),
    # records and what they vouch for
    Mutation(
        "removing the record before work begins",
        _EXECUTION,
        "        store.remove(path)\n",
        "",
        "test_execution.py::test_record_goes_before_work_begins",
    ),
    Mutation(
        "looking at the inputs again when a stage is done",
        _EXECUTION,
        "        self._require_same_inputs(stage, context, result)\n",
        "",
        "test_execution.py::test_inputs_edited_while_a_stage_runs_are_found",
    ),
    Mutation(
        "asking for the lock before a record is written",
        _EXECUTION,
        "        self._lock.require_held()\n",
        "",
        "test_execution.py::test_no_record_without_the_lock",
    ),
    Mutation(
        "taking away links in the place of artifacts",
        _EXECUTION,
        "                if path.is_symlink():\n",
        "                if False:\n",
        "test_execution.py::test_link_in_place_of_an_artifact_is_damage",
    ),
    Mutation(
        "removing records whose artifacts were overwritten",
        _EXECUTION,
        "        store.drop_superseded(record)\n",
        "",
        "test_execution.py::test_overwritten_results_take_their_record_along",
    ),
    Mutation(
        "sweeping temporaries",
        _EXECUTION,
        "            files.sweep_temporaries(folder)\n",
        "            pass\n",
        "test_execution.py::test_leftovers_of_killed_writers_are_swept",
    ),
    Mutation(
        "the digest check of an artifact",
        _OBSERVE,
        "        if cache.digest(path) != artifact.xxh3:\n",
        "        if False:\n",
        "test_orchestrator.py::test_damaged_artifacts_are_mended_alone",
    ),
    Mutation(
        "refusing paths that lead out",
        "pipeline/workspace.py",
        "        if not any(real.is_relative_to(folder) for folder in (self.root, *self._folders.values())):\n",
        "        if False:\n",
        "test_workspace.py::test_paths_in_records_stay_inside",
    ),
    Mutation(
        "the inode's change time in the cache of digests",
        _CACHE,
        "found.st_mtime_ns, found.st_ino, found.st_ctime_ns]",
        "found.st_mtime_ns]",
        "test_stat_cache.py::test_flipped_byte_with_size_and_mtime_kept_is_seen",
    ),
    Mutation(
        "the inode's change time of many files together",
        _CACHE,
        "each.st_mtime_ns, each.st_ino, each.st_ctime_ns)",
        "each.st_mtime_ns, 0, 0)",
        "test_cached_run.py::test_it_notices",
    ),
    Mutation(
        "looking for links on the way to remembered files",
        _CACHE,
        "        if files.leads_through_link(Path(place)):\n",
        "        if False:\n",
        "test_stat_cache.py::test_answer_is_forgotten_with_any_of_its_files",
    ),
    Mutation(
        "not remembering what follows from fresh files",
        _CACHE,
        " and all(_is_older(each, than=self._opened) for each in stats)",
        "",
        "test_stat_cache.py::test_links_and_fresh_files_are_not_remembered",
    ),
    Mutation(
        "not remembering what follows from links",
        _CACHE,
        "os.fspath(path), _signature(path.stat()))",
        "os.fspath(path), _signature(path.lstat()))",
        "test_stat_cache.py::test_links_and_fresh_files_are_not_remembered",
    ),
    Mutation(
        "dropping what is remembered when a validation finds damage",
        "pipeline/validation.py",
        "            cache.clear()\n",
        "            pass\n",
        "test_cached_run.py::test_what_only_a_deep_validation_sees_is_mended_by_the_next_run",
    ),
    Mutation(
        "dropping what is remembered when a run has met damage",
        "pipeline/orchestrator.py",
        "            if isinstance(error, IntegrityError):\n",
        "            if False:\n",
        "test_cached_run.py::test_record_that_rots_unseen_ends_one_run_only",
    ),
    Mutation(
        "not remembering files that changed after they were read",
        _CACHE,
        "        if is_unchanged and all(",
        "        if all(",
        "test_stat_cache.py::test_file_that_changed_after_it_was_read_is_not_remembered",
    ),
    Mutation(
        "looking at all files of dates that cannot be remembered",
        _CACHE,
        "        except (OSError, IntegrityError, struct.error):\n            # A file",
        "        except (OSError, IntegrityError):\n            # A file",
        "test_stat_cache.py::test_date_that_fits_no_number_is_only_not_remembered",
    ),
    Mutation(
        "not remembering fresh files",
        _CACHE,
        " and _is_older(after, than=started):",
        ":",
        "test_stat_cache.py::test_fresh_files_are_not_remembered",
    ),
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
        "        rng=rng,  # last: nothing",
        "        # last: nothing",
        "test_loop.py::test_every_position_resumes_twice_to_the_same_bytes",
    ),
    Mutation(
        "the average in a checkpoint",
        "stages/training/session.py",
        '        **({} if config.averaging.method == "none" else {config.averaging.method: learner.average}),\n',
        "",
        "test_loop.py::test_every_position_resumes_twice_to_the_same_bytes",
    ),
    Mutation(
        "the learning-rate schedule in a checkpoint",
        "stages/training/session.py",
        '        "schedule": learner.schedule,\n',
        "",
        "test_loop.py::test_every_position_resumes_twice_to_the_same_bytes",
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
    # memory, health, room
    Mutation(
        "undoing a step that ran out of memory",
        "stages/training/micro_batches.py",
        "            self._undo(rng, buffers)\n",
        "",
        "test_micro_batches.py::test_what_failed_leaves_no_trace",
    ),
    Mutation(
        "the size of the parts in a checkpoint",
        "stages/training/micro_batches.py",
        '        self._size = int(state["size"])\n',
        "",
        "test_micro_batches.py::test_interrupted_after_it_ran_out_it_ends_with_the_same_bytes",
    ),
    Mutation(
        "looking for NaN in a checkpoint before it is continued",
        _CHECKPOINTS,
        "                _require(check, checkpoint, contents)\n",
        "",
        "test_unhealthy.py::test_checkpoint_that_is_not_finite_is_never_chosen",
    ),
    Mutation(
        "rotation at the start",
        _CHECKPOINTS,
        "            self._rotate()\n            return checkpoint, contents\n",
        "            return checkpoint, contents\n",
        "test_checkpoints.py::test_kill_between_save_and_rotation_is_mended",
    ),
    Mutation(
        "sparing the checkpoint that was resumed from",
        _CHECKPOINTS,
        "    ranked[1:] = sorted(ranked[1:], key=lambda item: item.path != resumed_from)\n",
        "",
        "test_checkpoints.py::test_rotation_spares_what_was_resumed_from",
    ),
    Mutation(
        "sparing the best checkpoint",
        _CHECKPOINTS,
        "    return [item for item in ranked[keep:] if item is not best]\n",
        "    return ranked[keep:]\n",
        "test_checkpoints.py::test_rotation_keeps_the_last_and_the_best",
    ),
    Mutation(
        "setting aside what does not verify",
        _CHECKPOINTS,
        "        aside = files.set_aside(path)\n",
        "        aside = path\n",
        "test_checkpoints.py::test_any_damage_is_found_and_the_older_one_used",
    ),
    # what comes from elsewhere, and what must not leave
    Mutation(
        "reading a .pt file without running it",
        "stages/training/importing.py",
        "weights_only=True",
        "weights_only=False",
        "test_read_checkpoint.py::test_code_in_a_file_is_never_run",
    ),
    Mutation(
        "refusing zip bombs",
        "stages/training/importing.py",
        "            _require_plain(archive.infolist(), size=path.stat().st_size)\n",
        "",
        "test_read_checkpoint.py::test_a_zip_bomb_is_refused_by_its_directory",
    ),
    Mutation(
        "hiding secrets in documents",
        _SEALED,
        "    hidden = hide(document)\n",
        "    hidden = document\n",
        "test_secrets.py::test_the_canary_is_in_no_file_and_no_stream",
    ),
    Mutation(
        "keeping the hash of before for later settings",
        "pipeline/config.py",
        "                dumped.pop(name, None)\n",
        "                pass\n",
        "test_fingerprint.py::test_later_setting_at_its_default_keeps_the_hash",
    ),
    Mutation(
        "looking at a chunk again when its inode changed",
        "stages/chunks/opened.py",
        "status.st_mtime_ns, status.st_ino, status.st_ctime_ns)",
        "status.st_mtime_ns, status.st_ino)",
        "test_reader.py::test_a_chunk_is_looked_at_again_when_it_changes",
    ),
    Mutation(
        "telling what is lost from what is not to be had now",
        "pipeline/reading.py",
        "    if error.errno not in LOST:\n",
        "    if False:\n",
        "test_checkpoints.py::test_file_that_cannot_be_had_now_is_not_taken_for_damaged",
    ),
    Mutation(
        "reading only regular files",
        "pipeline/reading.py",
        "    if not stat.S_ISREG(os.fstat(descriptor).st_mode):\n",
        "    if False:\n",
        "test_profiles.py::test_a_file_that_cannot_be_read_is_refused",
    ),
    Mutation(
        "comparing what is on disk with what was to be written",
        _EXECUTION,
        '        if output.xxh3 not in ("", digest):\n',
        "        if False:\n",
        "test_execution.py::test_disk_that_stores_other_bytes_gets_no_record",
    ),
    Mutation(
        "not beginning a moved workspace anew",
        "pipeline/orchestrator.py",
        "            lock.require_held()  # or a workspace that was moved away would be begun anew where it was\n",
        "",
        "test_execution.py::test_workspace_that_was_moved_is_not_begun_anew",
    ),
    # the GPU
    Mutation(
        "checking the window that was sent before a save",
        "stages/training/guard.py",
        "        self._sent, self._observed = None, []  # first, as above\n        self._check_all(before)\n",
        "        self._sent, self._observed = None, []\n",
        "test_guard.py::test_window_is_checked_together_and_before_a_save",
    ),
    Mutation(
        "refusing chunks with other arrays on the device",
        "stages/training/device_pool.py",
        "        require_same_layout(self._layout, layout)\n",
        "",
        "test_device_pool.py::test_chunks_must_have_the_same_arrays",
    ),
    Mutation(
        "compiling as the run that is continued did",
        "stages/training/session.py",
        '    return config.compile if stored is None else "on" if stored else "off"\n',
        "    return config.compile\n",
        "test_compiling.py::test_what_a_run_began_with_is_kept",
    ),
)
