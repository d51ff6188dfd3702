"""A plan refined by evolutionary search: generation by generation, resumed bit for bit, kept only where held-out text agrees."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select
from typer.testing import CliRunner

from planner.cli import workspace
from planner.cli.app import app
from planner.errors import InvalidRequestError, NotFoundError
from planner.jobs.engine import Job as Snapshot
from planner.jobs.engine import JobState, UnitSpec
from planner.jobs.errors import PermanentError
from planner.jobs.sql_engine import SqlJobEngine
from planner.plan_search import PlanSearch, nothing_left
from planner.schemas.calibrations import CreateCalibration
from planner.schemas.jobs import Job, SubmitSensitivity
from planner.schemas.plans import BudgetSpec, CountSpec, PlanDocument, PlanRequest
from planner.schemas.searches import SearchRequest
from planner.services import calibrations, jobs, models, plans, searching
from planner.settings import Settings
from planner.storage.database import Database
from planner.storage.tables import EvaluationRow, UnitRow
from planner.worker.loaded_models import LoadedModels
from planner.worker.loop import Worker
from planner.worker.process import make_worker
from planner.worker.refinement_handler import RefinementHandler
from solvers.evolutionary import Sample
from tests.tiny_models import tiny_llama

FORMATS = ["INT2_G32", "INT3_G32", "INT4_G32", "INT6_G32"]
TEXT = " ".join(f"The {n}th sentence says that {n} and {n * n} are numbers." for n in range(300))
CUT = CreateCalibration(text=TEXT, sequences=8, sequence_length=16, held_out_sequences=6, held_out_length=16)
SEARCH = SearchRequest(generations=3, offspring=4, seed=1)

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture
def plan(database: Database, tmp_path: Path) -> PlanDocument:
    """A stored plan from the curves of `weight_error`, which know nothing of the text: there is something to find."""
    described, text = models.inspect(str(tiny_llama(tmp_path / "llama", hidden=32, ffn=64))), calibrations.prepare(CUT)
    with database.session() as session:
        model = models.register(session, described)[0].id
        calibrations.create(session, text)
        jobs.submit_sensitivity(session, SubmitSensitivity(model=model, probe="weight_error", formats=FORMATS))
    work(database)
    with database.session() as session:
        counts = [CountSpec(formats=["INT6_G32"], at_most=6)]
        request = PlanRequest(model=model, budget=BudgetSpec(effective_bits=4.5), counts=counts)
        return plans.create_plan(session, request)


@pytest.fixture
def asked(database: Database, plan: PlanDocument) -> SearchRequest:
    with database.session() as session:
        text = calibrations.create(session, calibrations.prepare(CUT))[0].id
    return SEARCH.model_copy(update={"calibration": text})


def work(database: Database) -> None:
    make_worker(database, Settings(lease_seconds=30, torch_threads=1), poll_seconds=0.05).run(until_idle=True)


def search(database: Database, plan: PlanDocument, request: SearchRequest) -> Job:
    with database.session() as session:
        return searching.submit_search(session, plan.id, request)


def outcome(database: Database, job: Job) -> dict[str, Any]:
    with database.read_session() as session:
        ended = jobs.get_job(session, job.id)
    assert (ended.state, ended.reason) == (JobState.SUCCEEDED, None)
    return dict(ended.request["outcome"])


def measured(database: Database, job: Job) -> list[tuple[str, bytes | None]]:
    with database.read_session() as session:
        rows = session.execute(select(UnitRow.key, UnitRow.result).where(UnitRow.job_id == job.id).order_by(UnitRow.id))
        return [(key, result) for key, result in rows]


def test_a_search_finds_a_plan_that_keeps_everything_and_is_better_on_held_out_text(
    database: Database, plan: PlanDocument, asked: SearchRequest
) -> None:
    job = search(database, plan, asked)
    assert search(database, plan, asked).id == job.id
    work(database)
    found = outcome(database, job)
    assert found["held_out_kl"] < found["held_out_kl_before"]
    assert found["generations"] == 3
    with database.read_session() as session:
        memory = jobs.get_job(session, job.id).request["memory"]
        assert (memory["streamed"], memory["peak_bytes"] > 0) == (False, True)
        better = plans.get_plan(session, found["plan"])
        (evaluated,) = session.scalars(select(EvaluationRow).where(EvaluationRow.plan_id == better.id))
    assert (evaluated.kl, evaluated.sequences, evaluated.job_id) == (found["held_out_kl"], 6, job.id)
    changed = sum(a.format != b.format for a, b in zip(plan.choices, better.choices, strict=True))
    assert changed == found["layers_changed"] > 0
    assert better.size.layer_bits <= plan.proof.budget_layer_bits
    assert sum(choice.format == "INT6_G32" for choice in better.choices) <= 6
    assert any("evolutionary search" in note for note in better.notes)


def test_a_search_that_was_cut_off_goes_on_bit_for_bit(database: Database, plan: PlanDocument, asked: SearchRequest) -> None:
    whole = search(database, plan, asked)
    work(database)
    again = search(database, plan, asked)
    assert again.id != whole.id

    class Stopping(RefinementHandler):
        """Stops its worker after each unit."""

        def run(self, job: Snapshot, unit: UnitSpec) -> NDArray[np.float64]:
            worker.stop()
            return super().run(job, unit)

    for _ in range(20):
        worker = Worker(SqlJobEngine(database), {"refinement": Stopping(LoadedModels(database))}, poll_seconds=0.01)
        worker.run(until_idle=True)
    assert measured(database, again) == measured(database, whole)
    first, second = outcome(database, whole), outcome(database, again)
    assert first.pop("plan") != second.pop("plan")
    assert first == second


def test_a_budget_of_token_forwards_ends_the_search_early(database: Database, plan: PlanDocument, asked: SearchRequest) -> None:
    job = search(database, plan, asked.model_copy(update={"token_forwards": 1}))
    work(database)
    found = outcome(database, job)
    assert (found["generations"], found["ending"]) == (0, "units")


def test_what_cannot_be_searched_is_refused(database: Database, plan: PlanDocument, asked: SearchRequest) -> None:
    with pytest.raises(InvalidRequestError, match="name a calibration set"):
        search(database, plan, SEARCH)
    with pytest.raises(NotFoundError):
        search(database, plan, SEARCH.model_copy(update={"calibration": "none"}))


def test_values_that_belong_to_another_search_are_noticed(database: Database, plan: PlanDocument, asked: SearchRequest) -> None:
    job = search(database, plan, asked)
    assert jobs.FOR_WORKERS not in job.request
    assert (job.request["offspring"], job.request["seed"]) == (4, 1)
    with database.read_session() as session:
        described = PlanSearch.read(SqlJobEngine(database).get(session, job.id).payload[jobs.FOR_WORKERS])

    def ones(choices: NDArray[np.int64], _sample: Sample) -> NDArray[np.float64]:
        return np.arange(float(len(choices)))

    _, known = described.go_on([], ones, generations=2)
    assert described.go_on(known, nothing_left, generations=2)[1] == []
    for wrong in (known[:-1], []):
        with pytest.raises(PermanentError, match="submit"):
            described.go_on(wrong, nothing_left, generations=2)
    assert PlanSearch.read(described.as_json()).as_json() == described.as_json()


def test_on_the_command_line(
    database: Database, plan: PlanDocument, asked: SearchRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BITPLAN_DATABASE_URL", database.full_url)
    workspace.settings.cache_clear()
    workspace.open_database.cache_clear()
    said = CliRunner().invoke(
        app,
        ["search", plan.id, "--calibration", asked.calibration or "", "--generations", "1", "--offspring", "2", "--seed", "1"],
    )
    workspace.settings.cache_clear()
    workspace.open_database.cache_clear()
    assert said.exit_code == 0, said.output
    assert "held-out KL" in said.output
