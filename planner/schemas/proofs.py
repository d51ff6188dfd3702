"""How good a plan is: its bound, and each limit and count with what it costs."""

from typing import Annotated

from pydantic import Field

from planner.schemas.base import Schema


class StepDocument(Schema):
    """A plan that was made by a short step away from another one that changes were measured around."""

    layers: Annotated[int, Field(description="layers whose format is another than there")]
    change: Annotated[float, Field(description="measured sum of these changes; negative where the plan is better")]
    from_loss: Annotated[float, Field(description="loss of the other plan, measured on the text of the changes")]
    from_error: Annotated[float | None, Field(description="its standard error over sequences")]
    errors: Annotated[
        float, Field(description="standard errors of each change that the predicted loss holds above from_loss + change")
    ]


class KeptCount(Schema):
    """A count, what the plan makes of it, and what it costs."""

    what: Annotated[str, Field(description="what is counted: 'layers above 6 bits'")]
    layers: Annotated[int, Field(description="layers of the plan that are counted")]
    at_most: Annotated[int | None, Field(description="no more than this")]
    at_least: Annotated[int | None, Field(description="no fewer than this")]
    at_most_multiplier: Annotated[float, Field(description="μ of the bound: loss per layer that at_most keeps from the formats")]
    at_least_multiplier: Annotated[float, Field(description="ν of the bound: loss per layer that at_least forces into them")]


class KeptLimit(Schema):
    """A limit, what the plan makes of it, and what it costs."""

    kind: Annotated[str, Field(description="effective_bits, file_bytes, resident_bytes, decode_seconds, …")]
    device: Annotated[str | None, Field(description="whose seconds; null for other limits")] = None
    pool: Annotated[str | None, Field(description="memory pool whose bytes; null for other limits")] = None
    limit: Annotated[float, Field(description="what was asked for")]
    used: Annotated[float, Field(description="what the plan takes, in the same unit, what is not planned included")]
    slack: Annotated[float, Field(description="limit − used, in the same unit")]
    binds: Annotated[bool, Field(description="the plan would lose less without it: its price is not 0")]
    price: Annotated[float, Field(description="shadow price: predicted loss that one more unit of it would save, at the margin")]
    multiplier: Annotated[float, Field(description="the same for one of its whole units: λ of the bound")]
    whole_units: Annotated[int, Field(description="whole units that what is planned may take: bits, picoseconds, bit-operations")]
    whole_used: Annotated[int, Field(description="whole units that it takes; never more")]
    least: Annotated[float, Field(description="least value that any plan keeps, whatever the other limits")]
    most: Annotated[float, Field(description="value that every plan keeps")]

    @property
    def name(self) -> str:
        """Its kind, and the memory pool that it is of."""
        return self.kind if self.pool is None else f"{self.kind} of {self.pool}"


class DeviceUsed(Schema):
    """The device whose seconds were limited."""

    name: Annotated[str, Field(description="its name then")]
    digest: Annotated[str, Field(description="SHA-256 of its profile and its measured latencies then")]


class SmallestDocument(Schema):
    """How far a plan is proven to be the smallest that keeps its greatest loss."""

    bits: Annotated[int, Field(description="stored bits of what is planned")]
    least_bits: Annotated[int, Field(description="no plan of fewer bits keeps the loss; equal to bits where that is proven")]
    solves: Annotated[int, Field(description="budgets that were solved")]


class Proof(Schema):
    """How good the plan is among all plans of this problem."""

    status: Annotated[str, Field(description="outcome of the solver")]
    advice: Annotated[str, Field(description="what the status means and what to do about it")]
    lower_bound: Annotated[float, Field(description="no plan within this budget (and these counts) has a smaller objective")]
    gap: Annotated[float, Field(description="(objective − lower_bound) / |objective|")]
    multiplier: Annotated[float, Field(description="λ of the Lagrangian bound: loss per stored bit")]
    lagrangian_bound: Annotated[
        float,
        Field(
            description="recompute it from the curves (with shrinkage the expected ones: curves?expected=true): "
            "Σ min(loss + λ·size) − λ·budget; with several limits Σ over them of multiplier × what the format takes inside and "
            "of multiplier × whole_units outside; with counts n of each group and format "
            "+ (μ−ν)·n inside and − μ·at_most + ν·at_least outside; with caution + caution·standard_error·direction inside"
        ),
    ]
    budget_layer_bits: Annotated[
        int,
        Field(description="the tightest limit of stored bits for what is planned; the size of the largest plan where none is"),
    ]
    slack_bits: Annotated[int, Field(description="bits of it that the plan leaves")]
    solver: Annotated[str, Field(description="which solver found it")]
    solve_seconds: Annotated[float, Field(description="time of the solver alone")]
    caution: Annotated[
        float, Field(description="the objective is loss + caution × standard_error: what lower_bound and gap are about")
    ] = 0.0
    objective: Annotated[float | None, Field(description="of the plan; null stands for the predicted loss")] = None
    direction: Annotated[
        dict[int, dict[str, float]],
        Field(
            description="u of the bound, group → format → number, with Σu² ≤ 1, so that Σ u·standard_error is no more than the "
            "plan's standard error; 0 where absent"
        ),
    ] = {}
    counts: Annotated[list[KeptCount], Field(description="the counts of the request, in order")] = []
    smallest: Annotated[SmallestDocument | None, Field(description="of an inverse question; else null")] = None
