"""Several models under one byte budget: the envelope and its crossings against every assignment of tiny models."""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest
from pydantic import ValidationError

from planner.errors import InvalidRequestError, NotFoundError
from planner.schemas.families import FamilyDocument, FamilyRequest
from planner.schemas.plans import Question
from planner.services import families, jobs
from planner.services.planning_inputs import find_model
from planner.services.preparing import prepare
from planner.storage.database import Database
from planner.storage.tables import EvaluationRow
from sensitivity.checkpoint.description import ModelDescription
from tests import synthetic

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
MENU = ("INT2_G64", "INT4_G64", "INT8_G64")
NLLS = {"small": 3.1, "middle": 3.05, "large": 3.0}
HIDDEN = {"small": 64, "middle": 128, "large": 192}


def described(name: str) -> ModelDescription:
    return synthetic.description(name=name, hidden=HIDDEN[name], blocks=1)


def evaluated(database: Database, model: str, calibration: str, nll: float, *, error: float | None = 0.01) -> None:
    """A made-up evaluation of a model whose reference has this NLL."""
    with database.session() as session:
        job = jobs.submit(session, kind="evaluation", model_id=model, payload={"nll": nll})
        perplexity = math.exp(nll)
        session.add(
            EvaluationRow(
                job_id=job.id,
                model_id=model,
                plan_id=None,
                calibration_id=calibration,
                label="plan",
                size_bits=1,
                effective_bits=4.0,
                kl=0.1,
                kl_error=0.01,
                perplexity=math.exp(nll + 0.12),
                perplexity_error=None,
                reference_perplexity=perplexity,
                reference_perplexity_error=None if error is None else perplexity * error,
                top1_agreement=0.9,
                top1_error=None,
                sequences=2,
            )
        )


@pytest.fixture
def family(database: Database) -> str:
    """Three measured models, evaluated on one text, whose id it is."""
    with database.session() as session:
        text = synthetic.add_calibration(session)
        for number, name in enumerate(NLLS):
            synthetic.add_model(session, described(name))
            synthetic.add_cells(session, described(name), synthetic.setting(), formats=MENU, seed=number)
    for name, nll in NLLS.items():
        evaluated(database, described(name).fingerprint, text, nll)
    return text


def made(database: Database, **request: object) -> FamilyDocument:
    asked = FamilyRequest.model_validate({"models": list(NLLS), "shrinkage": False, "limit": "file_bytes"} | request)
    with database.read_session() as session:
        return families.make_family(session, asked)


def every_plan(database: Database, name: str, extra: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bytes and NLL of every assignment of a model, rising by bytes, the NLL as the least so far."""
    with database.read_session() as session:
        posed = prepare(session, Question(model=name, shrinkage=False)).posed
    sizes, losses = posed.classes.sizes, posed.curves.loss
    fixed = described(name).unquantized_bytes + 2 * 256 * HIDDEN[name] + extra
    found = [
        (fixed + -(-sum(sizes[g, k] for g, k in enumerate(choice)) // 8), sum(losses[g, k] for g, k in enumerate(choice)))
        for choice in itertools.product(range(len(MENU)), repeat=len(sizes))
    ]
    found.sort()
    table = np.array(found)
    return table[:, 0].astype(int), NLLS[name] + np.minimum.accumulate(table[:, 1])


def best_of(plans: Mapping[str, tuple[np.ndarray, np.ndarray]], budget: int) -> tuple[str | None, float]:
    found: tuple[str | None, float] = (None, math.inf)
    for name, (sizes, nlls) in plans.items():
        place = int(np.searchsorted(sizes, budget, side="right")) - 1
        if place >= 0 and nlls[place] < found[1]:
            found = (name, float(nlls[place]))
    return found


@pytest.mark.parametrize("context", [0, 96])
def test_envelope_and_crossings_are_those_of_every_assignment(database: Database, family: str, context: int) -> None:
    served = {"limit": "resident_bytes", "context": context, "batch": 2, "workspace_bytes": 77} if context else {}
    found = made(database, points=40, **served)
    extra = {name: 2 * 2 * context * hidden + 77 if context else 0 for name, hidden in HIDDEN.items()}
    plans = {name: every_plan(database, name, extra[name]) for name in NLLS}
    for point in found.envelope:
        name, nll = best_of(plans, point.budget_bytes)
        assert found.models[point.model].model_name == name
        assert point.predicted_nll == pytest.approx(nll, rel=1e-9)
        assert point.gap == 0
        assert point.bytes <= point.budget_bytes
    assert {found.models[point.model].model_name for point in found.envelope} >= {"small", "large"}
    assert found.crossings
    at = found.models[found.envelope[0].model].model_name
    for crossing in found.crossings:
        assert crossing.above_bytes == crossing.budget_bytes - 1
        assert best_of(plans, crossing.above_bytes)[0] == crossing.worse.model_name == at
        assert best_of(plans, crossing.budget_bytes)[0] == crossing.better.model_name
        at = crossing.better.model_name
    assert at == found.models[found.envelope[-1].model].model_name
    assert [model.smallest_bytes for model in found.models] == [int(plans[name][0][0]) for name in NLLS]


def test_a_crossing_says_which_model_at_how_many_bits(database: Database, family: str) -> None:
    found = made(database, models=["small", "large"], points=20)
    last = found.crossings[-1]
    assert (last.worse.model_name, last.better.model_name) == ("small", "large")
    assert last.worse.effective_bits is not None
    assert last.better.effective_bits is not None
    assert last.better.effective_bits < last.worse.effective_bits
    assert last.advice.startswith(f"from {last.budget_bytes:,} bytes on the larger model large at ")
    assert found.text == family
    model = found.models[0]
    assert [model.reference_nll, model.reference_nll_error] == pytest.approx([3.1, 0.01])
    assert [model.measured[0].kl, model.measured[0].nll_increase] == pytest.approx([0.1, 0.12])
    point = model.points[3]
    assert point.nll_error == pytest.approx(math.hypot(0.01, point.standard_error))
    assert found.notes == [families.APPROXIMATION, families.PAIRED]


def test_without_time_crossings_are_brackets(database: Database, family: str) -> None:
    found = made(database, points=5, deadline_seconds=1e-9)
    assert any(crossing.budget_bytes - crossing.above_bytes > 1 for crossing in found.crossings)
    assert "deadline" in found.notes[-1]


def test_rules_and_menus_hold_in_every_model(database: Database, family: str) -> None:
    found = made(database, formats=["INT4_G64", "INT8_G64"], pins={"*.down_proj": "INT8_G64"}, runtime="vllm", points=3)
    assert all(model.formats == ["INT4_G64", "INT8_G64"] for model in found.models)
    assert all(point.effective_bits > 4.25 for model in found.models for point in model.points)


def test_no_yardstick_says_what_to_run(database: Database, family: str) -> None:
    with database.session() as session:
        other = synthetic.add_calibration(session, seed=9)
        synthetic.add_model(session, synthetic.description(name="new"))
        synthetic.add_cells(session, synthetic.description(name="new"), synthetic.setting())
    with pytest.raises(InvalidRequestError, match=r"new was not evaluated, .* bitplan evaluate PLAN --calibration TEXT"):
        made(database, models=["small", "new"])
    with pytest.raises(InvalidRequestError, match=f"large were not evaluated on calibration set {other}"):
        made(database, models=["small", "large"], text=other)
    evaluated(database, synthetic.description(name="new").fingerprint, other, 3.0)
    with pytest.raises(InvalidRequestError, match="the models were evaluated on different texts"):
        made(database, models=["small", "new"])
    evaluated(database, described("small").fingerprint, other, 2.0, error=None)
    found = made(database, models=["small", "new"], points=3)
    assert found.text == other
    assert found.models[0].reference_nll == pytest.approx(2.0)
    assert found.models[0].points[0].nll_error is None
    assert made(database, models=["small", "new"], text="toy text", points=2).text == other


def test_what_cannot_be_compared(database: Database, family: str) -> None:
    with pytest.raises(NotFoundError, match="nobody"):
        made(database, models=["small", "nobody"])
    with pytest.raises(InvalidRequestError, match="are one model"):
        made(database, models=["small", described("small").fingerprint])
    with pytest.raises(ValidationError, match="named twice"):
        made(database, models=["small", "small"])
    with pytest.raises(ValidationError, match="belong to a limit of resident_bytes"):
        made(database, context=5)
    with database.session() as session:
        how = synthetic.setting(probe="weight_error")
        relative = type(how)(how.probe, 1, "rtn", 1, None, {}, in_nats=False, additive=True)
        synthetic.add_cells(session, described("small"), relative, formats=MENU)
    with pytest.raises(InvalidRequestError, match=r"'small' \(weight_error\) are not in nats"):
        made(database, probe="weight_error")


def test_other_vocabularies_are_refused_unless_the_tokenizer_is_the_same(database: Database, family: str) -> None:
    with database.session() as session:
        find_model(session, "large").vocab_size = 320
    with pytest.raises(InvalidRequestError, match="vocabularies of different sizes"):
        made(database)
    assert made(database, same_tokenizer=True, points=2).envelope
