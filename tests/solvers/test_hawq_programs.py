"""The integer programs that HAWQ-V3 published, from its own vectors, solved from scaled whole numbers.

Source: Yao et al. 2021, *HAWQ-V3: Dyadic Neural Network Quantization*; vectors of its ILP notebook (Zhen-Dong/HAWQ, MIT).
The optima in the file were recomputed exactly and are not ours.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solvers import AbstractSolver, BruteForce, Mckp, Problem, Status, solve
from solvers.ilp import Ilp
from tests.solvers.instances import Floats, Integers, one_budget

PROGRAMS = json.loads((Path(__file__).parent / "data" / "hawq_ilp.json").read_text(), parse_float=Decimal)
CASES = PROGRAMS["cases"]
DIGITS = Decimal(10) ** 12  # every published figure is a whole multiple of 1e-12


def whole(value: Decimal) -> int:
    scaled = value * DIGITS
    assert scaled == int(scaled), f"{value} has more digits than are kept"
    return int(scaled)


def resource_per_layer(model: dict[str, list[Decimal]], resource: str) -> list[tuple[Decimal, Decimal]]:
    """What a layer uses at 4 and at 8 bits, in the unit of the budgets."""
    if resource == "latency":
        return list(zip(model["latency_int4"], model["latency_int8"], strict=True))
    if resource == "bops":
        return [(bops / 64, bops / 16) for bops in model["bops"]]
    return [(parameters * 4 / 8, parameters) for parameters in model["parameters"]]


def class_of_layer(model: dict[str, Any]) -> list[int]:
    """Layers that must be equal share a class."""
    layers = len(model["parameters"])
    first = list(range(layers))
    for tie in model["ties"]:
        for layer in tie:
            first[layer] = min(tie)
    order = sorted(set(first))
    return [order.index(layer) for layer in first]


def classes_of(model: dict[str, Any], resource: str) -> tuple[Floats, Integers, list[int]]:
    klass = class_of_layer(model)
    loss, sizes = np.zeros((max(klass) + 1, 2)), np.zeros((max(klass) + 1, 2), dtype=np.int64)
    used = resource_per_layer(model, resource)
    for layer, i in enumerate(klass):
        for k, bits in enumerate((4, 8)):
            loss[i, k] += float(model["Hutchinson_trace"][layer] * model[f"delta_weights_{bits}bit_square"][layer])
            sizes[i, k] += whole(used[layer][k])
    return loss, sizes, klass


SOLVERS = {"search": Mckp(), "milp": Mckp(max_states=0), "ilp-cp-sat": Ilp("cp-sat"), "ilp-highs": Ilp("highs")}


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['model']}-{case['resource']}-{case['fraction']}")
def test_reaches_the_published_optimum(case: dict[str, Any], solver: AbstractSolver) -> None:
    loss, sizes, klass = classes_of(PROGRAMS["models"][case["model"]], case["resource"])
    solution = solve(one_budget(loss, sizes, whole(case["budget"])), solver)
    assert solution.status is Status.OPTIMAL
    assert solution.loss == pytest.approx(float(case["optimal_loss"]), abs=1e-9)
    assert solution.sizes[0] <= whole(case["budget"])
    assert "".join(str(solution.choice[i] + 1) for i in klass) == case["choice"]
    assert float(solution.sizes[0]) / float(DIGITS) == pytest.approx(float(case["resource_used"]), rel=1e-9)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_size_operations_and_latency_at_once(name: str) -> None:
    """The published budgets of a model that bind most, all three together: both backends agree, and each alone allows more."""
    model = PROGRAMS["models"][name]
    tables = [classes_of(model, resource) for resource in ("size", "bops", "latency")]
    loss, sizes = tables[0][0], np.stack([table[1] for table in tables])
    budgets = [
        min(whole(case["budget"]) for case in CASES if case["model"] == name and case["resource"] == resource)
        for resource in ("size", "bops", "latency")
    ]
    problem = Problem(loss.astype(np.float64), sizes, np.array(budgets))
    first, second = solve(problem, Ilp("cp-sat")), solve(problem, Ilp("highs"))
    assert first.status is second.status is Status.OPTIMAL
    assert first.loss == pytest.approx(second.loss, rel=1e-12)
    assert (first.sizes <= problem.budgets).all()
    alone = [solve(one_budget(loss, sizes[r], budgets[r]), Mckp()).loss for r in range(3)]
    assert first.loss >= max(alone) * (1 - 1e-12)
    if name == "resnet18":
        judge = solve(problem, BruteForce())
        assert first.loss == pytest.approx(judge.loss, rel=1e-12)
