"""Requests and documents of adaptive measuring."""

from typing import Annotated, Literal

from pydantic import Field

from planner.schemas.base import Reference, Schema
from planner.schemas.jobs import SubmitSensitivity
from planner.schemas.links import LinkDocument, LinkFigures
from planner.schemas.plans import BudgetSpec, Question
from sensitivity.links.pairs import LEAST_PAIRS


class AdaptiveRequest(Question):
    """Which cells to measure exactly next, so that the plans of some budgets can be trusted.

    ``probe`` and ``setting`` name the cheap curves that it starts from: by default the freshest of ``fisher``.
    """

    budgets: Annotated[list[BudgetSpec], Field(min_length=1, max_length=20, description="what plans are wanted for")]
    target: Annotated[str, Field(min_length=1, max_length=60, description="the exact probe", examples=["kl"])] = "kl"
    calibration: Annotated[
        Reference | None, Field(description="calibration set of the exact cells; by default that of the cheap curves")
    ] = None
    tolerance: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="stop when each plan's regret is no more than this share of its predicted loss in nine of ten draws",
        ),
    ] = 0.01
    cells: Annotated[
        int | None,
        Field(ge=LEAST_PAIRS, description="stop at so many exact cells, those counted that were measured before; null: no limit"),
    ] = None
    batch: Annotated[int, Field(ge=1, le=100_000, description="cells measured before plans are made again")] = 16
    seed: Annotated[int, Field(ge=0, le=2**63 - 1, description="of the first sample, the cross-validation and the draws")] = 0
    deadline_seconds: Annotated[float, Field(gt=0, le=60, description="for each plan")] = 5.0


class BudgetOutlook(Schema):
    """The plan of one budget as it stands, and what it may lose."""

    budget: Annotated[BudgetSpec, Field(description="upper limit that the plan keeps")]
    effective_bits: Annotated[float, Field(description="stored bits of the planned layers ÷ their weights")]
    predicted_loss: Annotated[float, Field(description="sum of the linked losses, in the unit of the exact probe")]
    standard_error: Annotated[float, Field(description="of predicted_loss, cells taken as independent")]
    regret: Annotated[
        float,
        Field(
            description="expected loss above the plan that exact cells would give: mean over seeded draws of the losses within "
            "the errors that measuring would remove"
        ),
    ]
    relative_regret: Annotated[float, Field(description="regret ÷ predicted_loss")]
    high_regret: Annotated[float, Field(description="not exceeded in nine of ten of the draws that regret is the mean of")]
    relative_high_regret: Annotated[float, Field(description="high_regret ÷ predicted_loss; what is compared with the tolerance")]
    formats: Annotated[dict[str, str], Field(description="layer → candidate format")]


class AdaptiveStep(Schema):
    """Where adaptive measuring stands: the plans so far, and the cells to measure next."""

    model: Annotated[str, Field(description="id of the model")]
    source: Annotated[str, Field(description="id of the cheap curves' probe setting")]
    target: Annotated[str, Field(description="id of the exact cells' probe setting")]
    exact_cells: Annotated[int, Field(description="exact cells so far, among those that plans may use")]
    open_cells: Annotated[int, Field(description="cells that could still be measured exactly")]
    link: Annotated[LinkFigures | None, Field(description="the link on these cells; null before the first sample")]
    plans: Annotated[list[BudgetOutlook], Field(description="one for each budget; none before the first sample")]
    finished: Annotated[
        Literal["stable", "spent", "exact"] | None,
        Field(
            description="stable: high_regret is within the tolerance; spent: the limit of exact cells is reached; exact: no cell "
            "is left that would change a plan; null: go on"
        ),
    ]
    next: Annotated[SubmitSensitivity | None, Field(description="the job that measures the next cells; null when finished")]


class AdaptiveRun(Schema):
    """A whole run of the command line: its rounds, and the linked curves that it stored."""

    steps: Annotated[list[AdaptiveStep], Field(description="one for each round, the finished one last")]
    link: Annotated[LinkDocument, Field(description="the linked curves, which plans now prefer")]
