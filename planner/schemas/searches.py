"""Requests of evolutionary searches from stored plans."""

from typing import Annotated

from pydantic import Field

from planner.schemas.base import Reference, Schema
from planner.schemas.jobs import Label


class SearchRequest(Schema):
    """Search for a better plan of the same question by measuring: what layers do together is in no curve."""

    calibration: Annotated[
        Reference | None,
        Field(
            description="calibration set: its sequences are what choices are measured on, its held-out part decides; by default "
            "that of the plan's curves",
        ),
    ] = None
    generations: Annotated[int, Field(ge=1, le=1000, description="generations, at most; each is a unit of the job")] = 20
    offspring: Annotated[int, Field(ge=2, le=256, description="changed plans that a generation begins with")] = 16
    token_forwards: Annotated[
        int | None,
        Field(
            ge=1,
            le=2**62,
            description="tokens that quantized models are run over, at most; the seeds are measured whatever it says",
        ),
    ] = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1, description="seed of everything random in the search")] = 0
    priority: Annotated[int, Field(ge=-1000, le=1000, description="a smaller number is served earlier")] = 0
    label: Annotated[Label | None, Field(description="only workers with this label take it (BITPLAN_WORKER_LABELS)")] = None
