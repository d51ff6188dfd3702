"""The comparison on the second architecture, with a model that learned next to nothing: what is compared, and that it goes on."""

from pathlib import Path

import pytest

from planner.worker.handlers import EvaluationHandler, SensitivityHandler
from sensitivity.memory_forecast import EVALUATED_SEQUENCES
from tests.benchmarks.second_architecture import BUDGETS, CUT, MENUS, compare
from tests.benchmarks.test_small_mixture import QUICK


def test_plans_are_compared_with_uniform_and_nothing_is_measured_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITPLAN_TORCH_THREADS", "1")
    monkeypatch.setitem(CUT, "sequences", 4)
    for part in ("sequence_length", "held_out_length"):
        monkeypatch.setitem(CUT, part, 16)
    lines: list[str] = []
    found = compare(tmp_path, lines.append, recipe=QUICK)
    assert [(one.budget, one.menu) for one in found] == [(budget, menu) for budget in BUDGETS for menu in MENUS]
    assert [one.uniform for one in found[::2]] == ["INT4_G64", "INT5_G64", "INT6_G64"]
    for one, other in zip(found[::2], found[1::2], strict=True):
        assert (one.uniform, one.uniform_kl) == (other.uniform, other.uniform_kl)
    assert all(one.plan_kl > 0 and one.plan_error > 0 and one.difference_error > 0 for one in found)
    assert all(str(one) in lines for one in found)
    for handler in (EvaluationHandler, SensitivityHandler):
        monkeypatch.setattr(handler, "run", None)
    assert compare(tmp_path, lines.append, recipe=QUICK) == found


def test_chunks_of_sequences_are_equally_large() -> None:
    """Or the mean of their differences would not be the difference of the means."""
    assert CUT["held_out_sequences"] % EVALUATED_SEQUENCES == 0
