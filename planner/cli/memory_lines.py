"""What the command line says of a job's memory and time: the forecast before it starts, the truth after."""

from datetime import timedelta
from typing import Final

from planner.cli.reporting import in_bytes, say
from planner.schemas.jobs import Job

_WAYS: Final = {
    "auto": "block by block only if that is more than is available",
    "always": "block by block, as asked",
    "never": "whole, as asked",
}


def say_forecast(job: Job) -> None:
    """How much memory the job is forecast to take, and how long, if there is anything to do."""
    memory = job.request.get("memory")
    if memory is not None:
        whole, streamed = in_bytes(memory["whole_bytes"]), in_bytes(memory["streamed_bytes"])
        say(f"memory: about {whole} with the whole model, {streamed} block by block; {_WAYS[job.request['streaming']]}")
    if job.forecast_seconds is not None and not job.state.is_final:
        say(f"time: about {timedelta(seconds=round(job.forecast_seconds))} of one worker, by the last job like it")


def say_peak(job: Job) -> None:
    """How much it took, if the worker that ended it knows."""
    memory = job.request.get("memory", {})
    if "peak_bytes" in memory:
        forecast = memory.get("streamed_bytes" if memory["streamed"] else "whole_bytes")
        way = "block by block" if memory["streamed"] else "with the whole model"
        expected = "" if forecast is None else f"; the forecast was {in_bytes(forecast)}"
        say(f"memory: {in_bytes(memory['peak_bytes'])} at most, {way}{expected}")
