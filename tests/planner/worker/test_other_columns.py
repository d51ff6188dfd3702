"""Probes whose columns are no formats of weights, as jobs: caches and rankings, and no plan of weights from them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from planner.errors import InvalidRequestError
from planner.jobs.job import JobState
from planner.schemas.calibrations import CreateCalibration
from planner.schemas.curves import CurvesDocument
from planner.schemas.jobs import Job, SubmitSensitivity
from planner.schemas.plans import BudgetSpec, PlanRequest
from planner.services import calibrations, curve_fits, curves, jobs, models, plans
from planner.settings import Settings
from planner.storage.database import Database
from planner.worker.process import make_worker
from sensitivity.errors import UnknownFormatError, UnsupportedShapeError
from sensitivity.formats.abstract import FormatFamily
from sensitivity.formats.families import DEFAULT_FORMATS
from tests.tiny_models import tiny_gpt2, tiny_llama

TEXT = " ".join(f"The {n}th sentence says that {n} and {n * n} are numbers." for n in range(100))
BUDGET = BudgetSpec(effective_bits=4.5)


@pytest.fixture
def sqlite(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copyfile(sqlite_template, tmp_path / "bitplan.db")
    opened = Database(f"sqlite:///{tmp_path / 'bitplan.db'}")
    yield opened
    opened.close()


@pytest.fixture
def submit(sqlite: Database, tmp_path: Path) -> Callable[..., Job]:
    """Ask for cells of two registered models, ``llama`` and ``gpt2``."""
    found = [
        models.inspect(str(tiny_llama(tmp_path / "llama", hidden=32, ffn=64))),
        models.inspect(str(tiny_gpt2(tmp_path / "gpt2", hidden=32))),
    ]
    text = CreateCalibration(text=TEXT, sequences=2, sequence_length=16, held_out_sequences=1, held_out_length=16)
    prepared = calibrations.prepare(text)
    with sqlite.session() as session:
        for described in found:
            models.register(session, described)
        calibration = calibrations.create(session, prepared)[0].id

    def ask(**request: object) -> Job:
        full = {"model": "llama", "probe": "kv_cache", "calibration": calibration} | request
        with sqlite.session() as session:
            return jobs.submit_sensitivity(session, SubmitSensitivity.model_validate(full))

    return ask


def measured(database: Database, model: str, probe: str | None = None) -> CurvesDocument:
    with capture_logs():
        make_worker(database, Settings(torch_threads=1)).run(until_idle=True)
    with database.read_session() as session:
        assert {job.state for job in jobs.list_jobs(session).items} == {JobState.SUCCEEDED}
        return curves.get_curves(session, model, probe=probe)


def test_every_cache_has_its_cells_and_no_other_layer_has_one(sqlite: Database, submit: Callable[..., Job]) -> None:
    job = submit()
    assert job.request["formats"] == list(DEFAULT_FORMATS[FormatFamily.KV_CACHE])
    found = measured(sqlite, "llama")
    kinds = {"K": "k_proj", "V": "v_proj"}
    expected = {(f"model.layers.{b}.self_attn.{kinds[name[0]]}", name) for b in (0, 1) for name in job.request["formats"]}
    assert {(cell.layer, cell.format) for cell in found.items} == expected
    assert all(cell.status == "measured" and cell.loss is not None and cell.loss > 0 for cell in found.items)
    assert found.unit == "nats/token"
    assert submit().reason is not None  # nothing is missing
    again = submit(formats=["K_INT4", "V_INT4", "V_NVFP4"])
    assert (again.request["layers"], again.request["formats"]) == (
        [f"model.layers.{b}.self_attn.v_proj" for b in (0, 1)],
        ["V_NVFP4"],
    )


def test_a_fused_projection_has_cells_of_both_caches(sqlite: Database, submit: Callable[..., Job]) -> None:
    submit(model="gpt2", formats=["k_int4", "V_INT4"], include=["*.1.*"])
    found = {cell.format: cell for cell in measured(sqlite, "gpt2").items}
    assert {cell.layer for cell in found.values()} == {"transformer.h.1.attn.c_attn"}
    assert sorted(found) == ["K_INT4", "V_INT4"]
    assert found["K_INT4"].loss != found["V_INT4"].loss


def test_weights_are_never_planned_with_them(sqlite: Database, submit: Callable[..., Job]) -> None:
    submit(formats=["K_INT4", "V_INT4"])
    found = measured(sqlite, "llama")
    by_probe = PlanRequest(model="llama", probe="kv_cache", budget=BUDGET)
    by_setting = PlanRequest(model="llama", setting=found.setting.id, budget=BUDGET)
    for request in (by_probe, by_setting):
        with sqlite.session() as session, pytest.raises(InvalidRequestError, match=r"no losses of weights.*\(fisher, kl, "):
            plans.create_plan(session, request)
    with sqlite.session() as session, pytest.raises(InvalidRequestError, match="has no curves yet"):
        plans.create_plan(session, PlanRequest(model="llama", budget=BUDGET))
    with sqlite.session() as session, pytest.raises(InvalidRequestError, match="prices formats of the K and V caches"):
        curve_fits.fit(session, "llama")
    submit(probe="weight_error", formats=["INT4_G32", "INT8_G32"])
    assert measured(sqlite, "llama").setting.probe == "weight_error"
    with sqlite.session() as session:
        plan = plans.create_plan(
            session, PlanRequest(model="llama", formats=["INT4_G32", "INT8_G32"], budget=BudgetSpec(effective_bits=5))
        )
    assert plan.predicted.unit == "relative"


def test_a_ranking_has_one_column_and_no_plan(sqlite: Database, submit: Callable[..., Job]) -> None:
    job = submit(probe="kurtosis", calibration=None)
    assert job.request["formats"] == ["ANY"]
    assert job.request["calibration_id"] is None
    found = measured(sqlite, "llama")
    assert (found.unit, len(found.items)) == ("ranking", 14)
    assert all(cell.loss is not None and cell.loss > 1 and cell.standard_error is None for cell in found.items)
    submit(probe="perplexity_drop", include=["model.layers.1.*"])
    drops = {cell.loss for cell in measured(sqlite, "llama", "perplexity_drop").items}
    assert len(drops) == 1
    with sqlite.session() as session, pytest.raises(InvalidRequestError, match=r"kurtosis ranks layers.*\(fisher, kl, "):
        plans.create_plan(session, PlanRequest(model="llama", probe="kurtosis", budget=BUDGET))
    with sqlite.session() as session, pytest.raises(InvalidRequestError, match="has no curves yet"):
        plans.create_plan(session, PlanRequest(model="llama", budget=BUDGET))


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        ({"formats": ["INT4_G64"]}, UnknownFormatError, "measures formats of the K and V caches, not INT4_G64"),
        ({"probe": "fisher", "formats": ["K_INT4"]}, UnknownFormatError, "measures formats of weights, not K_INT4"),
        ({"probe": "kurtosis", "formats": ["INT4_G64"]}, UnknownFormatError, "leave formats out, or use ANY"),
        ({"probe": "perplexity_drop", "include": ["lm_head"]}, InvalidRequestError, "no layer is left to measure"),
        ({"rounding": "rtn_clip"}, InvalidRequestError, "rounds no weights: leave rounding out"),
        ({"include": ["*.down_proj"]}, InvalidRequestError, "no number for any of the selected layers"),
        ({"include": ["*.k_proj"], "formats": ["V_FP8"]}, UnsupportedShapeError, "V_FP8 is not about k_proj"),
        (
            {"cells": {"model.layers.0.self_attn.k_proj": ["V_FP8"]}},
            UnsupportedShapeError,
            "V_FP8 is not about k_proj",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(
    submit: Callable[..., Job], request_: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        submit(**request_)


def test_formats_that_are_left_out_are_those_of_the_selected_layers(submit: Callable[..., Job]) -> None:
    job = submit(include=["*.1.self_attn.k_proj"])
    assert job.request["layers"] == ["model.layers.1.self_attn.k_proj"]
    assert {name[0] for name in job.request["formats"]} == {"K"}
    assert "cells" not in job.request
