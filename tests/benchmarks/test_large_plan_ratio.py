"""CPU time of a plan of very many layers: after the first, little beside what its document is made of."""

import itertools
import json
from dataclasses import replace

import pytest

from planner.schemas.plans import PlanRequest
from planner.services.plan_store import WrittenPlan, store_together
from planner.services.plans import make_plan
from planner.storage.database import Database
from sensitivity.checkpoint.description import Layer, ModelDescription
from tests import synthetic
from tests.benchmarks.references import cpu_milliseconds

pytestmark = [pytest.mark.benchmark, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]

BLOCKS, EXPERTS = 48, 63
MOST_DOCUMENTS = 6.0
"""Times that JSON of this size is read and written by the standard library."""
MOST_OF_THE_FIRST = 0.7


def mixture() -> ModelDescription:
    """9,264 layers, most of them experts."""
    base = synthetic.description()
    layers = []
    for block in range(BLOCKS):
        own = [replace(layer, name=layer.name.replace(".0.", f".{block}.", 1), block=block) for layer in base.layers[:4]]
        mlp = f"model.layers.{block}.mlp.experts"
        experts = [
            Layer(f"{mlp}.{expert}.{kind}", kind, block, expert, 128, 128, 8 / EXPERTS)
            for expert in range(EXPERTS)
            for kind in ("gate_proj", "up_proj", "down_proj")
        ]
        layers += [*own, *experts]
    return replace(base, layers=tuple(layers), blocks=BLOCKS)


def test_plans_of_very_many_layers(database: Database, capfd: pytest.CaptureFixture[str]) -> None:
    described = mixture()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting())

    def once(bits: float) -> str:
        with database.read_session() as session:
            plan = make_plan(session, PlanRequest.model_validate({"model": "toy", "budget": {"effective_bits": bits}}))
        written = WrittenPlan.of(plan)
        assert store_together(database, [written]) == [None]
        return written.document

    budgets = (4.2 + number / 1000 for number in itertools.count())
    first, _ = cpu_milliseconds(lambda: once(next(budgets)), 1)
    later, document = cpu_milliseconds(lambda: once(next(budgets)), 5)
    bare, _ = cpu_milliseconds(lambda: json.dumps(json.loads(document)), 5)
    with capfd.disabled():
        print(  # noqa: T201
            f"\n{len(described.layers):,} layers: first {first:.0f} ms, later {later:.0f} ms, ratio {later / first:.2f}; "
            f"the document's JSON {bare:.0f} ms, ratio {later / bare:.1f}"
        )
    assert later / bare <= MOST_DOCUMENTS
    assert later / first <= MOST_OF_THE_FIRST
