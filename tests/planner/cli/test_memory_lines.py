"""What is said of memory before a job and after it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from planner.cli.memory_lines import say_forecast, say_peak
from planner.schemas.jobs import Job, JobState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FORECAST = {"whole_bytes": 300 * 10**9, "streamed_bytes": 9 * 10**9}


def job(**request: Any) -> Job:
    return Job(
        id="a",
        kind="sensitivity",
        model="m",
        state=JobState.SUCCEEDED,
        done=1,
        total=1,
        failed=0,
        rate=None,
        eta_seconds=None,
        reason=None,
        priority=0,
        request=request,
        created_at=NOW,
        started_at=NOW,
        finished_at=NOW,
    )


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip()


@pytest.mark.parametrize(
    ("streaming", "way"),
    [
        ("auto", "block by block only if that is more than is available"),
        ("always", "block by block, as asked"),
        ("never", "whole"),
    ],
)
def test_before(capsys: pytest.CaptureFixture[str], streaming: str, way: str) -> None:
    say_forecast(job(streaming=streaming, memory=FORECAST))
    line = said(capsys)
    assert line.startswith("memory: about 300.00 GB with the whole model, 9.00 GB block by block; ")
    assert way in line


@pytest.mark.parametrize(("streamed", "forecast"), [(True, "9.00 GB"), (False, "300.00 GB")])
def test_after(capsys: pytest.CaptureFixture[str], streamed: bool, forecast: str) -> None:
    say_peak(job(streaming="auto", memory={**FORECAST, "streamed": streamed, "peak_bytes": 8 * 10**9}))
    assert said(capsys).startswith("memory: 8.00 GB at most")
    say_peak(job(streaming="auto", memory={**FORECAST, "streamed": streamed, "peak_bytes": 8 * 10**9}))
    assert said(capsys).endswith(f"the forecast was {forecast}")


def test_after_a_job_that_has_no_forecast(capsys: pytest.CaptureFixture[str]) -> None:
    say_peak(job(memory={"streamed": False, "peak_bytes": 8 * 10**9}))
    assert said(capsys) == "memory: 8.00 GB at most, with the whole model"


def test_nothing_is_said_of_a_job_without_work_or_one_that_others_end(capsys: pytest.CaptureFixture[str]) -> None:
    say_forecast(job())
    say_peak(job())
    say_peak(job(streaming="auto", memory=FORECAST))
    assert said(capsys) == ""
