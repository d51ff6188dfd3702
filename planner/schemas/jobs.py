"""Requests and documents of jobs."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from planner.curve_tools.movement import DEFAULT_RATIO
from planner.jobs.job import JobState
from planner.jobs.workers import LABEL_PATTERN
from planner.schemas.base import Page, Parameters, Reference, Schema
from planner.schemas.drifts import ReuseRatio
from planner.schemas.plans import FormatName, Pattern

__all__ = ["Job", "JobForecast", "JobPage", "JobState", "Label", "SubmitSensitivity", "UnitFailure"]

Label = Annotated[str, Field(pattern=LABEL_PATTERN)]
"""What a job asks for of its workers."""

RoundingName = Literal["rtn", "rtn_clip", "rtn_diagonal", "gptq"]
"""Rounding methods by name, as ``sensitivity.rounding_facts`` lists them; a test compares."""

Streaming = Literal["auto", "always", "never"]
"""Whether a model's blocks are read one at a time."""


class SubmitSensitivity(Schema):
    """Measure the error curves of a model's layers."""

    kind: Annotated[Literal["sensitivity"], Field(description="kind of the job")] = "sensitivity"
    model: Annotated[Reference, Field(description="model id, or its name")]
    probe: Annotated[str, Field(min_length=1, max_length=60, description="measurement procedure", examples=["fisher"])] = "fisher"
    probe_parameters: Annotated[Parameters, Field(max_length=20, description="hyper-parameters other than the defaults")] = {}
    formats: Annotated[
        list[FormatName] | None,
        Field(min_length=1, max_length=200, description="formats to measure; by default those that the probe lists"),
    ] = None
    calibration: Annotated[
        Reference | None, Field(description="calibration set id; needed unless the probe runs without data")
    ] = None
    include: Annotated[
        list[Pattern] | None,
        Field(min_length=1, max_length=200, description="layers to measure, by pattern; by default all but lm_head"),
    ] = None
    exclude: Annotated[list[Pattern], Field(max_length=200, description="layers to leave out, by pattern")] = []
    cells: Annotated[
        dict[Pattern, list[FormatName]] | None,
        Field(
            min_length=1,
            max_length=100_000,
            description="layer name → formats: measure these cells alone, instead of all selected layers in all formats",
        ),
    ] = None
    sample: Annotated[
        int | None,
        Field(
            ge=1,
            le=10_000_000,
            description="measure so many of the selected cells: drawn with the seed, spread over formats and over the losses "
            "that the most trusted other probe found",
        ),
    ] = None
    rounding: Annotated[RoundingName, Field(description="rounding method: how weights reach the grid")] = "rtn"
    seed: Annotated[int, Field(ge=0, le=2**63 - 1, description="seed of everything random in the run")] = 0
    streaming: Annotated[
        Streaming,
        Field(
            description="whether the model's blocks are read from disk one at a time: auto does so if the whole model is "
            "forecast to take more memory than is available where it runs. The numbers are the same"
        ),
    ] = "auto"
    priority: Annotated[int, Field(ge=-1000, le=1000, description="a smaller number is served earlier")] = 0
    label: Annotated[Label | None, Field(description="only workers with this label take it (BITPLAN_WORKER_LABELS)")] = None
    force: Annotated[bool, Field(description="measure again what is measured already")] = False
    reuse: Annotated[
        Reference | None,
        Field(
            description="model whose cells are taken over for layers that did not move since; the two were compared before "
            "(POST /v1/models/{model}/drifts)"
        ),
    ] = None
    reuse_ratio: ReuseRatio = DEFAULT_RATIO

    @model_validator(mode="after")
    def _one_selection(self) -> Self:
        if self.cells is not None and (self.include is not None or self.exclude or self.sample is not None):
            msg = "cells names each cell by itself: leave out include, exclude and sample"
            raise ValueError(msg)
        return self


class UnitFailure(Schema):
    """A unit that ended without a result."""

    unit: Annotated[str, Field(description="key of the unit")]
    reason: Annotated[str, Field(description="what it raised, or that its workers died")]
    attempts: Annotated[int, Field(description="how often it was begun")]


class Job(Schema):
    """Queued work and how far it is."""

    id: Annotated[str, Field(description="id of the job")]
    kind: Annotated[str, Field(description="'sensitivity', 'evaluation', 'refinement' or 'drift'")]
    model: Annotated[str, Field(description="model id")]
    state: Annotated[JobState, Field(description="where it is on its way")]
    done: Annotated[int, Field(description="finished units")]
    total: Annotated[int | None, Field(description="all units; null until a worker has listed them")]
    failed: Annotated[
        int, Field(description="units that failed for good; a job succeeds if any unit does, with what the others found")
    ]
    failures: Annotated[list[UnitFailure], Field(description="the first of them, until they are forgotten")] = []
    rate: Annotated[
        float | None, Field(description="units per second: lately, or over all once it has ended; null before the first")
    ]
    eta_seconds: Annotated[float | None, Field(description="seconds left at this rate; null while unknown or not running")]
    forecast_seconds: Annotated[
        float | None,
        Field(description="what its units will take one worker, by the last job like it; null where there was none"),
    ] = None
    waits_for: Annotated[
        str | None, Field(description="what a queued job asks for that no worker which is there has; null if one can take it")
    ] = None
    reason: Annotated[str | None, Field(description="why it failed, or what is worth knowing")]
    priority: Annotated[int, Field(description="a smaller number is served earlier")]
    label: Annotated[str | None, Field(description="only workers with this label take it")] = None
    memory_bytes: Annotated[
        int | None, Field(description="only workers with so much memory take it, by forecast; null if unknown")
    ] = None
    request: Annotated[
        dict[str, Any],
        Field(description="what the worker was told to do; lists and events leave long tables out, the job itself has them"),
    ]
    left_out: Annotated[
        dict[str, int], Field(description="entries of each table that is left out of `request` here, by its name")
    ] = {}
    created_at: Annotated[datetime, Field(description="when it was submitted")]
    started_at: Annotated[datetime | None, Field(description="when a worker took it first")]
    finished_at: Annotated[datetime | None, Field(description="when it reached its end")]


class JobForecast(Schema):
    """What a job would be if it were submitted now; nothing is queued."""

    kind: Annotated[str, Field(description="'sensitivity' or 'evaluation'")]
    layers: Annotated[int, Field(description="layers that it would measure or round; 0 if there is nothing to do")]
    formats: Annotated[list[str], Field(description="formats that it would measure, or that the plan is in")]
    cells: Annotated[
        int | None, Field(description="cells that are missing and would be measured; null for an evaluation, which has none")
    ]
    sequences: Annotated[int, Field(description="sequences of text that it would run on; 0 without text")]
    tokens: Annotated[int, Field(description="tokens of them all")]
    seconds: Annotated[
        float | None,
        Field(description="what it would take one worker, by the last job like it; null where there was none"),
    ]
    memory_bytes: Annotated[int | None, Field(description="memory in the thriftiest way that is left; null if nothing is to do")]
    whole_bytes: Annotated[int | None, Field(description="memory with the whole model loaded; null likewise")]
    streamed_bytes: Annotated[
        int | None, Field(description="memory with one block loaded at a time; null where the job cannot run so")
    ]
    waits_for: Annotated[
        str | None, Field(description="what it would wait for, because no worker that is there has it; null if one can take it")
    ]
    unfinished: Annotated[
        str | None, Field(description="id of the same job, which has not ended: submitting gives that one; else null")
    ]
    note: Annotated[str | None, Field(description="why there is nothing to do; else null")]


class JobPage(Page[Job]):
    """Jobs, newest first."""
