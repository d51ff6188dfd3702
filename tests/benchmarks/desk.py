"""Measuring for a report as a user would: jobs of the service on an embedded database, so that nothing is measured twice."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.engine import make_url

from planner.build import Classes, build_classes, group_curves
from planner.curves import Curves
from planner.jobs.job import JobState
from planner.measuring import setting_of
from planner.rules import Rules
from planner.runtimes import get_runtime
from planner.schemas.calibrations import CreateCalibration
from planner.schemas.jobs import Job
from planner.schemas.plans import STEP_ERRORS
from planner.services import calibrations, jobs, models
from planner.services.planning_inputs import load_layers
from planner.settings import Settings
from planner.solving import solve_plan
from planner.solving.shrinkage import shrink
from planner.solving.steps import Step
from planner.storage.cells import load_curves
from planner.storage.database import Database
from planner.storage.operating_points import AROUND, load_point
from planner.storage.tables import EvaluationRow, JobRow
from planner.worker.process import make_worker
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.registry import get_format

Assignment = Mapping[str, str]
"""Layer to format, by names."""

TIED = get_runtime("vllm").tied_kinds


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number and its standard error; a KL is in nats per token, its error over sequences."""

    value: float
    error: float

    def __str__(self) -> str:
        digits = 3 if abs(self.value) >= 0.1 else 4
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"

    def __truediv__(self, below: "Estimate") -> "Estimate":
        """The ratio, with the error that it had if both were independent: of assignments on one text it is at most that."""
        ratio = self.value / below.value
        return Estimate(ratio, abs(ratio) * math.hypot(self.error / self.value, below.error / below.value))


@dataclass
class Desk:
    """A model, its layers inside the blocks, and what was measured of it so far.

    Attributes:
        path: the checkpoint.
        directory: where the database is; kept, a second run measures nothing again.
        rounding: rounding method of all that is measured here.
    """

    path: Path
    directory: Path
    rounding: str = "rtn"
    database: Database = field(init=False)
    model: str = field(init=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.database = Database(make_url(f"sqlite:///{self.directory / 'report.db'}"))
        self.database.upgrade()
        description = models.inspect(str(self.path))
        with self.database.session() as session:
            self.model = models.register(session, description)[0].id

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The linear layers of the blocks; the head stays as it is."""
        with self.database.read_session() as session:
            return tuple(layer for layer in load_layers(session, self.model) if layer.block is not None)

    def calibrate(self, text: str, **cut: int) -> str:
        """Id of a calibration set of this text ('builtin' or a file)."""
        prepared = calibrations.prepare(CreateCalibration.model_validate({"source": text, **cut}))
        with self.database.session() as session:
            return calibrations.create(session, prepared)[0].id

    def curves(
        self,
        probe: str,
        calibration: str,
        formats: Sequence[str],
        *,
        layers: Sequence[str] | None = None,
        around: Assignment | None = None,
        seed: int = 0,
        **parameters: float | str,
    ) -> Curves:
        """Cells of a probe, measured if they are missing."""
        names = list(layers) if layers is not None else [layer.name for layer in self.layers]
        payload = self._payload(probe, calibration, formats, names, around, seed, parameters)
        if (self._load(payload).status == "").any():
            self._work("sensitivity", payload)
        return self._load(payload)

    def refined(self, calibration: str, formats: Sequence[str], around: Assignment, *, seed: int = 0) -> Curves:
        """What changes around an assignment make of its KL, with what makes up for luck."""
        changes = self.curves("marginal", calibration, formats, around=around, seed=seed)
        names = [layer.name for layer in self.layers]
        payload = self._payload("marginal", calibration, formats, names, around, seed, {})
        with self.database.read_session() as session:
            point = load_point(session, self.model, setting_of(payload).id)
        assert point is not None
        return Step(point, changes, STEP_ERRORS).guarded()

    def evaluate(self, assignments: Mapping[str, Assignment], calibration: str) -> dict[str, Estimate]:
        """KL of assignments on the held-out text, by label; what was measured before is looked up."""
        known = self._evaluated(calibration)
        missing = {label: layers for label, layers in assignments.items() if frozenset(layers.items()) not in known}
        if missing:
            self._work("evaluation", self._evaluation(missing, calibration))
            known = self._evaluated(calibration)
        return {label: known[frozenset(layers.items())] for label, layers in assignments.items()}

    def _evaluation(self, assignments: Mapping[str, Assignment], calibration: str) -> dict[str, Any]:
        """Payload of a job."""
        return {
            "plan_id": None,
            "calibration_id": calibration,
            "rounding": self.rounding,
            "rounding_calibration_id": calibration,
            "assignments": {
                label: {
                    "layers": dict(layers),
                    "layer_bits": self.bits(layers),
                    "effective_bits": self.bits(layers) / self.weights,
                }
                for label, layers in assignments.items()
            },
        }

    def _evaluated(self, calibration: str) -> dict[frozenset[tuple[str, str]], Estimate]:
        """What is known of assignments in this rounding, by their layers."""
        query = select(EvaluationRow, JobRow.payload).join(JobRow, JobRow.id == EvaluationRow.job_id)
        query = query.where(EvaluationRow.model_id == self.model, EvaluationRow.calibration_id == calibration)
        found = {}
        with self.database.read_session() as session:
            for row, payload in session.execute(query.where(JobRow.state == JobState.SUCCEEDED)):
                if payload["rounding"] == self.rounding:
                    layers = payload["assignments"][row.label]["layers"]
                    found[frozenset(layers.items())] = Estimate(row.kl, row.kl_error or 0.0)
        return found

    @property
    def weights(self) -> int:
        """Weights of the layers."""
        return sum(layer.parameters for layer in self.layers)

    def bits(self, assignment: Assignment) -> int:
        """Stored bits of an assignment."""
        return sum(get_format(assignment[layer.name]).size_bits(layer.shape) for layer in self.layers)

    def uniform(self, fmt: str) -> dict[str, str]:
        """Every layer in one format."""
        return {layer.name: fmt for layer in self.layers}

    def plan(self, curves: Curves, menu: Sequence[str], bits: float, *, tied: bool) -> dict[str, str]:
        """The exact plan within so many effective bits."""
        classes = self._classes(curves, menu, tied=tied)
        solved = solve_plan(classes, group_curves(classes, curves), int(bits * self.weights), deadline=None)
        columns = solved.proved.choice[classes.group_of_layer]
        return {layer.name: classes.formats[int(k)].name for layer, k in zip(self.layers, columns, strict=True)}

    def _classes(self, curves: Curves, menu: Sequence[str], *, tied: bool) -> Classes:
        runtime = get_runtime("generic")
        if tied:
            runtime = replace(runtime, tied_kinds=TIED)
        rules = Rules(pins={}, floors={}, ceilings={}, menus={"*": list(menu)})
        return build_classes(self.layers, curves.formats, runtime, rules)

    def _payload(
        self,
        probe: str,
        calibration: str,
        formats: Sequence[str],
        layers: Sequence[str],
        around: Assignment | None,
        seed: int,
        parameters: Mapping[str, float | str],
    ) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "probe": probe,
            "probe_parameters": dict(parameters),
            "rounding": self.rounding,
            "calibration_id": calibration,
            "seed": seed,
            "formats": list(formats),
            "layers": list(layers),
        }
        return payload if around is None else {**payload, AROUND: dict(around)}

    def _load(self, payload: Mapping[str, Any]) -> Curves:
        formats = [get_format(name) for name in payload["formats"]]
        with self.database.read_session() as session:
            return load_curves(session, self.model, setting_of(payload).id, formats, payload["layers"])

    def _work(self, kind: str, payload: dict[str, Any]) -> str:
        """Do a job in this process, with what a run before has left of it."""
        with self.database.session() as session:
            same = jobs.find_unfinished(session, kind=kind, model_id=self.model, payload=payload)
            job: Job = same or jobs.submit(session, kind=kind, model_id=self.model, payload=payload)
        make_worker(self.database, Settings(), poll_seconds=0.05).run(until_idle=True)
        with self.database.read_session() as session:
            done = jobs.get_job(session, job.id)
        if done.state is not JobState.SUCCEEDED:
            raise RuntimeError(f"job {done.id} {done.state}: {done.reason}")
        return done.id


def shrunk(curves: Curves) -> Curves:
    """The same curves, freed of the luck of their measurement."""
    found = shrink(curves.loss, curves.standard_error)
    return replace(curves, loss=found.loss, standard_error=found.standard_error)


def total(curves: Curves, fmt: str, layers: Sequence[str] | None = None) -> Estimate:
    """Sum of a format's losses over layers, all by default, cells taken as independent."""
    column = next(k for k, known in enumerate(curves.formats) if known.name == fmt)
    rows = [i for i, name in enumerate(curves.layers) if layers is None or name in layers]
    errors = np.nan_to_num(curves.standard_error[rows, column])
    return Estimate(float(curves.loss[rows, column].sum()), float(np.sqrt(np.square(errors).sum())))
