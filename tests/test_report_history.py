"""What a log of events tells of a run: its attempts, its curves, its chunks, however often it was cut short."""

from __future__ import annotations

import pytest
from event_logs import RUN, MadeUpLog, killed_and_stopped

from pipeline.events import Kind
from pipeline.report.history import History, read_history

STAGES = ("data_generation", "training", "evaluation")
RUNS = dict.fromkeys(STAGES, RUN)


def read(log: MadeUpLog, **given: bool) -> History:
    """Fold the events of `log`."""
    return read_history(log.events, runs=RUNS, **given)


def endings(history: History, stage: str = "training") -> list[tuple[str, str]]:
    """Return for each attempt of a stage what it was and how it ended."""
    return [(attempt.action, attempt.ending) for attempt in history.stages[stage].attempts]


def test_every_attempt_is_told_with_its_end() -> None:
    """A kill leaves no word and is known by the next start; a signal and an end say so themselves."""
    history = read(killed_and_stopped())
    assert endings(history) == [("run", "killed"), ("resume", "interrupted"), ("resume", "done")]
    assert endings(history, "data_generation") == [("run", "done")]
    stopped = history.stages["training"].attempts[1]
    assert stopped.words == "SIGTERM step 40"
    assert stopped.detail == "resume training"


def test_pauses_are_no_work() -> None:
    """Sessions are joined: the work of the second begins where the first left off, and the pause is known."""
    history = read(killed_and_stopped())
    attempts = history.stages["training"].attempts
    first_end = history.work_seconds(attempts[0].session, attempts[0].ended)
    assert history.work_seconds(attempts[1].session, attempts[1].began) == pytest.approx(first_end)
    assert history.pause_before(attempts[1].session) == pytest.approx(3600 + 2)
    assert history.pause_before(attempts[0].session) == 0.0


def test_points_told_twice_count_once() -> None:
    """What was trained again after a kill lies on the same step, and is one point."""
    curve = read(killed_and_stopped()).stages["training"].curves["loss"]
    assert [step for step, _ in curve] == [10, 20, 30, 40, 50, 60]


def test_chunks_are_those_of_the_last_time() -> None:
    """A chunk that was trained again was trained when it counted."""
    history = read(killed_and_stopped())
    chunks = history.stages["training"].chunks
    assert [(chunk.epoch, chunk.chunk) for chunk in chunks] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    third = next(chunk for chunk in chunks if chunk.loss == pytest.approx(4 / 3))
    assert third.session == 1


def test_start_from_zero_forgets_curves_and_keeps_the_attempt() -> None:
    """Killed before anything was saved: that attempt is told, its points are not."""
    log = MadeUpLog()
    log.start()
    log.work("training", seconds=None)
    log.train(last=4)
    log.start()
    log.work("training", seconds=None)
    log.train(last=1)
    log.tell(Kind.STAGE_FINISHED, "training")
    history = read(log)
    assert endings(history) == [("run", "killed"), ("run", "done")]
    assert history.stages["training"].curves["loss"] == ((10, 4.0),)
    assert len(history.stages["training"].chunks) == 1


def test_done_anew_forgets_what_was_done_before() -> None:
    """A forced run replaces the one that was done: only it is told."""
    log = MadeUpLog()
    for _ in range(2):
        log.start()
        log.work("training", seconds=7)
    history = read(log)
    assert endings(history) == [("run", "done")]
    assert len(history.sessions) == 1


def test_mending_is_told_beside_what_was_mended() -> None:
    """A repair is an attempt more, not a new beginning."""
    log = MadeUpLog()
    log.start()
    log.work("data_generation")
    log.start()
    log.work("data_generation", "repair")
    assert endings(read(log), "data_generation") == [("run", "done"), ("repair", "done")]


def test_each_stage_is_told_of_the_run_that_did_its_work() -> None:
    """Training done for one run and used by another is told from the first; other runs and skips add nothing."""
    log = MadeUpLog()
    log.start(run="other-1")
    log.work("training", run="other-1", seconds=20)
    log.work("evaluation", run="other-1", seconds=5)
    log.start()
    log.tell(Kind.DECISION, "training", action="skip", detail="up to date")
    log.work("evaluation", seconds=5)
    log.start(run="third-2")
    log.work("training", run="third-2")
    history = read_history(log.events, runs={**RUNS, "training": "other-1"})
    assert endings(history) == [("run", "done")]
    assert endings(history, "evaluation") == [("run", "done")]
    assert len(history.sessions) == 2


@pytest.mark.parametrize(("is_running", "ending"), [(False, "killed"), (True, "at work")])
def test_log_that_breaks_off(*, is_running: bool, ending: str) -> None:
    """The last attempt was killed, unless somebody works here now; it lasted until the last word."""
    log = MadeUpLog()
    log.start()
    log.work("training", seconds=None)
    log.train(last=3)
    attempt = read(log, is_running=is_running).stages["training"].attempts[0]
    assert attempt.ending == ending
    assert attempt.ended == log.now


def test_failure_keeps_its_words() -> None:
    """What a stage failed of is told."""
    log = MadeUpLog()
    log.start()
    log.work("training", seconds=None)
    log.tell(Kind.STAGE_FAILED, "training", error="loss is NaN")
    assert read(log).stages["training"].attempts[0].words == "loss is NaN"


def test_clock_that_was_set_back_gives_no_negative_work() -> None:
    """Time of day may jump: no session is shorter than nothing."""
    log = MadeUpLog()
    log.start()
    log.work("training", seconds=None)
    log.tell(Kind.METRICS, "training", step=1, loss=1.0, after=-500)
    log.start(pause=10)
    log.work("training", "resume", seconds=5)
    history = read(log)
    assert all(session.ended >= session.began for session in history.sessions.values())


def test_nonsense_in_a_log_is_passed_over() -> None:
    """A log may hold anything: what is no number is no point, and no chunk."""
    log = MadeUpLog()
    log.start()
    log.work("training", seconds=None)
    log.tell(Kind.METRICS, "training", step="x", loss=1.0)
    log.tell(Kind.METRICS, "training", step=True, loss=1.0)
    log.tell(Kind.METRICS, "training", step=1, loss=float("nan"), note="<b>", deep=[1], big=10**400, fine=2)
    log.tell(Kind.CHUNK, "training", epoch=None, chunk=3)
    log.tell(Kind.CHUNK, "training")
    log.tell(Kind.INTERRUPTED, "training", signal=4711)
    stage = read(log).stages["training"]
    assert stage.curves == {"fine": ((1, 2.0),)}
    assert stage.chunks == ()


def test_log_without_any_run_tells_nothing() -> None:
    """An empty log, and one that begins in the middle, are no error."""
    log = MadeUpLog()
    log.tell(Kind.METRICS, "training", step=1, loss=1.0)
    assert read(log).sessions == {}
    assert read(MadeUpLog()).stages["training"].attempts == ()
