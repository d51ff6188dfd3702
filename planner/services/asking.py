"""One request over what its question shares with others: its limits and counts over the whole problem."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.budget import Budget, BudgetKind
from planner.build import Classes
from planner.devices import Device
from planner.schemas.choices import KVChoice
from planner.schemas.plans import PlanRequest
from planner.services.metering import metered, used_device
from planner.services.posing import pose_counts
from planner.services.preparing import Prepared
from planner.services.whole_problem import WholeProblem
from planner.solving import Limits, Metered, PosedCount, Row, check_ceilings, check_floors, pose_limits, rows_of
from sensitivity.formats.abstract import AbstractFormat


@dataclass(frozen=True)
class Asked:
    """A request as it is solved.

    Attributes:
        request: what was asked for.
        prepared: what it shares with the requests of other limits.
        whole: groups of weights, and of caches where they are planned.
        limits: of the request, over these groups.
        counts: of the request, over these groups.
        device: whose seconds are limited.
    """

    request: PlanRequest
    prepared: Prepared
    whole: WholeProblem
    limits: Limits
    counts: Sequence[PosedCount]
    device: Device | None

    @cached_property
    def rows(self) -> list[Row]:
        """What is kept besides the stored bits: the other limits, then the counts."""
        return [*self.limits.rows, *rows_of(self.counts)]

    @property
    def is_plain(self) -> bool:
        """One limit of stored bits over weights alone."""
        return self.whole.caches is None and len(self.request.budget.given) == 1 and self.limits.stored is not None

    @property
    def key(self) -> Hashable:
        """Equal for requests of one question that have the same answer."""
        spec, limits = self.request.budget, self.limits
        others = tuple((limit.budget.kind, limit.room) for limit in limits.others)
        where = None if self.device is None else self.device.digest
        serving = (spec.context, spec.batch) if others or self.whole.caches is not None else None
        counts = tuple(count.model_dump_json() for count in self.request.counts)
        return limits.budget_bits, others, where, serving, spec.max_loss, self.request.caution, counts


def ask(session: Session, prepared: Prepared, request: PlanRequest) -> Asked:
    """Pose the limits and counts of a request; limits that no plan keeps are refused, without measurements where they can be.

    Raises:
        NotFoundError: no such device.
        InvalidRequestError: counts that contradict the model, cells that nobody measured.
        BudgetError: below the floor or above the ceiling, with the limits.
    """
    budgets, footprint = request.budget.budgets(), prepared.selected.footprint
    device = used_device(session, budgets)
    tables = _tables(session, prepared, budgets, device)
    if prepared.caches is None:
        check_floors(pose_limits(budgets, prepared.classes, footprint, metered=tables), footprint)
    whole = prepared.problem(context=request.budget.context, batch=request.budget.batch)
    if whole.caches is not None:
        tables = _tables(session, prepared, budgets, device, whole.caches)
    weights = None if whole.caches is None else whole.weight_groups
    limits = pose_limits(budgets, whole.classes, footprint, weights=weights, metered=tables)
    check_floors(limits, footprint)
    if not request.allow_slack and request.budget.max_loss is None:
        check_ceilings(limits, footprint)
    counts = [_beside_caches(count, whole) for count in pose_counts(request.counts, prepared.classes)]
    return Asked(request, prepared, whole, limits, counts, device)


def beside_caches(asked: Asked, chosen: Sequence[KVChoice]) -> tuple[int, list[Row]]:
    """What the groups of weights may take while caches keep their formats: stored bits, and the rows of the other limits.

    Args:
        asked: the request.
        chosen: what a plan gives the caches; nothing where they are not planned.
    """
    whole = asked.whole
    if whole.caches is None:
        return asked.limits.budget_bits, asked.rows
    groups, formats = whole.posed.classes.legal.shape
    rows = np.arange(groups, len(whole.classes.groups))
    columns = whole.cache_columns({choice.layer: choice.format for choice in chosen})
    left = [Row(row.text, row.table[:groups, :formats], row.limit - int(row.table[rows, columns].sum())) for row in asked.rows]
    return asked.limits.budget_bits - int(whole.classes.sizes[rows, columns].sum()), left


def _tables(
    session: Session,
    prepared: Prepared,
    budgets: Sequence[Budget],
    device: Device | None,
    caches: Classes[AbstractFormat] | None = None,
) -> Mapping[BudgetKind, Metered]:
    if all(budget.kind.counts_bits for budget in budgets):
        return {}
    return metered(
        session,
        budgets,
        device,
        runtime=prepared.question.runtime,
        selected=prepared.selected,
        classes=prepared.classes,
        cache_bits=None if caches is None else caches.sizes,
    )


def _beside_caches(count: PosedCount, whole: WholeProblem) -> PosedCount:
    """A count over all groups: caches are no layers that it counts."""
    if whole.caches is None:
        return count
    upper, lower = (
        (None if row is None else Row(row.text, _padded(row.table, whole), row.limit)) for row in (count.upper, count.lower)
    )
    return PosedCount(count.count, _padded(count.table, whole), upper, lower)


def _padded(table: NDArray[np.int64], whole: WholeProblem) -> NDArray[np.int64]:
    padded = np.zeros(whole.classes.legal.shape, dtype=np.int64)
    padded[: table.shape[0], : table.shape[1]] = table
    return padded
