"""Score products from the job to the plan: its predicted loss with cross terms is that of the samples themselves."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from planner.schemas.calibrations import CreateCalibration
from planner.schemas.jobs import SubmitSensitivity
from planner.schemas.plans import BudgetSpec, PlanRequest
from planner.services import calibrations, jobs, models, plans
from planner.settings import Settings
from planner.storage.database import Database
from planner.worker.loaded_models import LoadedModels
from planner.worker.process import make_worker
from sensitivity.errors import TooManyProductsError
from sensitivity.formats.registry import get_format
from sensitivity.probes.base import ProbeRun, Unit
from sensitivity.probes.fisher_interaction import FisherInteraction
from tests import synthetic
from tests.tiny_models import tiny_llama

FORMATS = ["INT2_G32", "INT4_G32", "INT8_G32"]
TEXT = " ".join(f"The {n}th sentence says that {n} and {n * n} are numbers." for n in range(200))
CUT = CreateCalibration(text=TEXT, sequences=10, sequence_length=16, held_out_sequences=1, held_out_length=16)

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def prepared(database: Database, directory: Path) -> tuple[str, str]:
    described, text = models.inspect(str(tiny_llama(directory, hidden=32, ffn=64))), calibrations.prepare(CUT)
    with database.session() as session:
        return models.register(session, described)[0].id, calibrations.create(session, text)[0].id


def submit(database: Database, model: str, calibration: str, *formats: str) -> None:
    request = SubmitSensitivity(
        model=model, probe="fisher_interaction", probe_parameters={"draws": 2}, formats=list(formats), calibration=calibration
    )
    with database.session() as session:
        jobs.submit_sensitivity(session, request)


def test_a_plan_says_what_its_layers_cost_together(database: Database, tmp_path: Path) -> None:
    """The formats are measured by two jobs, one after the other."""
    model, calibration = prepared(database, tmp_path / "llama")
    for formats in (FORMATS[:2], FORMATS):
        submit(database, model, calibration, *formats)
        make_worker(database, Settings(lease_seconds=30, torch_threads=1), poll_seconds=0.05).run(until_idle=True)
    with database.read_session() as session:
        plan = plans.make_plan(session, PlanRequest(model=model, budget=BudgetSpec(effective_bits=4.9)))
    found = plan.predicted.cross_terms
    assert found is not None

    loaded = LoadedModels(database)
    tokens = loaded.tokens(model, calibration).calibration
    chosen = {choice.layer: choice.format for choice in plan.choices}
    run = ProbeRun(loaded.get(model), list(chosen), [get_format(name) for name in FORMATS], "rtn", tokens, seed=0)
    probe = FisherInteraction(draws=2)
    products = probe.products(probe.run(run, Unit("0", tuple(range(10))))).astype(float)
    parts = np.array([products[i, FORMATS.index(name)] for i, name in enumerate(chosen.values())])
    samples = np.square(parts.sum(axis=0)).mean(axis=-1)
    assert found.loss == pytest.approx(samples.mean() - np.square(parts).mean(axis=(1, 2)).sum(), abs=1e-3 * samples.mean())
    assert found.total_error == pytest.approx(samples.std(ddof=1) / np.sqrt(10), rel=1e-3)
    assert found.total == pytest.approx(plan.predicted.loss + found.loss)
    assert (found.layers, found.setting) == (len(chosen), plan.provenance.setting)


def test_curves_of_another_probe_borrow_the_cross_terms(database: Database, tmp_path: Path) -> None:
    """From the same rounded weights only; a format without score products counts as exact."""
    model, calibration = prepared(database, tmp_path / "llama")
    submit(database, model, calibration, *FORMATS[:2])
    make_worker(database, Settings(lease_seconds=30, torch_threads=1), poll_seconds=0.05).run(until_idle=True)
    request = PlanRequest(model=model, budget=BudgetSpec(effective_bits=4.9), formats=FORMATS)
    described = models.inspect(str(tmp_path / "llama"))
    with database.session() as session:
        synthetic.add_cells(session, described, synthetic.setting(probe="kl"), formats=tuple(FORMATS))
        other = dataclasses.replace(synthetic.setting(probe="kl"), rounding="rtn_clip")
        synthetic.add_cells(session, described, other, formats=tuple(FORMATS))
    with database.read_session() as session:
        same = plans.make_plan(session, request.model_copy(update={"rounding": "rtn"}))
        another = plans.make_plan(session, request.model_copy(update={"rounding": "rtn_clip"}))
    found = same.predicted.cross_terms
    assert found is not None
    assert found.setting != same.provenance.setting
    assert found.layers == sum(choice.format in FORMATS[:2] for choice in same.choices) < len(same.choices)
    assert found.total == pytest.approx(same.predicted.loss + found.loss)
    assert found.total_error == pytest.approx(np.hypot(same.predicted.standard_error, found.standard_error or 0.0))
    assert another.predicted.cross_terms is None
    with database.session() as session:
        synthetic.add_cells(session, described, synthetic.setting(probe="coverage"), formats=tuple(FORMATS))
    with database.read_session() as session:
        shares = plans.make_plan(session, request.model_copy(update={"probe": "coverage"}))
    assert shares.predicted.cross_terms is None  # its cells have them already


def test_too_many_products_are_refused_at_once(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, calibration = prepared(database, tmp_path / "llama")
    monkeypatch.setattr("sensitivity.cross_terms.LARGEST_BYTES", 1000)
    with pytest.raises(TooManyProductsError, match="14 layers × 3 formats × 10 sequences × 2 draws are 3,360 bytes"):
        submit(database, model, calibration, *FORMATS)
