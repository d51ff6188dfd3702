"""Linked cells on SmolLM2-135M: `fisher` linked to 40 exact cells, checked on others that the link has not seen."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from planner.schemas.calibrations import CreateCalibration
from planner.schemas.jobs import SubmitSensitivity
from planner.schemas.links import LinkRequest
from planner.services import calibrations, jobs, links, models
from planner.settings import Settings
from planner.storage.cells import load_curves
from planner.storage.database import Database
from planner.worker.process import make_worker
from sensitivity.formats.registry import get_format

FORMATS = [f"INT{bits}_G64" for bits in (2, 3, 4, 6)]
BOUGHT, CHECKED = 40, 40
SEQUENCES = 4


@pytest.mark.benchmark
@pytest.mark.real
def test_linked_cells_are_as_far_from_exact_ones_as_their_errors_say(
    smollm2: Path, sqlite_template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copyfile(sqlite_template, tmp_path / "bitplan.db")
    database = Database(f"sqlite:///{tmp_path / 'bitplan.db'}")
    described = models.inspect(str(smollm2))
    text = CreateCalibration(source="builtin", sequences=SEQUENCES, sequence_length=128, held_out_sequences=1, held_out_length=64)
    prepared = calibrations.prepare(text)
    with database.session() as session:
        model = models.register(session, described)[0].id
        calibration = calibrations.create(session, prepared)[0].id

    worker = make_worker(database, Settings(), poll_seconds=0.1)  # one, which keeps the model

    def measure(probe: str, **options: object) -> None:
        asked = {"model": model, "probe": probe, "formats": FORMATS, "calibration": calibration} | options
        with database.session() as session:
            jobs.submit_sensitivity(session, SubmitSensitivity.model_validate(asked))
        with capture_logs():
            worker.run(until_idle=True)

    measure("fisher", probe_parameters={"draws": 4})
    measure("kl", sample=BOUGHT, seed=0)
    document = links.create_link(database, model, LinkRequest())
    measure("kl", sample=BOUGHT + CHECKED, seed=1)
    formats = [get_format(name) for name in FORMATS]
    with database.read_session() as session:
        linked, exact, cheap = (
            load_curves(session, model, setting, formats) for setting in (document.setting, document.target, document.source)
        )
    database.close()
    fresh = (exact.status != "") & (linked.loss != exact.loss) & (exact.loss > 0)
    far = np.abs(linked.loss[fresh] - exact.loss[fresh])
    within = float(np.mean(far < linked.standard_error[fresh]))  # both probes saw the same sequences
    figures = document.link
    held_out, identity = figures.held_out, figures.identity
    assert identity is not None
    lines = [
        f"fisher linked to {figures.pairs} cells of kl: {figures.family}, exponent {figures.slope:.3f}, {figures.offsets}",
        f"held out: R² {held_out.r2:.4f} (as it is {identity.r2:.4f}), median error {held_out.median_error:.1%}, "
        f"90 % {held_out.p90_error:.1%}; Spearman {figures.spearman:.3f}, Kendall {figures.kendall:.3f}",
        f"{int(fresh.sum())} fresh cells: median error {np.median(far / exact.loss[fresh]):.1%} "
        f"(fisher {np.median(np.abs(cheap.loss[fresh] / exact.loss[fresh] - 1)):.1%}), {within:.0%} within one standard error, "
        f"Σ linked ÷ Σ exact {linked.loss[fresh].sum() / exact.loss[fresh].sum():.3f} "
        f"(fisher {cheap.loss[fresh].sum() / exact.loss[fresh].sum():.3f})",
    ]
    with capsys.disabled():
        print("\n".join(["", *lines]))  # noqa: T201
    assert fresh.sum() >= CHECKED // 2
    assert held_out.r2 >= identity.r2
    assert 0.5 < within < 0.9
