"""What a plan makes of each limit of its request: used, left, and the price of one more unit."""

import numpy as np
from numpy.typing import NDArray

from planner.budget import BudgetKind
from planner.devices import Device
from planner.schemas.proofs import DeviceUsed, KeptLimit
from planner.services.asking import Asked
from planner.solving import Limit, Smallest, Solved


def kept_limits(asked: Asked, solved: Solved, smallest: Smallest | None, items: NDArray[np.int64]) -> list[KeptLimit]:
    """Every limit, in the order of ``BudgetKind``. Of two that count the same only the tighter one can have a price.

    Args:
        asked: the request.
        solved: the plan.
        smallest: of an inverse question.
        items: int64 (groups,): what the plan chose of the columns that the limits are over.
    """
    prices = {id(limit): price for limit, price in zip(asked.limits.others, solved.prices.tolist(), strict=False)}
    if asked.limits.stored is not None:
        prices[id(asked.limits.stored)] = 0.0 if smallest is not None else solved.price
    found = [_kept(asked, limit, items, prices.get(id(limit), 0.0)) for limit in asked.limits]
    return found if smallest is None else [*found, _kept_loss(asked, smallest)]


def used(device: Device | None) -> DeviceUsed | None:
    """The device as a plan remembers it."""
    return None if device is None else DeviceUsed(name=device.name, digest=device.digest)


def _kept(asked: Asked, limit: Limit, items: NDArray[np.int64], price: float) -> KeptLimit:
    whole, meter = limit.taken(items), limit.meter
    value = meter.value(whole)
    return KeptLimit(
        kind=limit.budget.kind.value,
        device=limit.budget.device,
        pool=limit.budget.pool,
        limit=limit.budget.value,
        used=value,
        slack=limit.budget.value - value,
        binds=price > 0,
        price=price * meter.units,
        multiplier=price,
        whole_units=limit.room,
        whole_used=whole,
        least=meter.least(asked.limits.least(limit)),
        most=meter.least(asked.limits.most(limit)),
    )


def _kept_loss(asked: Asked, smallest: Smallest) -> KeptLimit:
    """The greatest loss that was asked for; its price is in the plan's bits, and no loss."""
    solved, limit = smallest.solved, asked.request.budget.max_loss or 0.0
    losses = asked.whole.curves.loss
    loss = solved.proved.objective
    return KeptLimit(
        kind=BudgetKind.MAX_LOSS.value,
        limit=limit,
        used=loss,
        slack=limit - loss,
        binds=solved.size_bits > asked.whole.classes.smallest_bits,
        price=0.0,
        multiplier=0.0,
        whole_units=0,
        whole_used=0,
        least=float(losses.min(axis=1, initial=0.0).sum()),
        most=float(losses.max(axis=1, initial=0.0, where=asked.whole.classes.legal).sum()),
    )
