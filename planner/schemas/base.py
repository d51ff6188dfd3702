"""What every request and document shares."""

from functools import cached_property
from typing import Annotated, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Item = TypeVar("Item")
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$", description="one line of text without control characters")]
"""Text that every database stores and every log line survives."""
Reference = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""An id or a name, as a request gives it."""
Parameters = dict[str, FiniteFloat | int | str | bool | None]
"""Hyper-parameters of a probe."""


class Schema(BaseModel):
    """Frozen, and unknown fields are refused: a typo is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Shared(Schema):
    """A part that many documents share: its JSON is written once."""

    @cached_property
    def written(self) -> str:
        """Its JSON."""
        return self.model_dump_json()

    def __copy__(self) -> Self:
        """A copy that is not written yet, for it is copied to be changed."""
        copied = super().__copy__()
        copied.__dict__.pop("written", None)
        return copied


class Page(Schema, Generic[Item]):
    """One page of a list, newest first."""

    items: Annotated[list[Item], Field(description="the page, newest first")]
    next: Annotated[str | None, Field(description="cursor of the next page; null on the last one")] = None
