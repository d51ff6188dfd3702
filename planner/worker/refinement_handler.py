"""What a worker does for a refinement job: one generation of an evolutionary search a unit, then the held-out text decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.jobs.handler import AbstractJobHandler, UnitSpec
from planner.jobs.job import Job
from planner.jobs.rows import results_of
from planner.plan_search import PlanSearch, nothing_left
from planner.services.curve_rounding import CurveRounding
from planner.services.jobs import FOR_WORKERS
from planner.services.searching import store_found
from planner.storage.tables import CalibrationSetRow, JobRow
from planner.worker.handlers import evaluation_row
from planner.worker.loaded_models import LoadedModels
from planner.worker.peaks import begin_peak, record_peak
from planner.worker.plan_rounding import plan_rounding
from sensitivity.errors import NonFiniteError
from sensitivity.evaluation import Metric, evaluate, summarise
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format
from sensitivity.layer_rounding import LayerRounding
from sensitivity.memory_forecast import EVALUATED_SEQUENCES
from sensitivity.statistics import summed
from solvers.evolutionary import Evolution, Fitness, Sample

CHOICES_AT_ONCE = 8
"""Assignments evaluated beside one pass of the reference: their hidden states are in memory together."""


@dataclass(slots=True)
class RefinementHandler(AbstractJobHandler):
    """Measures generations one after the other; each reads what those before it measured. Rounded once for all of them."""

    models: LoadedModels
    _roundings: dict[str, LayerRounding] = field(default_factory=dict)

    def enumerate(self, job: Job) -> list[UnitSpec]:
        """The seeds, each generation, and the held-out sequences in chunks."""
        with self.models.database.read_session() as session:
            held_out = session.get_one(CalibrationSetRow, job.payload["calibration_id"]).held_out_sequences
        made = [UnitSpec(f"g{number:06d}", {"generation": number}) for number in range(job.payload["generations"] + 1)]
        starts = range(0, held_out, EVALUATED_SEQUENCES)
        chunks = [list(range(start, min(start + EVALUATED_SEQUENCES, held_out))) for start in starts]
        return made + [UnitSpec(f"h{chunk[0]:06d}", {"indices": chunk}) for chunk in chunks]

    def run(self, job: Job, unit: UnitSpec) -> NDArray[np.float64]:
        """Fitness of what a generation measured; or statistics of start and find on held-out text, shape (2, metrics, 3).

        Raises:
            PermanentError: another version of the program began the job, or no fitness is finite.
        """
        search = PlanSearch.read(job.payload[FOR_WORKERS])
        with self.models.database.read_session() as session:
            known = _measured(results_of(session, job.id))
        if "indices" in unit.payload:
            found, _ = search.go_on(known, nothing_left, generations=job.payload["generations"])
            return self._held_out(job, search, found, unit.payload["indices"])
        _, fresh = search.go_on(known, self._fitness(job, search), generations=unit.payload["generation"])
        return np.array(fresh, dtype=np.float64)

    def finish(self, session: Session, job: Job, results: Sequence[tuple[str, NDArray[np.float64]]]) -> None:
        """Store what was found as a plan if it is better on the held-out text; say in the job what came of it."""
        rounding = self._roundings.pop(job.id, None)
        if rounding is not None:
            record_peak(session, job, streamed=rounding.is_streamed)
        search = PlanSearch.read(job.payload[FOR_WORKERS])
        found, _ = search.go_on(_measured(results), nothing_left, generations=job.payload["generations"])
        before, after = summed([array for key, array in results if key.startswith("h")])
        kl_before, kl_after = summarise(before).kl, summarise(after).kl
        outcome = {
            "plan": None,
            "origin": found.origin,
            "generations": len(found.history),
            "ending": str(found.ending),
            "evaluations": found.evaluations,
            "layers_changed": len(_changes(search, found)),
            "held_out_kl_before": kl_before,
            "held_out_kl": kl_after,
        }
        if kl_after < kl_before:
            said = (
                f"found by evolutionary search from plan {job.payload['plan_id']}: held-out KL {kl_before:.4g} → {kl_after:.4g}"
            )
            made = store_found(session, job.payload, search.assignment(found.choice), said=said)
            outcome["plan"] = made.id
            size = {"layer_bits": made.size.layer_bits, "effective_bits": made.size.effective_bits}
            session.flush()
            session.add(evaluation_row(job, made.id, "plan", size, after))
        row = session.get_one(JobRow, job.id)
        row.payload = {**row.payload, "outcome": outcome}

    def _fitness(self, job: Job, search: PlanSearch) -> Fitness:
        def measure(choices: NDArray[np.int64], sample: Sample) -> NDArray[np.float64]:
            parts = [choices[start : start + CHOICES_AT_ONCE] for start in range(0, len(choices), CHOICES_AT_ONCE)]
            return np.concatenate([self._kl(job, search, part, sample.indices) for part in parts])

        return measure

    def _kl(self, job: Job, search: PlanSearch, choices: NDArray[np.int64], sequences: NDArray[np.int64]) -> NDArray[np.float64]:
        """Mean KL of each choice on calibration sequences, nats per token; ``inf`` where a choice breaks the model."""
        tokens = self.models.tokens(job.model_id, job.payload["calibration_id"]).calibration[torch.from_numpy(sequences.copy())]
        assignments = [_formats(search.assignment(choice)) for choice in choices]
        try:
            rounding = self._rounding(job, search)
            found = evaluate(self.models.get(job.model_id), assignments, tokens, rounding=rounding)
        except NonFiniteError:
            if len(choices) == 1:
                return np.array([np.inf])
            return np.concatenate([self._kl(job, search, choice[None], sequences) for choice in choices])
        kl = found[:, Metric.KL]
        return np.asarray(kl[:, 1] / kl[:, 0])

    def _held_out(self, job: Job, search: PlanSearch, found: Evolution, sequences: Sequence[int]) -> NDArray[np.float64]:
        rounding = self._rounding(job, search)
        tokens = self.models.tokens(job.model_id, job.payload["calibration_id"]).held_out
        assignments = [_formats(search.assignment(choice)) for choice in (search.start, found.choice)]
        chosen = torch.tensor(sequences, dtype=torch.int64)
        return evaluate(self.models.get(job.model_id), assignments, tokens[chosen], rounding=rounding)

    def _rounding(self, job: Job, search: PlanSearch) -> LayerRounding:
        if job.id not in self._roundings:
            self._roundings = {}
            begin_peak()
            how = CurveRounding(job.payload["rounding"], job.payload["rounding_calibration_id"])
            self._roundings = {job.id: plan_rounding(self.models, job.model_id, how, _all_cells(search))}
        return self._roundings[job.id]


def _measured(results: Sequence[tuple[str, NDArray[np.float64]]]) -> list[float]:
    """Fitness values of all generations, in the order in which they were asked for."""
    return [value for key, array in results if key.startswith("g") for value in array.tolist()]


def _changes(search: PlanSearch, found: Evolution) -> list[str]:
    before, after = search.assignment(search.start), search.assignment(found.choice)
    return [layer for layer, name in before.items() if after[layer] != name]


def _formats(layers: Mapping[str, str]) -> dict[str, CandidateFormat]:
    return {layer: get_format(name) for layer, name in layers.items()}


def _all_cells(search: PlanSearch) -> list[dict[str, CandidateFormat]]:
    """Every format that a group may take, as one assignment each."""
    allowed = search.problem.allowed()
    return [
        {layer: get_format(name) for g, group in enumerate(search.groups) if allowed[g, k] for layer in group}
        for k, name in enumerate(search.formats)
    ]
