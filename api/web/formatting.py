"""How numbers and times are written for people."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from planner.budget import BudgetKind
from planner.schemas.plans import BudgetSpec, Measured
from planner.storage.tables import utc_now

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def in_bytes(size: float) -> str:
    """Bytes with a decimal unit and three digits: ``269 MB``."""
    exponent = 0
    while size >= 999.5 and exponent < len(_UNITS) - 1:
        size /= 1000
        exponent += 1
    return f"{size:.3g} {_UNITS[exponent]}"


def change_in_bytes(size: float) -> str:
    """A difference of bytes with its sign: ``+13.3 MB``; ``none`` where there is none."""
    return "none" if size == 0 else f"{'+' if size > 0 else '−'}{in_bytes(abs(size))}"


def in_count(number: float) -> str:
    """A large count: ``135 M``."""
    for step, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * step:
            return f"{number / step:.3g} {suffix}"
    return f"{number:.0f}"


def significant(value: float | None) -> str:
    """Three significant digits; a dash where there is no number."""
    return "–" if value is None else f"{value:.3g}"


def measured(quantity: Measured | None) -> str:
    """A quantity with its standard error."""
    if quantity is None:
        return "–"
    error = "" if quantity.standard_error is None else f" ± {quantity.standard_error:.1g}"
    return f"{quantity.value:.4g}{error}"


def duration(seconds: float | None) -> str:
    """A length of time with one unit: ``40 s``, ``3 min``."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    return next((f"{whole / step:.0f} {unit}" for step, unit in _STEPS if whole >= step), f"{whole} s")


def ago(time: datetime) -> str:
    """How long ago a time was."""
    return f"{duration(max(0.0, (utc_now() - time).total_seconds()))} ago"


_LIMITS: Final[dict[BudgetKind, Callable[[Any, str | None], str]]] = {
    BudgetKind.EFFECTIVE_BITS: lambda value, _: f"{value:g} effective bits",
    BudgetKind.FILE_BYTES: lambda value, _: f"{in_bytes(value)} file",
    BudgetKind.RESIDENT_BYTES: lambda value, _: f"{in_bytes(value)} resident",
    BudgetKind.DECODE_SECONDS: lambda value, device: f"{1000 * value:g} ms a token on {device}",
    BudgetKind.PREFILL_SECONDS: lambda value, device: f"{1000 * value:g} ms a prompt on {device}",
    BudgetKind.BIT_OPERATIONS: lambda value, _: f"{value:g} bit-operations",
    BudgetKind.POOL_BYTES: lambda pools, _: " and ".join(f"{in_bytes(size)} of {name}" for name, size in pools.items()),
    BudgetKind.MAX_LOSS: lambda value, _: f"loss of {value:g}",
}


def budget(spec: BudgetSpec) -> str:
    """Every limit of a budget in its own unit."""
    return ", ".join(_LIMITS[kind](getattr(spec, kind.value), spec.device) for kind in spec.given)


FILTERS = {
    "in_bytes": in_bytes,
    "change_in_bytes": change_in_bytes,
    "in_count": in_count,
    "significant": significant,
    "measured": measured,
    "duration": duration,
    "ago": ago,
    "budget": budget,
}
