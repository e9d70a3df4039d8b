"""Protective steps towards all else: memory, what comes from elsewhere, the GPU, removal."""

from __future__ import annotations

from mutation import Mutation

_SEALED = "pipeline/sealed.py"
_EXECUTION = "pipeline/execution.py"
_CHECKPOINTS = "stages/training/checkpoints.py"

MUTATIONS = (
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
    # what is removed
    Mutation(
        "keeping what a record that stays vouches for",
        "pipeline/garbage.py",
        "{path for work in retention.kept_works if work.record",
        "{path for work in () if work.record",
        "test_gc.py::test_keep_leaves_what_a_kept_run_shares_with_older_ones",
    ),
    Mutation(
        "looking a second time before anything is removed",
        "pipeline/commands/collect.py",
        " if each in still]",
        "]",
        "test_gc.py::test_what_a_run_needs_that_came_while_the_user_thought_stays",
    ),
    Mutation(
        "removing records before what they vouch for",
        "pipeline/commands/collect.py",
        'each.path.suffix != ".json"',
        'each.path.suffix == ".json"',
        "test_gc.py::test_stopped_at_any_point_it_leaves_no_record_of_what_is_gone",
    ),
    Mutation(
        "leaving alone what an unreadable record may mean",
        "pipeline/retention.py",
        "untouchable = _with_those_before(inventory.blind_stages, stages)",
        "untouchable: frozenset[str] = frozenset()",
        "test_gc.py::test_where_a_record_cannot_be_read_nothing_goes_that_it_may_mean",
    ),
    Mutation(
        "leaving out the temporaries of a run that works",
        "pipeline/garbage.py",
        " and not is_at_work",
        "",
        "test_gc.py::test_a_running_run_is_never_raced",
    ),
    Mutation(
        "keeping the chunks of a half-done data set",
        "stages/data_generation/leavings.py",
        " and path not in planned",
        "",
        "test_leavings.py::test_a_half_done_data_set_keeps_its_chunks",
    ),
    Mutation(
        "keeping half-done work that began on a promise",
        "pipeline/runs.py",
        "{before.promise, ground(before.record, kinds)}",
        "{ground(before.record, kinds)}",
        "test_leavings.py::test_a_half_done_training_is_continued_after_gc",
    ),
    Mutation(
        "believing the settings of half-done work only by their hash",
        "pipeline/garbage.py",
        "return config if found == work.config_hash else None",
        "return config if found else None",
        "test_leavings.py::test_half_done_work_of_another_version_is_left_with_all_that_it_may_need",
    ),
)
