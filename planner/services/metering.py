"""What layer groups and caches take of limits that are no stored bits: seconds on a device, bit-operations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.budget import Budget, BudgetKind, Meter
from planner.build import Classes
from planner.devices import (
    PICOSECONDS,
    Device,
    Phase,
    Remainder,
    fixed_picoseconds,
    kv_picoseconds,
    latency_table,
    measured_entries,
)
from planner.runtimes import get_runtime
from planner.services.devices import get_device
from planner.services.planning_inputs import Selected, load_layers, rest_of
from planner.solving.caches import corners
from planner.solving.limits import WORDS, Metered
from planner.solving.rows import refuse_beyond, rough_sum

ACTIVATION_BITS: Final = 16
"""Of bit-operations: weights are dequantized to 16 bits where they are used."""


def used_device(session: Session, budgets: Sequence[Budget]) -> Device | None:
    """The device of the limits of seconds, if there are any.

    Raises:
        NotFoundError: no such device; the message names close ones.
    """
    name = next((budget.device for budget in budgets if budget.device is not None), None)
    return None if name is None else get_device(session, name)


@dataclass(frozen=True, slots=True)
class Meters:
    """What the tables of one request are made of.

    Attributes:
        selected: layers and what is beside them.
        classes: groups of weights.
        runtime: name of the engine.
        device: of the limits of seconds and of memory pools.
        cache_bits: int64 (groups of caches, their formats), where caches are planned; the tables go on with them then.
        pools: memory pools of the device that things can lie in, the first of the device's first; ``None`` for one memory. Tables
            have all formats in the first pool, then all in the next.
    """

    selected: Selected
    classes: Classes
    runtime: str
    device: Device | None
    cache_bits: NDArray[np.int64] | None
    pools: tuple[str | None, ...] = (None,)

    def tables(self, session: Session, budgets: Sequence[Budget]) -> dict[Budget, Metered]:
        """Tables of the limits that do not count stored bits, int64 (groups, pools × formats).

        Args:
            session: where all layers of the model are read.
            budgets: all limits of the request.

        Raises:
            InvalidRequestError: a workload that the device's figures cannot say anything of, or that takes more than plans count.
        """
        found: dict[Budget, Metered] = {}
        rest = self._remainder(session) if any(budget.kind.counts_seconds for budget in budgets) else None
        for budget in budgets:
            if budget.kind is BudgetKind.BIT_OPERATIONS:
                table = self._with_caches(_bit_operations(self.classes), None)
                found[budget] = Metered(Meter(1), np.hstack([table] * len(self.pools)))
            elif budget.kind is BudgetKind.POOL_BYTES:
                found[budget] = self._bytes_of_pool(budget)
            elif budget.kind.counts_seconds and self.device is not None and rest is not None:
                found[budget] = self._seconds(budget, self.device, rest)
        for budget, metered in found.items():
            refuse_beyond(rough_sum(metered.table), f"{WORDS[budget.kind]} of all layers and caches, in whole units,")
        return found

    def _bytes_of_pool(self, budget: Budget) -> Metered:
        """Stored bits of what lies in the pool; what is not planned lies in the first."""
        table = self._with_caches(self.classes.sizes, self.cache_bits)
        footprint, fixed = self.selected.footprint, 0
        if budget.pool == self.pools[0]:
            fixed = footprint.fixed_bytes + budget.workspace_bytes
            fixed += budget.kv_bytes(footprint) if self.cache_bits is None else 0
        parts = [table if pool == budget.pool else np.zeros_like(table) for pool in self.pools]
        return Metered(Meter(8, 8 * fixed, whole=True), np.hstack(parts))

    def _seconds(self, budget: Budget, device: Device, rest: Remainder) -> Metered:
        phase = Phase.DECODE if budget.kind is BudgetKind.DECODE_SECONDS else Phase.PREFILL
        batch, tokens, classes = budget.batch, budget.context, self.classes
        fixed = fixed_picoseconds(device, rest, phase=phase, batch=batch, tokens=tokens)
        if phase is Phase.DECODE and self.cache_bits is None:
            fixed += int(kv_picoseconds(device, np.array([8.0 * budget.kv_bytes(self.selected.footprint)]))[0])
        engine, parts = get_runtime(self.runtime), []
        for pool in self.pools:
            times = latency_table(
                device, classes.layers, classes.formats, engine, phase=phase, batch=batch, tokens=tokens, pool=pool
            )
            reads = None
            if self.cache_bits is not None and phase is Phase.DECODE:
                reads = kv_picoseconds(device, self.cache_bits, pool=pool)
            parts.append(self._with_caches(summed_times(times, classes), reads))
        return Metered(Meter(PICOSECONDS, fixed), np.hstack(parts))

    def _remainder(self, session: Session) -> Remainder:
        model = self.selected.model
        layers = load_layers(session, model.id)
        return Remainder(
            layers=layers,
            ignored=self.selected.ignored,
            dtype=model.dtype,
            vocab_size=model.vocab_size,
            unquantized_bytes=get_runtime(self.runtime).rest_bytes(rest_of(model, layers)),
        )

    def _with_caches(self, table: NDArray[np.int64], caches: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """A table of weights and, where caches are planned, of what they take; nothing by default."""
        if self.cache_bits is None:
            return table
        return corners(table, np.zeros_like(self.cache_bits) if caches is None else caches, 0)


def note_on_seconds(
    meters: Meters, budgets: Sequence[Budget], choice: NDArray[np.int64], places: NDArray[np.int64] | None = None
) -> list[str]:
    """How many layers' seconds were measured, where seconds are limited.

    Args:
        meters: of the request.
        budgets: all limits of the request.
        choice: int64 (groups of weights,): formats.
        places: int64 (groups of weights, and more): memory pools; ``None`` for one memory.
    """
    device, classes = meters.device, meters.classes
    if device is None or not any(budget.kind.counts_seconds for budget in budgets) or not classes.layers:
        return []
    known = measured_entries(device, classes.layers, classes.formats)
    columns = choice[classes.group_of_layer]
    measured = known[np.arange(len(columns)), columns]
    if places is not None:  # what was measured lies in the first pool
        measured &= places[classes.group_of_layer] == 0
    count = int(measured.sum())
    rest = "" if count == len(columns) else "; the others are the roofline's"
    return [f"seconds of {count} of {len(columns)} layers on {device.name} were measured{rest}"]


def _bit_operations(classes: Classes) -> NDArray[np.int64]:
    """Multiplications of a token × bits of the weight × bits of the activation; an expert counts by its share of the tokens."""
    products = np.array([round(layer.parameters * layer.active_fraction) for layer in classes.layers], dtype=np.int64)
    bits = np.array([fmt.num_bits for fmt in classes.formats], dtype=np.int64)
    return _of_groups(products[:, None] * bits * ACTIVATION_BITS, classes)


def summed_times(times: NDArray[np.int64], classes: Classes) -> NDArray[np.int64]:
    """Picoseconds of each group, int64 (groups, formats), of those of its members, int64 (layers, formats); 0 where not legal.

    Raises:
        InvalidRequestError: the layers together take more than plans count.
    """
    refuse_beyond(rough_sum(times), "picoseconds of all layers")
    return _of_groups(times, classes)


def _of_groups(table: NDArray[np.int64], classes: Classes) -> NDArray[np.int64]:
    """Sum over the members."""
    sums = np.zeros(classes.legal.shape, dtype=np.int64)
    np.add.at(sums, classes.group_of_layer, table)
    return np.where(classes.legal, sums, 0)
