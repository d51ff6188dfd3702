"""What a worker does for each kind of job: list units, run one, reduce them all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.cells import Cell
from planner.jobs.handler import AbstractJobHandler, UnitSpec
from planner.jobs.job import Job
from planner.measuring import settings_of
from planner.services.curve_rounding import CurveRounding
from planner.services.planning_inputs import load_layers
from planner.storage.cells import store_cells
from planner.storage.operating_points import AROUND, store_point
from planner.storage.score_products import store_products
from planner.storage.tables import CalibrationSetRow, EvaluationRow, ModelRow, PlanRow
from planner.worker.loaded_models import LoadedModels, Loading
from planner.worker.peaks import begin_peak, record_peak
from planner.worker.plan_rounding import plan_rounding
from sensitivity.evaluation import Metric, evaluate, summarise
from sensitivity.formats.abstract import AbstractFormat
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.families import get_cell_format
from sensitivity.formats.registry import get_format
from sensitivity.layer_rounding import LayerRounding
from sensitivity.memory_forecast import EVALUATED_SEQUENCES, STREAMED_SEQUENCES
from sensitivity.probe_facts import get_facts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit
from sensitivity.probes.registry import get_probe
from sensitivity.statistics import CellStatus, cell_status, mean_and_error, summed


@dataclass(slots=True)
class SensitivityHandler(AbstractJobHandler):
    """Runs a probe; the cells are written when the last unit is in."""

    models: LoadedModels
    _runs: dict[str, ProbeRun[Any]] = field(default_factory=dict)

    def enumerate(self, job: Job) -> list[UnitSpec]:
        """Units of the probe run."""
        with self.models.database.read_session() as session:
            blocks, sequences = session.get_one(ModelRow, job.model_id).blocks, _sequences(session, job)
        probe, asked = _probe(job), job.payload.get("cells")
        if self.models.streams(job.model_id, **_loading(job)):
            units = probe.streamed_units(blocks=blocks, sequences=sequences)
        elif asked is not None:
            units = probe.cell_units(blocks=blocks, sequences=sequences, cells=sum(map(len, asked.values())))
        else:
            units = probe.units(blocks=blocks, sequences=sequences)
        return [UnitSpec(unit.key, {"indices": list(unit.indices)}) for unit in units]

    def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
        """Result of one unit, shape (layers, formats, 3 and what the probe adds)."""
        if job.id not in self._runs:
            self._runs = {}  # what another job holds is let go of before the model is loaded
            begin_peak()
            self._runs = {job.id: self._prepare(job)}
        return _probe(job).run(self._runs[job.id], Unit(unit.key, tuple(unit.payload["indices"])))

    def finish(self, session: Session, job: Job, results: Sequence[tuple[str, NDArray[np.float64]]]) -> None:
        """Merge in the order of keys, so that the sums do not depend on who ran what when; write the cells.

        Where units failed, cells are written that have a sample all the same; the others stay unmeasured, and the same request
        measures them again.
        """
        measured = self._runs.pop(job.id, None)
        if measured is not None:
            record_peak(session, job, streamed=measured.model.is_streamed)
        if not results:
            return
        probe = _probe(job)
        merged = probe.merge(in_order(results))
        layers = {layer.name: layer for layer in load_layers(session, job.model_id)}
        if job.failed:
            statistics = _completed_in_part(probe, merged, [layers[name].block for name in job.payload["layers"]])
        else:
            statistics = probe.completed(merged, sequences=_sequences(session, job))
        formats = [get_cell_format(name) for name in job.payload["formats"]]
        shapes = {name: layer.shape for name, layer in layers.items()}
        cells = cells_of(job.payload["layers"], formats, shapes, statistics)
        asked = job.payload.get("cells")
        if asked is not None:
            cells = [cell for cell in cells if cell.format in asked[cell.layer]]
        if job.failed:
            cells = [cell for cell in cells if cell.samples or cell.status is CellStatus.UNSUPPORTED_SHAPE]
        settings = settings_of(job.payload)
        for setting in settings:
            store_cells(session, job.model_id, setting, cells, job_id=job.id)
        products = probe.products(merged)
        if products is not None and not job.failed:  # products of several jobs are of the same sequences
            kept = {fmt.identity: products[:, k] for k, fmt in enumerate(formats)}
            store_products(session, job.model_id, settings[0].id, job.payload["layers"], kept, job_id=job.id)
        own = probe.point(merged)
        if own is not None:
            store_point(session, job.model_id, settings[0].id, job.payload[AROUND], own, job_id=job.id)

    def _prepare(self, job: Job) -> ProbeRun[Any]:
        model = self.models.get(job.model_id, **_loading(job))
        calibration = job.payload["calibration_id"]
        tokens = self.models.tokens(job.model_id, calibration).calibration if calibration else None
        return ProbeRun(
            model=model,
            layers=job.payload["layers"],
            formats=[get_cell_format(name) for name in job.payload["formats"]],
            rounding=job.payload["rounding"],
            tokens=tokens,
            seed=job.payload["seed"],
            cells=job.payload.get("cells"),
            around={layer: get_format(name) for layer, name in job.payload.get(AROUND, {}).items()},
        )


def _probe(job: Job) -> AbstractProbe[Any]:
    return get_probe(job.payload["probe"], **job.payload["probe_parameters"])


def _loading(job: Job) -> Loading:
    """How the job wants its model; jobs of earlier versions do not say."""
    probe = job.payload.get("probe")  # an evaluation has none, and streams
    streams = probe is None or get_facts(probe).streams
    return {
        "streaming": job.payload.get("streaming", "auto") if streams else "never",
        "whole_bytes": job.payload.get("memory", {}).get("whole_bytes", 0),
    }


def _sequences(session: Session, job: Job) -> int:
    """Sequences that the probe runs on; 0 for a probe without data."""
    calibration = job.payload["calibration_id"]
    return session.get_one(CalibrationSetRow, calibration).sequences if calibration else 0


def _completed_in_part(
    probe: AbstractProbe[Any], merged: NDArray[np.float64], blocks: Sequence[int | None]
) -> NDArray[np.float64]:
    """Statistics of a run some of whose units failed: their sequences are no samples, not even of zero.

    Args:
        probe: what was run.
        merged: of the units that succeeded.
        blocks: block of each layer. A unit covers whole blocks, and every sequence passes some layer of each: the most samples
            of a block's layers are the sequences that it was measured on.
    """
    most: dict[int | None, int] = {}
    for block, samples in zip(blocks, merged[..., 0].max(axis=1, initial=0.0).tolist(), strict=True):
        most[block] = max(most.get(block, 0), int(samples))
    by_count = {count: probe.completed(merged, sequences=count) for count in set(most.values())}
    return np.stack([by_count[most[block]][i] for i, block in enumerate(blocks)])


def in_order(results: Sequence[tuple[str, NDArray[np.float64]]]) -> list[NDArray[np.float64]]:
    """The arrays in the order of their keys: what is made of them does not depend on who ran what when."""
    return [array for _, array in sorted(results, key=lambda item: item[0])]


def cells_of(
    layers: Sequence[str],
    formats: Sequence[AbstractFormat],
    shapes: Mapping[str, tuple[int, int]],
    statistics: NDArray[np.float64],
) -> list[Cell]:
    """Cells from merged statistics of shape (layers, formats, 3)."""
    loss, error = mean_and_error(statistics)
    status = cell_status(statistics)
    return [
        _cell(layer, fmt, shapes[layer], CellStatus(str(status[i, k])), loss[i, k], error[i, k], statistics[i, k])
        for i, layer in enumerate(layers)
        for k, fmt in enumerate(formats)
    ]


def _cell(
    layer: str,
    fmt: AbstractFormat,
    shape: tuple[int, int],
    status: CellStatus,
    loss: float,
    error: float,
    statistics: NDArray[np.float64],
) -> Cell:
    if fmt.refusal(shape) is not None:
        status = CellStatus.UNSUPPORTED_SHAPE
    measured = status is CellStatus.MEASURED
    n, total, squares = (float(x) for x in statistics)
    return Cell(
        layer=layer,
        format=fmt.name,
        format_identity=fmt.identity,
        status=status,
        loss=float(loss) if measured else None,
        standard_error=float(error) if measured and np.isfinite(error) else None,
        samples=n,
        total=total if np.isfinite(total) else None,
        total_squares=squares if np.isfinite(squares) else None,
    )


@dataclass(slots=True)
class EvaluationHandler(AbstractJobHandler):
    """Measures assignments on held-out text, rounded as the plan's curves were; rounded once for all units of a job."""

    models: LoadedModels
    _roundings: dict[str, LayerRounding] = field(default_factory=dict)

    def enumerate(self, job: Job) -> list[UnitSpec]:
        """Chunks of held-out sequences; larger ones of a streamed model, because each reads every block."""
        with self.models.database.read_session() as session:
            held_out = session.get_one(CalibrationSetRow, job.payload["calibration_id"]).held_out_sequences
        size = STREAMED_SEQUENCES if self.models.streams(job.model_id, **_loading(job)) else EVALUATED_SEQUENCES
        starts = range(0, held_out, size)
        return [UnitSpec(f"{s:06d}", {"indices": list(range(s, min(s + size, held_out)))}) for s in starts]

    def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
        """Statistics of one chunk, shape (assignments, metrics, 3)."""
        if job.id not in self._roundings:
            self._roundings = {}
            begin_peak()
            self._roundings = {job.id: self._round(job)}
        model = self.models.get(job.model_id, **_loading(job))
        tokens = self.models.tokens(job.model_id, job.payload["calibration_id"]).held_out
        chosen = torch.tensor(unit.payload["indices"], dtype=torch.int64)
        return evaluate(model, _assignments(job), tokens[chosen], rounding=self._roundings[job.id])

    def finish(self, session: Session, job: Job, results: Sequence[tuple[str, NDArray[np.float64]]]) -> None:
        """Write one evaluation per assignment, over the sequences of the units that succeeded."""
        rounding = self._roundings.pop(job.id, None)
        if rounding is not None:
            record_peak(session, job, streamed=rounding.is_streamed)
        merged = summed([_with_all_metrics(array) for array in in_order(results)])
        plan_id = job.payload["plan_id"]
        if plan_id is not None and session.get(PlanRow, plan_id) is None:
            plan_id = None  # the plan was deleted while it was measured; the measurement stays
        for (label, assignment), statistics in zip(job.payload["assignments"].items(), merged, strict=True):
            session.add(evaluation_row(job, plan_id, label, assignment, statistics))

    def _round(self, job: Job) -> LayerRounding:
        self.models.get(job.model_id, **_loading(job))  # as the job wants it; the rounding takes the model that is loaded
        how = CurveRounding(job.payload["rounding"], job.payload.get("rounding_calibration_id"))
        return plan_rounding(self.models, job.model_id, how, _assignments(job))


def _assignments(job: Job) -> list[Mapping[str, CandidateFormat]]:
    return [
        {layer: get_format(name) for layer, name in assignment["layers"].items()}
        for assignment in job.payload["assignments"].values()
    ]


def _with_all_metrics(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Statistics (A, metrics, 3) where metrics that an older bitplan did not measure have count 0."""
    return np.pad(statistics, ((0, 0), (0, len(Metric) - statistics.shape[1]), (0, 0)))


def evaluation_row(
    job: Job, plan_id: str | None, label: str, assignment: Mapping[str, Any], statistics: NDArray[np.float64]
) -> EvaluationRow:
    """An assignment (its ``layer_bits`` and ``effective_bits``) with the statistics (metrics, 3) of its measurement."""
    found = summarise(statistics)
    return EvaluationRow(
        job_id=job.id,
        model_id=job.model_id,
        plan_id=plan_id,
        calibration_id=job.payload["calibration_id"],
        label=label,
        size_bits=assignment["layer_bits"],
        effective_bits=assignment["effective_bits"],
        kl=found.kl,
        kl_error=found.kl_error,
        perplexity=found.perplexity,
        perplexity_error=found.perplexity_error,
        reference_perplexity=found.reference_perplexity,
        reference_perplexity_error=found.reference_perplexity_error,
        top1_agreement=found.top1_agreement,
        top1_error=found.top1_error,
        router_flips=found.router_flips,
        router_flips_error=found.router_flips_error,
        sequences=found.sequences,
    )
