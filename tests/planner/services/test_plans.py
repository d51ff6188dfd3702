"""Plans are made by readers and stored by a writer."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from planner.cells import ProbeSetting
from planner.errors import BudgetBelowFloorError, CountConflictError, NotFoundError, StorageError, UnmeasuredError
from planner.runtimes import get_runtime
from planner.schemas.plans import BudgetSpec, PlanDocument, PlanRequest
from planner.services import curves, models, plan_listing, plans
from planner.storage.database import Database
from planner.storage.tables import PlanDocumentRow
from sensitivity.errors import FormatError
from sensitivity.formats.registry import get_format
from tests import synthetic


@pytest.fixture
def toy(database: Database) -> str:
    described = synthetic.description()
    with database.session() as session:
        model = synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting())
    return model


def _request(bits: float) -> PlanRequest:
    return PlanRequest(model="toy", budget=BudgetSpec(effective_bits=bits))


def test_making_a_plan_writes_nothing(database: Database, toy: str) -> None:
    with database.read_session() as session:
        plan = plans.make_plan(session, _request(4.25))
    with database.read_session() as session, pytest.raises(NotFoundError):
        plans.get_plan(session, plan.id)
    with database.session() as session:
        plans.store_plan(session, plan)
    with database.read_session() as session:
        assert plans.get_plan(session, plan.id) == plan


def test_what_is_kept_is_what_is_answered_for_good(database: Database, toy: str) -> None:
    with database.session() as session:
        plan = plans.make_plan(session, _request(4.25))
        written = plans.store_plan(session, plan)
    for _ in range(2):
        with database.read_session() as session:
            assert plans.plan_json(session, plan.id) == written == plan.model_dump_json()
    with database.session() as session:
        models.delete_model(session, toy)
    with database.read_session() as session, pytest.raises(NotFoundError, match="GET /v1/plans"):
        plans.plan_json(session, plan.id)


def test_a_reader_cannot_store(database: Database, toy: str) -> None:
    def store() -> None:
        with database.read_session() as session:
            plans.create_plan(session, _request(4.25))
            session.flush()

    with pytest.raises(StorageError):
        store()


def test_a_plan_of_a_model_that_was_deleted_meanwhile_is_not_stored(database: Database, toy: str) -> None:
    with database.read_session() as session:
        plan = plans.make_plan(session, _request(4.25))
    with database.session() as session:
        models.delete_model(session, toy)
    with pytest.raises(NotFoundError), database.session() as session:
        plans.store_plan(session, plan)
    with database.read_session() as session:
        assert plan_listing.list_plans(session).items == []


def test_plans_that_are_made_at_once_are_all_stored(database: Database, toy: str) -> None:
    def create(number: int) -> str:
        with database.session() as session:
            return plans.create_plan(session, _request(3.5 + number / 10)).id

    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(create, range(12)))
    with database.read_session() as session:
        listed = plan_listing.list_plans(session)
    assert {summary.id for summary in listed.items} == made
    assert listed.next is None
    assert {summary.budget.effective_bits for summary in listed.items} == {3.5 + number / 10 for number in range(12)}


def _made(database: Database, **request: object) -> PlanDocument:
    asked = {"model": "toy", "budget": {"effective_bits": 4.25}} | request
    with database.read_session() as session:
        return plans.make_plan(session, PlanRequest.model_validate(asked))


def _gptq(calibration: str, probe: str) -> ProbeSetting:
    return ProbeSetting(probe, 1, "gptq", 1, calibration, {"made_up": "yes"}, in_nats=True, additive=True)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_rounding_method_chooses_among_the_settings(database: Database, toy: str) -> None:
    with database.session() as session:
        text = synthetic.add_calibration(session)
        trusted = synthetic.add_cells(session, synthetic.description(), _gptq(text, "kl"), seed=1)
    assert _made(database).provenance.setting == trusted  # the most trusted probe, whatever its rounding
    plain, rounded = _made(database, rounding="rtn"), _made(database, rounding="gptq")
    assert (plain.provenance.probe, plain.provenance.rounding) == ("fisher", "rtn")
    assert (rounded.provenance.probe, rounded.provenance.rounding) == ("kl", "gptq")
    with pytest.raises(UnmeasuredError, match=r"rounding 'rtn_clip' \(measured: fisher with rtn, kl with gptq\)") as error:
        _made(database, rounding="rtn_clip")
    assert error.value.fields["measured"] == [{"probe": "fisher", "rounding": "rtn"}, {"probe": "kl", "rounding": "gptq"}]
    with pytest.raises(UnmeasuredError, match="probe 'kl' and rounding 'rtn'"):
        _made(database, rounding="rtn", probe="kl")
    with pytest.raises(UnmeasuredError, match="rounding 'rtn'"):
        _made(database, rounding="rtn", setting=trusted)
    with pytest.raises(FormatError, match="unknown rounding method 'hope': use one of rtn"):
        _made(database, rounding="hope")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_counts_hold_in_layers_and_their_proof_is_recomputable(database: Database, toy: str) -> None:
    free = _made(database, runtime="vllm")
    wide = {"INT5_G64", "INT6_G64", "INT8_G64", "FP8", "BF16"}
    taken = sum(choice.format in wide for choice in free.choices)
    counts = [{"above_bits": 4, "at_most": taken - 1}, {"pattern": "*.k_proj", "formats": ["INT4_G64"], "at_least": 1}]
    plan = _made(database, runtime="vllm", counts=counts)
    assert sum(choice.format in wide for choice in plan.choices) == plan.proof.counts[0].layers <= taken - 1
    assert "INT4_G64" in {choice.format for choice in plan.choices if choice.kind == "k_proj"}
    assert plan.proof.status == "optimal"
    assert plan.predicted.loss >= free.predicted.loss
    assert free.references[0].keeps_counts
    bound = _made(database, budget={"effective_bits": 15}, counts=[{"above_bits": 4, "at_most": 2}])
    assert bound.binding == "counts"
    assert bound.proof.multiplier == 0 < bound.proof.counts[0].at_most_multiplier
    assert not bound.references[0].keeps_counts
    assert plan.proof.lagrangian_bound <= plan.proof.lower_bound == plan.predicted.loss


@pytest.mark.parametrize(("caution", "shrinkage"), [(0.0, True), (2.0, True), (2.0, False)])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_bound_is_recomputed_from_the_document_and_the_curves(
    database: Database, toy: str, caution: float, shrinkage: bool
) -> None:
    """As a reader would who has nothing else: every number is the plan's or the curves'."""
    counts = [{"above_bits": 4, "at_most": 2}, {"pattern": "*.down_proj", "formats": ["INT8_G64"], "at_least": 1}]
    plan = _made(database, runtime="vllm", counts=counts, caution=caution, shrinkage=shrinkage, budget={"effective_bits": 3.5})
    with database.read_session() as session:
        stored = curves.get_curves(session, "toy", setting=plan.provenance.setting, expected=True).items
    cells = {
        (cell.layer, cell.format): (cell.expected_loss, cell.expected_error) if shrinkage else (cell.loss, cell.standard_error)
        for cell in stored
    }
    shapes = {layer.name: layer.shape for layer in synthetic.description().layers}
    above, eights = plan.proof.counts
    bound = -plan.proof.multiplier * plan.proof.budget_layer_bits
    bound += eights.at_least_multiplier * 1 - above.at_most_multiplier * 2
    for number, group in enumerate(plan.groups):
        heights = []
        for name in plan.formats:
            found = [cells[layer, name] for layer in group.layers]
            size = sum(get_runtime("vllm").size_bits(get_format(name), shapes[layer]) for layer in group.layers)
            error = math.hypot(*(error or 0.0 for _, error in found))
            height = sum(loss or 0.0 for loss, _ in found) + plan.proof.multiplier * size
            height += caution * error * plan.proof.direction.get(number, {}).get(name, 0.0)
            height += above.at_most_multiplier * len(found) * (get_format(name).num_bits > 4)
            height -= eights.at_least_multiplier * (name == "INT8_G64") * group.layers[0].endswith("down_proj")
            heights.append(height)
        bound += min(heights)
    assert bound == pytest.approx(plan.proof.lagrangian_bound, rel=1e-9)
    assert min(above.at_most_multiplier + eights.at_least_multiplier, plan.proof.multiplier) > 0
    assert bool(plan.proof.direction) == (caution > 0)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_counts_that_cannot_be_kept_are_named(database: Database, toy: str) -> None:
    fine, wide = {"above_bits": 2, "at_most": 13}, {"formats": ["INT8_G64"], "at_least": 10}
    with pytest.raises(BudgetBelowFloorError, match="that keeps at least 10 of 14 layers in INT8_G64: the least") as error:
        _made(database, budget={"effective_bits": 3}, counts=[fine, wide])
    least = error.value.fields["smallest_feasible"]
    smallest = _made(database, budget={"effective_bits": least}, counts=[fine, wide])
    assert smallest.size.effective_bits == pytest.approx(least)
    assert smallest.proof.slack_bits == 0
    narrow = {"formats": ["INT8_G64", "FP8"], "at_most": 9}
    with pytest.raises(CountConflictError, match=r"together: at least 10 .*; at most 9 layers in INT8_G64, FP8") as conflict:
        _made(database, counts=[fine, wide, narrow])
    assert len(conflict.value.fields["counts"]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_cautious_plan_says_what_it_is_judged_by(database: Database, toy: str) -> None:
    plain, careful = _made(database), _made(database, caution=3)
    assert (plain.proof.caution, plain.proof.objective, plain.proof.direction) == (0, None, {})
    proof, predicted = careful.proof, careful.predicted
    assert proof.objective == predicted.loss + 3 * predicted.standard_error
    assert proof.objective <= plain.predicted.loss + 3 * plain.predicted.standard_error
    assert proof.lower_bound <= proof.objective
    assert sum(number**2 for row in proof.direction.values() for number in row.values()) <= 1 + 1e-9


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_alternatives_are_worse_and_differ(database: Database, toy: str) -> None:
    plan = _made(database, alternatives=3, alternative_layers=4)
    assert len(plan.alternatives) == 3
    here = {choice.layer: choice.format for choice in plan.choices}
    for other in plan.alternatives:
        assert other.predicted_loss >= plan.predicted.loss
        assert other.layers == len(other.changes) >= 4
        assert all(here[layer] != name for layer, name in other.changes.items())
        assert other.effective_bits <= 4.25
    assert _made(database).alternatives == []
    none = _made(database, alternatives=1, alternative_layers=10_000)
    assert none.alternatives == []
    assert none.notes[-1].startswith("0 of 1 alternatives")


def test_a_document_of_an_earlier_version_still_loads(database: Database, toy: str) -> None:
    with database.session() as session:
        plan = plans.create_plan(session, _request(4.25).model_copy(update={"shrinkage": False}))
        row = session.get_one(PlanDocumentRow, plan.id)
        old = plan.model_dump(mode="json")
        for field in ("caution", "objective", "direction", "counts"):
            del old["proof"][field]
        for field in ("rounding", "shrinkage", "counts", "caution", "alternatives", "alternative_layers"):
            del old["request"][field]
        for field in ("alternatives", "corrected", "menu_limit", "confidence"):
            del old[field]
        del old["references"][0]["keeps_counts"], old["references"][0]["corrected_loss"]
        row.document = json.dumps(old)
    uniform = plan.references[0].model_copy(update={"corrected_loss": None})
    unknown = {"references": [uniform], "corrected": None, "menu_limit": None, "confidence": None}
    with database.read_session() as session:
        assert plans.get_plan(session, plan.id) == plan.model_copy(update=unknown)
        assert plan_listing.list_plans(session).items[0].rounding == "rtn"


def test_a_few_exact_cells_do_not_stand_in_for_whole_curves(database: Database, toy: str) -> None:
    """`kl` is trusted most, but measured on two layers alone it makes no plan: the whole curves of `fisher` are taken."""
    described = synthetic.description()
    few = replace(described, layers=described.layers[:2])
    with database.session() as session:
        synthetic.add_cells(session, few, synthetic.setting(probe="kl"))
    with database.read_session() as session:
        assert plans.make_plan(session, _request(4.25)).predicted.probe == "fisher"
        with pytest.raises(UnmeasuredError):
            plans.make_plan(session, _request(4.25).model_copy(update={"probe": "kl"}))
    with database.session() as session:
        synthetic.add_cells(session, described, synthetic.setting(probe="kl"))
    with database.read_session() as session:
        assert plans.make_plan(session, _request(4.25)).predicted.probe == "kl"
