"""Requests and documents of calibration sets."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, model_validator

from planner.schemas.base import Line, Page, Reference, Schema

TEXT_LIMIT = 8 * 2**20
"""Characters of a text that a request may carry; a longer one is given as a file."""


class CreateCalibration(Schema):
    """A text and how to cut it. Give ``source`` or ``text``; without either the built-in English text is used."""

    source: Annotated[
        Line | None,
        Field(
            min_length=1,
            max_length=4096,
            description="'builtin', or a .txt, .jsonl or .parquet file of the machine that answers",
        ),
    ] = None
    text: Annotated[str | None, Field(min_length=1, max_length=TEXT_LIMIT, description="the text itself")] = None
    name: Annotated[Reference | None, Field(description="name to call it by")] = None
    sequences: Annotated[int, Field(ge=1, le=2**20, description="sequences that probes run on")] = 48
    sequence_length: Annotated[int, Field(ge=2, le=2**20, description="tokens of each of them")] = 256
    held_out_sequences: Annotated[int, Field(ge=1, le=2**20, description="sequences kept for evaluation, never probed")] = 24
    held_out_length: Annotated[int, Field(ge=2, le=2**20, description="tokens of each of them")] = 512
    seed: Annotated[int, Field(ge=0, le=2**63 - 1, description="seed of the sampling")] = 0

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if self.source is not None and self.text is not None:
            msg = "give source or text, not both"
            raise ValueError(msg)
        return self


class Calibration(Schema):
    """A calibration set: the text is kept by the service, so that every worker cuts the same tokens."""

    id: Annotated[str, Field(description="fingerprint over the text and every number below")]
    name: Annotated[str, Field(description="what it is called")]
    source: Annotated[str, Field(description="'builtin', the file that was read, or 'text of the request'")]
    sequences: Annotated[int, Field(description="sequences that probes run on")]
    sequence_length: Annotated[int, Field(description="tokens of each of them")]
    held_out_sequences: Annotated[int, Field(description="sequences kept for evaluation, never probed")]
    held_out_length: Annotated[int, Field(description="tokens of each of them")]
    seed: Annotated[int, Field(description="seed of the sampling")]
    characters: Annotated[int, Field(description="length of the text")]
    created_at: Annotated[datetime, Field(description="when it was stored")]


class CalibrationPage(Page[Calibration]):
    """Calibration sets, newest first."""
