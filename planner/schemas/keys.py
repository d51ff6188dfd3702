"""Documents of API keys."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from planner.schemas.base import Line, Page, Schema


class AccessScope(StrEnum):
    """What a key allows. ``plan`` and ``measure`` allow reading too, ``admin`` allows everything."""

    READ = "read"
    PLAN = "plan"
    MEASURE = "measure"
    ADMIN = "admin"

    @property
    def includes(self) -> frozenset["AccessScope"]:
        """The scopes that come with this one, itself among them."""
        return frozenset(AccessScope) if self is AccessScope.ADMIN else frozenset({AccessScope.READ, self})


class ApiKey(Schema):
    """An API key as lists show it: without the key."""

    id: Annotated[str, Field(description="readable part of the key")]
    prefix: Annotated[str, Field(description="how the key begins")]
    name: Annotated[Line, Field(min_length=1, max_length=200, description="whose key it is, or what it is for")]
    scopes: Annotated[list[AccessScope], Field(min_length=1, description="what it allows")]
    created_at: Annotated[datetime, Field(description="when it was created")]
    expires_at: Annotated[datetime | None, Field(description="from when on it is refused; null for never")]
    last_used_at: Annotated[datetime | None, Field(description="its last use, to the minute; null if it was never used")]
    revoked_at: Annotated[datetime | None, Field(description="when it was revoked; null if it was not")]


class NewApiKey(ApiKey):
    """An API key that was just created: the only time that the key itself is shown."""

    key: Annotated[str, Field(description="the key; only its SHA-256 is stored, so it cannot be shown again")]


class ApiKeyPage(Page[ApiKey]):
    """API keys, newest first."""
