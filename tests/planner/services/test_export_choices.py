"""What is said of every runtime is what its export of the whole plan says."""

import pytest

from planner.errors import ExportError, NotFoundError
from planner.exports.registry import get_exporter
from planner.exports.target import require_loadable
from planner.exports.ties import check_runtime_ties
from planner.runtimes import RUNTIMES
from planner.schemas.plans import PlanDocument
from planner.services.export_choices import export_choices
from planner.services.exporting import chosen_formats, export_plan, exported_model
from planner.storage.database import Database
from sensitivity.formats.registry import get_format
from tests import synthetic
from tests.planner.services import cached_model
from tests.planner.services.evaluated_plans import made

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
QUESTIONS: dict[str, dict[str, object]] = {
    "any": {},
    "tied": {"runtime": "vllm", "formats": ["INT4_G64", "INT8_G64"], "budget": {"effective_bits": 5.0}},
    "mlx": {"runtime": "mlx", "formats": ["INT4_G64", "INT8_G64"], "budget": {"effective_bits": 5.0}},
    "uniform": {"formats": ["INT4_G64"], "allow_slack": True},
    "unquantized": {"formats": ["BF16"], "budget": {"effective_bits": 16}, "allow_slack": True},
}


def planned(database: Database, question: str) -> PlanDocument:
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
        return made(session, **QUESTIONS[question])


@pytest.mark.parametrize("question", QUESTIONS)
def test_targets_of_its_own_runtime_are_offered_unless_the_export_refuses_them(database: Database, question: str) -> None:
    plan = planned(database, question)
    with database.read_session() as session:
        found = export_choices(session, plan.id)
        assert [target.name for target in found.targets] == list(RUNTIMES[plan.runtime].exports)
        for target in found.targets:
            assert target.description == get_exporter(target.name).description
            if target.refusal is None:
                export_plan(session, plan.id, target.name)
            else:
                with pytest.raises(ExportError) as refused:
                    export_plan(session, plan.id, target.name)
                assert str(refused.value) == target.refusal
    assert any(target.refusal for target in found.targets) == (question == "unquantized")


@pytest.mark.parametrize("question", QUESTIONS)
def test_other_runtimes_say_what_they_say_of_the_whole_plan(database: Database, question: str) -> None:
    plan = planned(database, question)
    with database.read_session() as session:
        found = export_choices(session, plan.id)
        model = exported_model(session, plan)
    assert {one.name for one in found.others} == set(RUNTIMES) - {plan.runtime}
    for one in found.others:
        runtime, refusal = RUNTIMES[one.name], None
        try:
            require_loadable(chosen_formats(plan), model, runtime)
            check_runtime_ties(chosen_formats(plan), model.layers, runtime)
        except ExportError as error:
            refusal = str(error)
        assert one.refusal == refusal
        assert one.targets == runtime.exports
    refused = [one.refusal is not None for one in found.others]
    assert refused == sorted(refused)
    assert any(refused) or not any(get_format(choice.format).is_quantized for choice in plan.choices)


@pytest.mark.parametrize(("runtime", "formats"), [("generic", ["INT4"]), ("vllm", ["FP8"]), ("generic", ["BF16"])])
def test_caches_that_a_target_has_no_words_for_are_refused(database: Database, runtime: str, formats: list[str]) -> None:
    with database.session() as session:
        cached_model.add(session)
        served = {"resident_bytes": 10**9, "context": 64}
        plan = made(session, runtime=runtime, budget=served, kv_formats=formats, allow_slack=True, formats=["INT4_G64"])
    with database.read_session() as session:
        found = export_choices(session, plan.id)
        for target in found.targets:
            if target.refusal is None:
                export_plan(session, plan.id, target.name)
            else:
                with pytest.raises(ExportError) as refused:
                    export_plan(session, plan.id, target.name)
                assert str(refused.value) == target.refusal
    others = {one.name: one.refusal for one in found.others}
    assert any(target.refusal for target in found.targets) == (formats == ["INT4"])
    assert ("cannot be kept in" in (others["mlx"] or "")) == (formats != ["BF16"])


def test_a_plan_that_there_is_not_is_refused(database: Database) -> None:
    with database.read_session() as session, pytest.raises(NotFoundError):
        export_choices(session, "none")
