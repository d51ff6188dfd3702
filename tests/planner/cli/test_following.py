"""Following a job: what is said on the way, and what becomes of one that is left."""

from collections.abc import Generator
from typing import cast

import pytest

from planner.cli.following import follow
from planner.cli.reporting import JobFailedError
from planner.operations import AbstractOperations
from planner.schemas.jobs import Job
from tests.planner.client.test_connection import job


class States:
    """A job that goes through some states; whoever follows it may be interrupted."""

    def __init__(self, *states: tuple[str, int], interrupted: bool = False) -> None:
        self.states = [Job.model_validate_json(job(*state)) for state in states]
        self.interrupted = interrupted
        self.left = False

    def get_job(self, _job: str) -> Job:
        return self.states[0]

    def follow_job(self, _job: str) -> Generator[Job]:
        try:
            yield from self.states
            if self.interrupted:
                raise KeyboardInterrupt
        finally:
            self.left = True


def followed(states: States, *, quiet: bool = False) -> Job:
    return follow(cast(AbstractOperations, states), "j", quiet=quiet)


def test_the_job_as_it_ended() -> None:
    assert followed(States(("queued", 0), ("running", 2), ("succeeded", 5))).done == 5
    assert followed(States(("succeeded", 5))).done == 5
    with pytest.raises(JobFailedError, match="job j cancelled") as raised:
        followed(States(("running", 1), ("cancelled", 1)))
    assert raised.value.fields == {"job": "j", "state": "cancelled"}


def test_a_job_that_is_left_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    states = States(("running", 1), interrupted=True)
    with pytest.raises(KeyboardInterrupt):
        followed(states)
    assert states.left
    assert "bitplan jobs follow j" in capsys.readouterr().err


def test_why_it_waits_is_said_once_where_no_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    states = States(("queued", 0), ("queued", 0), ("running", 1), ("paused", 1), ("running", 2), ("succeeded", 5))
    states.states[:2] = [state.model_copy(update={"waits_for": "no worker is there"}) for state in states.states[:2]]
    assert followed(states, quiet=True).done == 5
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "job j waits: no worker is there",
        "job j is paused: `bitplan jobs resume j` lets it go on",
    ]


def test_units_that_failed_are_a_warning_whatever_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    states = States(("running", 1), ("succeeded", 4))
    states.states[-1] = states.states[-1].model_copy(update={"failed": 1, "reason": "1 of 5 units failed"})
    assert followed(states, quiet=True).failed == 1
    assert capsys.readouterr().err == "warning: 1 of 5 units failed\n"


def test_what_a_service_leaves_out_on_the_way_is_there_at_the_end() -> None:
    states = States(("running", 1), ("succeeded", 5))
    whole = states.states[-1].model_copy(update={"request": {"layers": ["a", "b"]}})
    brief = states.states[-1].model_copy(update={"left_out": {"layers": 2}})
    states.states = [states.states[0], brief]
    answers = iter([states.states[0], whole])
    states.get_job = lambda _job: next(answers)  # type: ignore[method-assign]
    assert followed(states) == whole
