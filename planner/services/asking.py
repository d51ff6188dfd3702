"""One request over what its question shares with others: its limits and counts over the whole problem."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.build import GroupCurves
from planner.devices import Device
from planner.errors import InvalidRequestError
from planner.schemas.choices import KVChoice
from planner.schemas.plans import PlanRequest
from planner.services.metering import Meters, used_device
from planner.services.posing import pose_counts
from planner.services.preparing import Prepared
from planner.services.whole_problem import WholeProblem
from planner.solving import Limits, PosedCount, Row, check_ceilings, check_floors, curves_in_pools, in_pools, pose_limits, rows_of


@dataclass(frozen=True)
class Asked:
    """A request as it is solved.

    Attributes:
        request: what was asked for.
        prepared: what it shares with the requests of other limits.
        whole: groups of weights, and of caches where they are planned.
        curves: losses of the columns that the limits are over: those of ``whole``, in every pool.
        limits: of the request, over these groups and columns.
        counts: of the request, over the same.
        meters: what tables of seconds, bit-operations and pools are made of.
        pools: memory pools that things can lie in; none where they are not limited.
    """

    request: PlanRequest
    prepared: Prepared
    whole: WholeProblem
    curves: GroupCurves
    limits: Limits
    counts: Sequence[PosedCount]
    meters: Meters
    pools: tuple[str, ...] = ()

    @property
    def device(self) -> Device | None:
        """Whose seconds or memory pools are limited."""
        return self.meters.device

    @cached_property
    def rows(self) -> list[Row]:
        """What is kept besides the stored bits: the other limits, then the counts."""
        return [*self.limits.rows, *rows_of(self.counts)]

    @cached_property
    def is_plain(self) -> bool:
        """One limit of stored bits over weights alone."""
        return self.whole.caches is None and self.limits.stored is not None and len(self.request.budget.given) == 1

    @property
    def key(self) -> Hashable:
        """Equal for requests of one question that have the same answer."""
        spec, limits = self.request.budget, self.limits
        others = tuple((limit.budget.kind, limit.budget.pool, limit.room) for limit in limits.others)
        where = None if self.device is None else self.device.digest
        serving = (spec.context, spec.batch) if others or self.whole.caches is not None else None
        counts = tuple(count.model_dump_json() for count in self.request.counts)
        return limits.budget_bits, others, where, serving, spec.max_loss, self.request.caution, counts


def ask(session: Session, prepared: Prepared, request: PlanRequest) -> Asked:
    """Pose the limits and counts of a request; limits that no plan keeps are refused, without measurements where they can be.

    Raises:
        NotFoundError: no such device.
        InvalidRequestError: counts that contradict the model, cells that nobody measured, pools that the device does not have.
        BudgetError: below the floor or above the ceiling, with the limits.
    """
    budgets, footprint = request.budget.budgets(), prepared.selected.footprint
    device = used_device(session, budgets)
    pools = _pools(request, device)
    budgets.sort(key=lambda budget: pools.index(budget.pool) if budget.pool in pools else -1)
    meters = Meters(prepared.selected, prepared.classes, request.runtime, device, None, pools or (None,))
    tables = meters.tables(session, budgets) if prepared.caches is None else {}
    bare = None
    if prepared.caches is None and not pools:
        bare = pose_limits(budgets, prepared.classes, footprint, metered=tables)
        check_floors(bare, footprint)
    whole = prepared.problem(context=request.budget.context, batch=request.budget.batch)
    if whole.caches is not None:
        tables = replace(meters, cache_bits=whole.caches.sizes).tables(session, budgets)
    items, curves = whole.classes, whole.curves
    if pools:
        items, curves = in_pools(items, len(pools)), curves_in_pools(curves, len(pools))
    if bare is None:
        weights = None if whole.caches is None else whole.weight_groups
        limits = pose_limits(budgets, items, footprint, weights=weights, metered=tables)
    else:
        limits = bare.within(items)
    check_floors(limits, footprint)
    if not request.allow_slack and request.budget.max_loss is None:
        check_ceilings(limits, footprint)
    counts = [_over(count, whole, max(1, len(pools))) for count in pose_counts(request.counts, prepared.classes)]
    return Asked(request, prepared, whole, curves, limits, counts, meters, pools)


def _pools(request: PlanRequest, device: Device | None) -> tuple[str, ...]:
    """The pools of the request, in the device's order.

    Raises:
        InvalidRequestError: pools that the device does not have, without its first one, or beside what they cannot be had with.
    """
    asked = request.budget.pool_bytes
    if asked is None or device is None:
        return ()
    known = [pool.name for pool in device.pools]
    if not set(asked) <= set(known) or known[0] not in asked:
        msg = (
            f"{device.name} has the memory pools {', '.join(known)}: give bytes of {known[0]}, where what is not planned lies, "
            f"and of any of the others"
        )
        raise InvalidRequestError(msg, pools=known)
    if request.caution or request.alternatives:
        msg = "memory pools cannot be planned with caution or alternatives: leave these out"
        raise InvalidRequestError(msg)
    return tuple(name for name in known if name in asked)


def beside_caches(asked: Asked, chosen: Sequence[KVChoice]) -> tuple[int, list[Row]]:
    """What the groups of weights may take while caches keep their formats: stored bits, and the rows of the other limits.

    Args:
        asked: the request.
        chosen: what a plan gives the caches; nothing where they are not planned.

    Raises:
        InvalidRequestError: memory pools.
    """
    whole = asked.whole
    if asked.pools:
        msg = "a search has no places to choose: search from a plan without memory pools"
        raise InvalidRequestError(msg)
    if whole.caches is None:
        return asked.limits.budget_bits, asked.rows
    groups, formats = whole.posed.classes.legal.shape
    rows = np.arange(groups, len(whole.classes.groups))
    columns = whole.cache_columns({choice.layer: choice.format for choice in chosen})
    left = [Row(row.text, row.table[:groups, :formats], row.limit - int(row.table[rows, columns].sum())) for row in asked.rows]
    return asked.limits.budget_bits - int(whole.classes.sizes[rows, columns].sum()), left


def _over(count: PosedCount, whole: WholeProblem, pools: int) -> PosedCount:
    """A count over all groups and columns: caches are no layers that it counts, and it does not matter where something lies."""
    if whole.caches is None and pools == 1:
        return count
    groups, formats = whole.classes.legal.shape
    padded = partial(_padded, groups=groups, formats=formats, pools=pools)
    upper, lower = (None if row is None else Row(row.text, padded(row.table), row.limit) for row in (count.upper, count.lower))
    return PosedCount(count.count, padded(count.table), upper, lower)


def _padded(table: NDArray[np.int64], *, groups: int, formats: int, pools: int) -> NDArray[np.int64]:
    padded = np.zeros((groups, formats), dtype=np.int64)
    padded[: table.shape[0], : table.shape[1]] = table
    return np.hstack([padded] * pools)
