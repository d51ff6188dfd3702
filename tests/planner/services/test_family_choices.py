"""What pages offer to choose from."""

from dataclasses import replace

import pytest

from planner.services.family_choices import has_experts, model_names, relatives
from planner.storage.database import Database
from tests import synthetic
from tests.planner.services.evaluated_plans import evaluated, made

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_models_that_were_evaluated_are_relatives_of_the_others(database: Database) -> None:
    with database.session() as session:
        calibration = synthetic.add_calibration(session)
        ids = {}
        for name in ("toy", "alike", "bare"):
            described = synthetic.description(name=name)
            ids[name] = synthetic.add_model(session, described)
            synthetic.add_cells(session, described, synthetic.setting(calibration))
        for name in ("toy", "alike"):
            evaluated(session, made(session, model=name), {"plan": 0.1})
        assert [one.name for one in relatives(session, ids["toy"])] == ["alike"]
        assert [(one.id, one.name, one.vocab_size) for one in relatives(session, ids["bare"])] == [
            (ids["alike"], "alike", 256),
            (ids["toy"], "toy", 256),
        ]
        assert model_names(session) == {identity: name for name, identity in ids.items()}


def test_a_mixture_has_experts(database: Database) -> None:
    plain = synthetic.description()
    layers = tuple(replace(layer, expert=0) if layer.kind == "up_proj" else layer for layer in plain.layers)
    mixture = replace(plain, layers=layers, fingerprint="f" * 64)
    with database.session() as session:
        assert not has_experts(session, synthetic.add_model(session, plain))
        assert has_experts(session, synthetic.add_model(session, mixture))
