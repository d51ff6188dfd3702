"""The uniform baseline of a plan: what is said of it depends on its formats alone, and is made once for all budgets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.services.cache_choices import uniform_formats
from planner.services.whole_problem import WholeProblem
from planner.solving import Row


@dataclass(frozen=True, slots=True, eq=False)
class UniformPlan:
    """One format for all weights, and where caches are planned one for all keys and one for all values.

    Attributes:
        columns: of the whole problem, one for each part of ``WholeProblem.uniforms``.
        label: its name.
        format: of all weights; ``None`` where there are none.
        kv_formats: of all keys (K) and all values (V); ``None`` where caches are not planned.
        loss: by the curves that are planned with.
        expected_loss: freed of luck, where anything was.
        weight_bits: stored bits of the weights.
        cache_bits: stored bits of the caches; ``None`` where they are not planned.
    """

    columns: tuple[int, ...]
    label: str
    format: str | None
    kv_formats: dict[str, str] | None
    loss: float
    expected_loss: float
    weight_bits: int
    cache_bits: int | None

    @classmethod
    def of(cls, whole: WholeProblem, columns: tuple[int, ...]) -> "UniformPlan":
        """What is said of the assignment of a column to each part."""
        choice, posed = whole.uniforms.choice(columns), whole.posed
        weights = whole.of_weights(choice)
        name = posed.classes.formats[int(weights[0])].name if len(weights) else ""
        caches, cache_loss = uniform_formats(whole, choice), whole.cache_loss(choice)
        cells = np.arange(len(weights)), weights
        return cls(
            columns=columns,
            label=f"uniform {', '.join([*([name] if name else []), *caches.values()])}",
            format=name or None,
            kv_formats=caches or None,
            loss=float(posed.curves.loss[cells].sum()) + cache_loss,
            expected_loss=float(posed.expected.loss[cells].sum()) + cache_loss,
            weight_bits=whole.weight_bits(choice),
            cache_bits=whole.cache_bits(choice),
        )


def best_uniform(
    whole: WholeProblem, budget_bits: int, rows: Sequence[Row], *, most_loss: float | None, caution: float
) -> UniformPlan | None:
    """The best uniform plan under the limits of a request, as ``uniform_choice`` has it; ``None`` where none keeps them."""
    if not whole.classes.groups:
        return None
    columns = whole.uniforms.best(budget_bits, rows, most_loss=most_loss, caution=caution)
    if columns is None:
        return None
    known = whole.uniform_plans
    if columns not in known:
        known[columns] = UniformPlan.of(whole, columns)
    return known[columns]
