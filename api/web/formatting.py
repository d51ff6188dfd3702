"""How numbers and times are written for people; the same as ``static/js/words.js``, digit for digit."""

import math
from datetime import datetime
from decimal import ROUND_HALF_UP, Context, Decimal

from planner.schemas.budget_words import budget_words
from planner.schemas.plans import BudgetSpec, Measured
from planner.storage.tables import utc_now

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_LEAST, _MOST = 3, 6  # digits of a value that has an error
_PLAIN = 6  # digits before the point up to which a number is written out
_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def significant(value: float | None, digits: int = 3) -> str:
    """So many significant digits, halves rounded away from zero: ``0.123``, ``1230``, ``1e+06``; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    rounded = _rounded(value, digits)
    shown = max(digits, rounded.adjusted() + 1) if rounded.adjusted() < _PLAIN else digits
    return f"{float(rounded):.{shown}g}"


def in_bytes(size: float) -> str:
    """Bytes with a decimal unit and three digits: ``269 MB``."""
    exponent = 0
    while size >= 999.5 and exponent < len(_UNITS) - 1:
        size /= 1000
        exponent += 1
    return f"{significant(size)} {_UNITS[exponent]}"


def change_in_bytes(size: float) -> str:
    """A difference of bytes with its sign: ``+13.3 MB``; ``none`` where there is none."""
    return "none" if size == 0 else f"{'+' if size > 0 else '−'}{in_bytes(abs(size))}"


def in_count(number: float) -> str:
    """A large count: ``135 M``."""
    for step, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * step:
            return f"{significant(number / step)} {suffix}"
    return str(_whole(number))


def with_error(value: float | None, error: float | None) -> str:
    """A value with its standard error, down to the error's digit: ``0.251 ± 0.004``; three to six digits of it."""
    if value is None or not math.isfinite(value) or error is None:
        return significant(value)
    digits = _LEAST
    if math.isfinite(error) and error:
        digits = min(max(Decimal(value).adjusted() - _rounded(error, 1).adjusted() + 1, _LEAST), _MOST)
    return f"{significant(value, digits)} ± {significant(error, 1)}"


def percent(share: float | None) -> str:
    """A share in hundredths, with two digits: ``0.012 %``."""
    return "–" if share is None else f"{significant(100 * share, 2)} %"


def measured(quantity: Measured | None) -> str:
    """A quantity with its standard error."""
    return "–" if quantity is None else with_error(quantity.value, quantity.standard_error)


def duration(seconds: float | None) -> str:
    """A length of time with one unit: ``40 s``, ``3 min``."""
    if seconds is None:
        return "–"
    whole = _whole(seconds)
    return next((f"{_whole(whole / step)} {unit}" for step, unit in _STEPS if whole >= step), f"{whole} s")


def _rounded(value: float, digits: int) -> Decimal:
    return Context(prec=digits, rounding=ROUND_HALF_UP).plus(Decimal(value))


def _whole(number: float) -> int:
    """The nearest whole number, halves upwards."""
    return math.floor(number + 0.5)


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
    "with_error": with_error,
    "percent": percent,
    "measured": measured,
    "duration": duration,
    "ago": ago,
    "budget": budget,
}
