"""What layer groups and caches take of limits that are no stored bits: seconds on a device, bit-operations."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.budget import Budget, BudgetKind, Meter
from planner.build import Classes
from planner.devices import PICOSECONDS, Device, Phase, Remainder, fixed_picoseconds, kv_picoseconds, latency_table
from planner.runtimes import get_runtime
from planner.services.devices import get_device
from planner.services.planning_inputs import Selected, load_layers, rest_of
from planner.solving.limits import Metered

ACTIVATION_BITS: Final = 16
"""Of bit-operations: weights are dequantized to 16 bits where they are used."""


def used_device(session: Session, budgets: Sequence[Budget]) -> Device | None:
    """The device of the limits of seconds, if there are any.

    Raises:
        NotFoundError: no such device; the message names close ones.
    """
    name = next((budget.device for budget in budgets if budget.device is not None), None)
    return None if name is None else get_device(session, name)


def metered(
    session: Session,
    budgets: Sequence[Budget],
    device: Device | None,
    *,
    runtime: str,
    selected: Selected,
    classes: Classes,
    cache_bits: NDArray[np.int64] | None,
) -> dict[BudgetKind, Metered]:
    """Tables of the limits that do not count stored bits.

    Args:
        session: where all layers of the model are read.
        budgets: all limits of a request.
        device: of the limits of seconds.
        runtime: name of the engine.
        selected: layers and what is beside them.
        classes: groups of weights.
        cache_bits: int64 (groups of caches, their formats), where caches are planned; the tables go on with them then.

    Raises:
        InvalidRequestError: a workload that the device's figures cannot say anything of.
    """
    found: dict[BudgetKind, Metered] = {}
    for budget in budgets:
        if budget.kind is BudgetKind.BIT_OPERATIONS:
            found[budget.kind] = Metered(Meter(1), _with_caches(_bit_operations(classes), cache_bits, None))
        elif budget.kind.counts_seconds and device is not None:
            layers = load_layers(session, selected.model.id)
            rest = Remainder(
                layers=layers,
                ignored=selected.ignored,
                dtype=selected.model.dtype,
                vocab_size=selected.model.vocab_size,
                unquantized_bytes=get_runtime(runtime).rest_bytes(rest_of(selected.model, layers)),
            )
            found[budget.kind] = _seconds(budget, device, rest, runtime, selected, classes, cache_bits)
    return found


def _seconds(
    budget: Budget,
    device: Device,
    rest: Remainder,
    runtime: str,
    selected: Selected,
    classes: Classes,
    cache_bits: NDArray[np.int64] | None,
) -> Metered:
    phase = Phase.DECODE if budget.kind is BudgetKind.DECODE_SECONDS else Phase.PREFILL
    batch, tokens = budget.batch, budget.context
    engine = get_runtime(runtime)
    times = latency_table(device, classes.layers, classes.formats, engine, phase=phase, batch=batch, tokens=tokens)
    fixed = fixed_picoseconds(device, rest, phase=phase, batch=batch, tokens=tokens)
    reads = None
    if phase is Phase.DECODE and cache_bits is None:
        fixed += int(kv_picoseconds(device, np.array([8 * budget.kv_bytes(selected.footprint)]))[0])
    elif phase is Phase.DECODE and cache_bits is not None:
        reads = kv_picoseconds(device, cache_bits)
    return Metered(Meter(PICOSECONDS, fixed), _with_caches(_of_groups(times, classes), cache_bits, reads))


def _bit_operations(classes: Classes) -> NDArray[np.int64]:
    """Multiplications of a token × bits of the weight × bits of the activation; an expert counts by its share of the tokens."""
    products = np.array([round(layer.parameters * layer.active_fraction) for layer in classes.layers], dtype=np.int64)
    bits = np.array([fmt.num_bits for fmt in classes.formats], dtype=np.int64)
    return _of_groups(products[:, None] * bits * ACTIVATION_BITS, classes)


def _of_groups(table: NDArray[np.int64], classes: Classes) -> NDArray[np.int64]:
    """Sum over the members, int64 (groups, formats); 0 where not legal."""
    sums = np.zeros(classes.legal.shape, dtype=np.int64)
    np.add.at(sums, classes.group_of_layer, table)
    return np.where(classes.legal, sums, 0)


def _with_caches(
    table: NDArray[np.int64], cache_bits: NDArray[np.int64] | None, reads: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    if cache_bits is None:
        return table
    rest = np.zeros_like(cache_bits) if reads is None else reads
    whole = np.zeros((table.shape[0] + rest.shape[0], table.shape[1] + rest.shape[1]), dtype=np.int64)
    whole[: table.shape[0], : table.shape[1]] = table
    whole[table.shape[0] :, table.shape[1] :] = rest
    return whole
