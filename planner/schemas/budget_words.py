"""The limits of a budget in words, for tables and pages."""

from collections.abc import Callable
from typing import Any, Final

from planner.budget import BudgetKind
from planner.schemas.plans import BudgetSpec

Words = Callable[[Any, str | None, Callable[[int], str]], str]

_WORDS: Final[dict[BudgetKind, Words]] = {
    BudgetKind.EFFECTIVE_BITS: lambda value, _, __: f"{value:g} bits",
    BudgetKind.FILE_BYTES: lambda value, _, size: f"file of {size(value)}",
    BudgetKind.RESIDENT_BYTES: lambda value, _, size: f"memory of {size(value)}",
    BudgetKind.DECODE_SECONDS: lambda value, device, _: f"{1000 * value:g} ms a token on {device}",
    BudgetKind.PREFILL_SECONDS: lambda value, device, _: f"{1000 * value:g} ms a prompt on {device}",
    BudgetKind.BIT_OPERATIONS: lambda value, _, __: f"{value:g} bit-operations",
    BudgetKind.POOL_BYTES: lambda pools, _, size: " and ".join(f"{size(most)} of {name}" for name, most in pools.items()),
    BudgetKind.MAX_LOSS: lambda value, _, __: f"loss of {value:g}",
}


def budget_words(spec: BudgetSpec, size: Callable[[int], str]) -> str:
    """All limits of a budget, comma-separated.

    Args:
        spec: the budget.
        size: how bytes are written.
    """
    return ", ".join(_WORDS[kind](getattr(spec, kind.value), spec.device, size) for kind in spec.given)
