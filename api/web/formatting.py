"""How numbers and times are written for people."""

from datetime import datetime

from planner.schemas.budget_words import budget_words
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


def budget(spec: BudgetSpec) -> str:
    """Every limit of a budget in its own unit."""
    return budget_words(spec, in_bytes)


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
