"""The document of a problem (RFC 9457) and of the service's health."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from planner.schemas.base import Schema


class FieldProblem(Schema):
    """One field of a request that cannot be used."""

    location: Annotated[list[str | int], Field(description="path to the field: body, query or path, then names")]
    message: Annotated[str, Field(description="what is wrong with it")]
    code: Annotated[str, Field(description="pydantic's type of the error")]


class Problem(Schema):
    """Why a request was not fulfilled.

    Further members depend on the type: ``smallest_feasible_bytes``, ``layers`` and others.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    type: Annotated[str, Field(description="stable identifier", examples=["urn:bitplan:problem:budget-below-floor"])]
    title: Annotated[str, Field(description="the same for every problem of the type")]
    status: Annotated[int, Field(ge=400, le=599, description="HTTP status code")]
    detail: Annotated[str, Field(description="what is wrong here, and what to do")]
    request_id: Annotated[str, Field(description="id to search the logs for, also in the header x-request-id")]
    errors: Annotated[list[FieldProblem] | None, Field(description="fields that cannot be used")] = None


class Health(Schema):
    """The process answers, or the service can do its work."""

    status: Annotated[Literal["ok"], Field(description="always ok: anything else is a problem document")] = "ok"
    version: Annotated[str, Field(description="of bitplan")]
