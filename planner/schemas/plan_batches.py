"""Many planning questions in one request, and their answers in order."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from planner.schemas.base import Schema
from planner.schemas.plans import PlanDocument, PlanRequest, PlanSummary

MOST_REQUESTS = 200


class PlanBatch(Schema):
    """Questions of any models, budgets and runtimes."""

    requests: Annotated[
        list[PlanRequest],
        Field(
            min_length=1,
            max_length=MOST_REQUESTS,
            description="what to plan; what is the same for all budgets and counts is worked out once",
        ),
    ]
    answers: Annotated[
        Literal["plans", "summaries"],
        Field(description="plans: every document whole; summaries: what lists say of it, the document is at /v1/plans/{id}"),
    ] = "plans"
    deadline_seconds: Annotated[
        float,
        Field(gt=0, le=240, description="for all requests together; one that is not reached in time gets a problem"),
    ] = 60.0


class BatchProblem(Schema):
    """Why there is no plan: the problem that POST /v1/plans would have answered, with its further members."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: Annotated[str, Field(description="stable identifier", examples=["urn:bitplan:problem:budget-below-floor"])]
    title: Annotated[str, Field(description="the same for every problem of the type")]
    detail: Annotated[str, Field(description="what is wrong, and what to do")]


class BatchItem(Schema):
    """The answer to one request: a plan that is stored, or why there is none. The other two are null."""

    plan: Annotated[PlanDocument | None, Field(description="the plan, where plans were asked for")] = None
    summary: Annotated[PlanSummary | None, Field(description="the plan in short, where summaries were asked for")] = None
    problem: Annotated[BatchProblem | None, Field(description="why there is no plan")] = None


class PlanBatchAnswer(Schema):
    """Answers in the order of the requests."""

    items: Annotated[list[BatchItem], Field(description="one a request, in order")]
    planned: Annotated[int, Field(description="requests that were answered with a plan")]
    failed: Annotated[int, Field(description="requests that were answered with a problem")]
