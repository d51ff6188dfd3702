"""What was measured of a model's plans, at exact sizes of files."""

import pytest

from planner.errors import NotFoundError
from planner.services.measured_plans import measured_plans
from planner.storage.database import Database
from tests import synthetic
from tests.planner.services.evaluated_plans import evaluated, made

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def prepared(database: Database) -> None:
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))


@pytest.mark.parametrize("runtime", ["generic", "vllm"])
def test_sizes_are_those_of_the_plan_and_of_the_uniform_format_beside_it(database: Database, runtime: str) -> None:
    prepared(database)
    with database.session() as session:
        plan = made(session, runtime=runtime, budget={"effective_bits": 5.0})
        (reference,) = plan.references
        evaluated(session, plan, {"plan": 0.1, reference.label: 0.2})
        found = {one.label: one for one in measured_plans(session, "toy")}
    assert reference.size is not None
    assert found["plan"].file_bytes == plan.size.file_bytes
    assert found["plan"].predicted == plan.predicted.loss
    assert found[reference.label].file_bytes == reference.size.file_bytes
    assert found[reference.label].predicted is None
    assert {one.plan for one in found.values()} == {plan.id}
    assert {one.runtime for one in found.values()} == {runtime}
    assert (found["plan"].kl, found["plan"].kl_error) == (0.1, 0.004)


def test_the_newest_measurement_of_each_stands_for_it(database: Database) -> None:
    prepared(database)
    with database.session() as session:
        first, second = made(session), made(session, budget={"effective_bits": 4.26})
        label = first.references[0].label
        assert second.references[0].label == label  # the same uniform format, of the same size
        evaluated(session, first, {"plan": 0.3, label: 0.5})
        evaluated(session, second, {"plan": 0.2, label: 0.4}, error=None)
        found = measured_plans(session, "toy")
    assert [(one.label, one.plan, one.kl) for one in found] == [
        (label, second.id, 0.4),
        ("plan", second.id, 0.2),
        ("plan", first.id, 0.3),
    ]
    assert found[0].kl_error is None


def test_a_model_without_evaluations_has_none_and_one_that_there_is_not_is_refused(database: Database) -> None:
    prepared(database)
    with database.read_session() as session:
        assert measured_plans(session, "toy") == []
        with pytest.raises(NotFoundError):
            measured_plans(session, "nobody")
