"""Stored plans: what they are found by, the names that they bear, their pins, and the trail of all of it."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, FiniteFloat, model_validator

from planner.budget import BudgetKind
from planner.schemas.base import Page, Reference, Schema
from planner.schemas.plans import PlanSummary

PlanId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[0-9a-zA-Z]+$")]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
PlanNameText = Annotated[str, Field(min_length=1, max_length=100, pattern=NAME_PATTERN, examples=["production"])]
Why = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$", description="reason, for the trail")]
Action = Literal["named", "unnamed", "pinned", "unpinned", "deleted"]


class PlanFilters(Schema):
    """Which stored plans: those that all given fields say."""

    model: Annotated[Reference | None, Field(description="of one model, by id or name")] = None
    runtime: Annotated[Reference | None, Field(description="for one runtime")] = None
    probe: Annotated[Reference | None, Field(description="made with curves of one probe")] = None
    budget_kind: Annotated[BudgetKind | None, Field(description="whose budget limits this")] = None
    budget_min: Annotated[FiniteFloat | None, Field(ge=0, description="whose budget is no less, in units of budget_kind")] = None
    budget_max: Annotated[FiniteFloat | None, Field(ge=0, description="whose budget is no more, in units of budget_kind")] = None
    since: Annotated[AwareDatetime | None, Field(description="made then or later")] = None
    until: Annotated[AwareDatetime | None, Field(description="made before")] = None
    name: Annotated[PlanNameText | None, Field(description="that bear this name now")] = None
    pinned: Annotated[bool | None, Field(description="that are pinned now, or are not")] = None

    @model_validator(mode="after")
    def _says_of_which_kind(self) -> Self:
        if self.budget_kind is None and (self.budget_min is not None or self.budget_max is not None):
            msg = f"budget_min and budget_max need budget_kind: one of {', '.join(BudgetKind)}"
            raise ValueError(msg)
        return self


class StoredPlan(PlanSummary):
    """A stored plan in a list, with what it is called now."""

    names: Annotated[list[str], Field(description="names that it bears now, in order")] = []
    pinned: Annotated[bool, Field(description="it cannot be deleted until it is unpinned")] = False


class PlanPage(Page[StoredPlan]):
    """Stored plans, newest first."""


class MoveName(Schema):
    """Let a name of a model stand for a plan."""

    plan: Annotated[PlanId, Field(description="id of the plan that bears the name from now on")]
    why: Why = ""
    replaces: Annotated[
        PlanId | None,
        Field(
            description="plan that bears the name now; null where no plan does. Where that is not so any more nothing is changed "
            "(409). Left out: whatever bears it"
        ),
    ] = None

    @property
    def is_conditional(self) -> bool:
        """Whether ``replaces`` was given, null included."""
        return "replaces" in self.model_fields_set


class PlanName(Schema):
    """A name of a model and the plan that bears it."""

    model: Annotated[str, Field(description="id of the model")]
    name: Annotated[str, Field(description="name, unique within the model")]
    plan: Annotated[str, Field(description="id of the plan that bears it")]
    version: Annotated[int, Field(description="how many times the name was given or taken away, this time included")]
    since: Annotated[datetime, Field(description="when the plan was given the name")]
    who: Annotated[str, Field(description="who gave it: name and prefix of an API key, or 'local'")]
    why: Annotated[str, Field(description="the reason that was given")]


class PlanNameList(Schema):
    """The names of a model."""

    items: Annotated[list[PlanName], Field(description="in the order of their names")]


class PinRequest(Schema):
    """Pin a plan."""

    why: Why = ""


class PlanPin(Schema):
    """A pin: the plan cannot be deleted, and its model neither."""

    plan: Annotated[str, Field(description="id of the plan")]
    since: Annotated[datetime, Field(description="when it was pinned")]
    who: Annotated[str, Field(description="who pinned it: name and prefix of an API key, or 'local'")]
    why: Annotated[str, Field(description="the reason that was given")]


class PlanEvent(Schema):
    """One line of the trail: it stays when the plan is gone."""

    id: Annotated[int, Field(description="number of the line; later lines have larger ones")]
    at: Annotated[datetime, Field(description="when, by the database's clock")]
    who: Annotated[str, Field(description="name and prefix of an API key, or 'local'")]
    action: Annotated[Action, Field(description="what was done")]
    model: Annotated[str, Field(description="id of the model")]
    plan: Annotated[str, Field(description="id of the plan that it was done to")]
    name: Annotated[str | None, Field(description="name that was given or taken away")]
    version: Annotated[int | None, Field(description="of the name: 1, 2, … for the same model and name")]
    supersedes: Annotated[str | None, Field(description="plan that bore the name before")]
    superseded_by: Annotated[str | None, Field(description="plan that bears the name since superseded_at; null if none does")]
    superseded_at: Annotated[datetime | None, Field(description="when the name was moved on or taken away; null until then")]
    why: Annotated[str, Field(description="the reason that was given")]


class PlanEventPage(Page[PlanEvent]):
    """Lines of the trail, newest first."""


class EventFilters(Schema):
    """Which lines of the trail: those that all given fields say."""

    model: Annotated[Reference | None, Field(description="of one model, by id or name")] = None
    name: Annotated[PlanNameText | None, Field(description="of one name of the model")] = None
    plan: Annotated[PlanId | None, Field(description="of one plan")] = None

    @model_validator(mode="after")
    def _names_belong_to_models(self) -> Self:
        if self.name is not None and self.model is None:
            msg = "a name belongs to a model: give model as well"
            raise ValueError(msg)
        return self
