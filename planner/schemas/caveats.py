"""What a plan says against itself: the luck of its cells, the limit of its menu, how far its losses add up."""

from typing import Annotated, Literal

from pydantic import Field

from planner.schemas.base import Schema

Reason = Literal["menu", "runtime", "unmeasured"]
"""Why a plan cannot take a format: the request leaves it out, the runtime refuses it, or nobody measured it."""


class Correction(Schema):
    """What the plan's cells are expected to cost, freed of the luck that they were chosen for (the winner's curse).

    Posterior means given all cells of the setting, with noise that is independent between cells. They know nothing of what
    layers do together: cross terms and higher orders are not the cells' noise.
    """

    loss: Annotated[float, Field(description="expected losses of the chosen cells, summed")]
    standard_error: Annotated[float, Field(description="of loss: posterior, cells taken as independent")]
    uncorrected_loss: Annotated[float, Field(description="the same cells as measured, summed: too low for chosen cells")]
    method: Annotated[str, Field(description="how: 'empirical Bayes, log space, layers × formats'")]
    cells: Annotated[int, Field(description="cells of the setting that it was learned from and that it changed")]
    noise: Annotated[float, Field(description="their root mean square noise in log units, about a relative standard error")]
    spread: Annotated[float, Field(description="standard deviation of the true log losses about layer + format")]


class Confidence(Schema):
    """How far the sum over the layers can be trusted, whatever the errors of the cells."""

    additivity: Annotated[
        Literal["usual", "low"], Field(description="losses of the plan's layers may be added as usual, or hardly")
    ]
    reasons: Annotated[list[str], Field(description="why it is low, and what to do; empty where it is usual")]


class OutsideFormat(Schema):
    """One format everywhere that the plan cannot take, within the budget and expected to lose less."""

    format: Annotated[str, Field(description="candidate format")]
    reason: Annotated[Reason, Field(description="'menu', 'runtime' or 'unmeasured': why the plan cannot take it")]
    loss: Annotated[float, Field(description="expected; between measured neighbours in log space where it is not measured")]
    standard_error: Annotated[float, Field(description="of loss")]
    effective_bits: Annotated[float, Field(description="stored bits of the planned layers ÷ their weights")]
    advice: Annotated[str, Field(description="the same in a sentence, with what to do")]


class WiderPlan(Schema):
    """The plan with every measured format that the runtime takes, under the same budget, counts and other rules."""

    loss: Annotated[float, Field(description="expected")]
    standard_error: Annotated[float, Field(description="of loss")]
    gain: Annotated[float, Field(description="by how much its objective is smaller than the plan's")]
    gain_error: Annotated[float, Field(description="standard error of gain, cells taken as independent")]
    effective_bits: Annotated[float, Field(description="stored bits of the planned layers ÷ their weights")]
    added: Annotated[dict[str, int], Field(description="layers that it gives to formats that the plan could not take there")]
    advice: Annotated[str, Field(description="the same in a sentence, with what to do")]


class MenuLimit(Schema):
    """The menu, not the model, is what keeps the plan from being better."""

    loss: Annotated[float, Field(description="expected loss of the plan, which the others are compared with")]
    uniforms: Annotated[list[OutsideFormat], Field(description="single formats that beat the plan, the best first")]
    wider: Annotated[WiderPlan | None, Field(description="a wider menu's plan, where it is better by more than its error")]
