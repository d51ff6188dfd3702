"""Operations answered by this process, over the database of this machine and with a worker of its own."""

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, final

from sqlalchemy.orm import Session
from typing_extensions import override

from planner.curve_tools.movement import DEFAULT_RATIO
from planner.importers import ImportedMoments
from planner.importers.source import read_source
from planner.operations import AbstractOperations
from planner.schemas.adaptive import AdaptiveRequest, AdaptiveStep
from planner.schemas.base import Page
from planner.schemas.calibrations import Calibration, CalibrationPage, CreateCalibration
from planner.schemas.catalogue import CacheFormatList, FormatList, RuntimeList
from planner.schemas.curve_tools import ComparisonDocument, FitsDocument
from planner.schemas.curves import CurvesDocument, ProbeSettingList
from planner.schemas.devices import CreateDevice, DeviceDocument, DeviceList, LatencyTableDocument, PutLatencies
from planner.schemas.drifts import DriftDocument, SubmitDrift
from planner.schemas.explanations import PlanExplanation
from planner.schemas.families import FamilyDocument, FamilyRequest
from planner.schemas.frontiers import FrontierDocument, FrontierRequest
from planner.schemas.imports import ImportDocument
from planner.schemas.jobs import Job, JobPage, RoundingName, SubmitSensitivity
from planner.schemas.links import LinkDocument, LinkRequest
from planner.schemas.models import LayerList, Model, ModelPage, RegisterModel
from planner.schemas.plan_batches import PlanBatch, PlanBatchAnswer
from planner.schemas.plan_diffs import PlanDiff
from planner.schemas.plan_keeping import (
    EventFilters,
    MoveName,
    PinRequest,
    PlanEventPage,
    PlanFilters,
    PlanName,
    PlanNameList,
    PlanPage,
    PlanPin,
)
from planner.schemas.plans import (
    BoundsRequest,
    EvaluateRequest,
    Evaluation,
    MeasureAroundRequest,
    PlanDocument,
    PlanRequest,
    RefineRequest,
)
from planner.schemas.retargeting import Retargeted, RetargetRequest
from planner.schemas.searches import SearchRequest
from planner.schemas.sizes import Bounds
from planner.schemas.splits import SplitDocument, SplitRequest
from planner.schemas.workers import WorkerList
from planner.services import (
    adaptive,
    calibrations,
    catalogue,
    comparisons,
    curve_fits,
    curves,
    devices,
    drift,
    evaluations,
    explaining_plans,
    exporting,
    families,
    frontiers,
    imports,
    jobs,
    links,
    models,
    plan_batches,
    plan_diffs,
    plan_listing,
    plan_names,
    plan_pins,
    plan_trail,
    plans,
    refining,
    retargeting,
    searching,
    splitting,
    workers,
)
from planner.services.plan_trail import LOCAL
from planner.settings import Settings
from planner.storage.database import Database

P = ParamSpec("P")
T = TypeVar("T")

POLL_SECONDS = 0.2


@final
class Embedded(AbstractOperations):
    """The services of this process, each call in a transaction of its own.

    Args:
        database: gives an upgraded database, which stays the caller's to close; asked where one is needed.
        settings: of this process, for its worker.
    """

    def __init__(self, database: Callable[[], Database], settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._at_work = False

    @contextmanager
    @override
    def working(self) -> Iterator[None]:
        if self._at_work:
            yield
            return
        from planner.worker.idle_threads import let_waiting_threads_sleep

        let_waiting_threads_sleep()
        from planner.worker.process import make_worker  # torch: seconds

        worker = make_worker(self._database(), self._settings)
        worker.engine.beat(worker.profile, draining=False)  # a job that is looked at now does not wait for nobody
        thread = threading.Thread(target=worker.run, name="bitplan-worker", daemon=True)
        thread.start()
        self._at_work = True
        try:
            yield
        finally:
            self._at_work = False
            worker.stop()
            thread.join()

    @override
    def list_formats(self) -> FormatList:
        return catalogue.list_formats()

    @override
    def list_cache_formats(self) -> CacheFormatList:
        return catalogue.list_cache_formats()

    @override
    def list_runtimes(self) -> RuntimeList:
        return catalogue.list_runtimes()

    @override
    def list_devices(self) -> DeviceList:
        return self._read(devices.list_devices)

    @override
    def get_device(self, device: str) -> DeviceDocument:
        return self._read(devices.describe_device, device)

    @override
    def create_device(self, request: CreateDevice) -> tuple[DeviceDocument, bool]:
        return self._write(devices.create_device, request)

    @override
    def delete_device(self, device: str) -> None:
        self._write(devices.delete_device, device)

    @override
    def put_latencies(self, device: str, request: PutLatencies) -> DeviceDocument:
        return self._write(devices.put_latencies, device, request)

    @override
    def get_latencies(self, device: str) -> LatencyTableDocument:
        return self._read(devices.get_latencies, device)

    @override
    def register_model(self, request: RegisterModel) -> tuple[Model, bool]:
        return self._write(models.register, models.inspect(request.source, revision=request.revision), name=request.name)

    @override
    def list_models(self, *, cursor: str | None = None, limit: int = 50) -> ModelPage:
        return self._read(models.list_models, cursor=cursor, limit=limit)

    @override
    def delete_model(self, model: str) -> None:
        self._write(models.delete_model, model)

    @override
    def list_layers(self, model: str) -> LayerList:
        return self._read(models.list_layers, model)

    @override
    def ask_bounds(self, model: str, request: BoundsRequest) -> Bounds:
        return self._read(plans.bounds, model, request)

    @override
    def add_calibration(self, request: CreateCalibration) -> Calibration:
        return self._write(calibrations.create, calibrations.prepare(request))[0]

    @override
    def list_calibrations(self, *, cursor: str | None = None, limit: int = 50) -> CalibrationPage:
        return self._read(calibrations.list_calibrations, cursor=cursor, limit=limit)

    @override
    def submit_job(self, request: SubmitSensitivity) -> Job:
        return self._write(jobs.submit_sensitivity, request)

    @override
    def list_jobs(self, *, model: str | None = None, cursor: str | None = None, limit: int = 50) -> JobPage:
        return self._read(jobs.list_jobs, model=model, cursor=cursor, limit=limit)

    @override
    def get_job(self, job: str) -> Job:
        return self._read(jobs.get_job, job)

    @override
    def cancel_job(self, job: str) -> Job:
        return self._write(jobs.cancel_job, job)

    @override
    def pause_job(self, job: str) -> Job:
        return self._write(jobs.pause_job, job)

    @override
    def resume_job(self, job: str) -> Job:
        return self._write(jobs.resume_job, job)

    @override
    def retry_job(self, job: str) -> Job:
        return self._write(jobs.retry_job, job)

    @override
    def list_workers(self) -> WorkerList:
        return self._read(workers.list_workers)

    @override
    def follow_job(self, job: str) -> Generator[Job]:
        found = self.get_job(job)
        if found.state.is_final:
            yield found
            return
        with self.working():
            while True:
                found = self.get_job(job)
                yield found
                if found.state.is_final:
                    return
                time.sleep(POLL_SECONDS)

    @override
    def list_probe_settings(self, model: str) -> ProbeSettingList:
        return self._read(curves.list_settings, model)

    @override
    def get_curves(
        self,
        model: str,
        *,
        probe: str | None = None,
        setting: str | None = None,
        formats: Sequence[str] | None = None,
        layers: str | None = None,
    ) -> CurvesDocument:
        return self._read(curves.get_curves, model, probe=probe, setting=setting, formats=formats, layers=layers)

    @override
    def get_fits(
        self,
        model: str,
        *,
        probe: str | None = None,
        setting: str | None = None,
        formats: Sequence[str] | None = None,
        layers: str | None = None,
    ) -> FitsDocument:
        return self._read(curve_fits.fit, model, probe=probe, setting=setting, formats=formats, layers=layers)

    @override
    def compare_settings(
        self, model: str, first: str, second: str, *, formats: Sequence[str] | None = None, layers: str | None = None
    ) -> ComparisonDocument:
        return self._read(comparisons.compare, model, first, second, formats=formats, layers=layers)

    @override
    def submit_drift(self, model: str, request: SubmitDrift) -> Job:
        return self._write(drift.submit_drift, model, request)

    @override
    def get_drift(
        self, model: str, reference: str, *, formats: Sequence[str] | None = None, ratio: float = DEFAULT_RATIO
    ) -> DriftDocument:
        return self._read(drift.get_drift, model, reference, formats=formats, ratio=ratio)

    @override
    def create_link(self, model: str, request: LinkRequest) -> LinkDocument:
        return links.create_link(self._database(), model, request)

    @override
    def next_step(self, request: AdaptiveRequest) -> AdaptiveStep:
        return self._read(adaptive.next_step, request)

    @override
    def add_imports(
        self,
        model: str,
        files: Sequence[Path],
        *,
        tool: str | None = None,
        options: Mapping[str, int | str] | None = None,
        formats: Sequence[str] = (),
        rounding: RoundingName = "rtn",
    ) -> ImportDocument:
        sources = [read_source(path) for path in files]
        read = self._read(imports.read_files, model, sources, tool=tool, options=options)
        if isinstance(read.found, ImportedMoments):
            from planner.worker.diagonal_errors import store_diagonal_errors

            return store_diagonal_errors(self._database(), read, read.found, formats, rounding)
        return self._write(imports.store, read)

    @override
    def create_plan(self, request: PlanRequest) -> PlanDocument:
        found = self._read(plans.make_plan, request)
        self._write(plans.store_plan, found)
        return found

    @override
    def create_plans(self, batch: PlanBatch) -> PlanBatchAnswer:
        outcomes = self._read(plan_batches.make_plans, batch.requests, deadline=batch.deadline_seconds)
        return plan_batches.batch_answer(batch, self._write(plan_batches.store_plans, outcomes))

    @override
    def list_plans(self, filters: PlanFilters | None = None, *, cursor: str | None = None, limit: int = 50) -> PlanPage:
        return self._read(plan_listing.list_plans, filters or PlanFilters(), cursor=cursor, limit=limit)

    @override
    def get_plan(self, plan: str) -> PlanDocument:
        return self._read(plans.get_plan, plan)

    @override
    def delete_plan(self, plan: str, *, why: str = "") -> None:
        self._write(plan_pins.delete_plan, plan, who=LOCAL, why=why)

    @override
    def diff_plans(self, plan: str, other: str) -> PlanDiff:
        return self._read(plan_diffs.diff_plans, plan, other)

    @override
    def retarget_plan(self, plan: str, request: RetargetRequest) -> Retargeted:
        found = self._read(retargeting.retarget_plan, plan, request)
        self._write(plans.store_plan, found.plan)
        return found

    @override
    def explain_plan(self, plan: str, *, layer: str = "*", limit: int = 500) -> PlanExplanation:
        return self._read(explaining_plans.explain_plan, plan, layers=layer, most=limit)

    @override
    def pin_plan(self, plan: str, request: PinRequest) -> PlanPin:
        return self._write(plan_pins.pin_plan, plan, request, who=LOCAL)

    @override
    def get_pin(self, plan: str) -> PlanPin:
        return self._read(plan_pins.get_pin, plan)

    @override
    def unpin_plan(self, plan: str, *, why: str = "") -> None:
        self._write(plan_pins.unpin_plan, plan, who=LOCAL, why=why)

    @override
    def list_plan_names(self, model: str) -> PlanNameList:
        return self._read(plan_names.list_names, model)

    @override
    def get_plan_name(self, model: str, name: str) -> PlanName:
        return self._read(plan_names.get_name, model, name)

    @override
    def move_plan_name(self, model: str, name: str, request: MoveName) -> PlanName:
        return self._write(plan_names.move_name, model, name, request, who=LOCAL)[0]

    @override
    def remove_plan_name(self, model: str, name: str, *, replaces: str | None = None, why: str = "") -> None:
        self._write(plan_names.remove_name, model, name, replaces=replaces, who=LOCAL, why=why)

    @override
    def list_plan_events(
        self, filters: EventFilters | None = None, *, cursor: str | None = None, limit: int = 50
    ) -> PlanEventPage:
        return self._read(plan_trail.list_events, filters or EventFilters(), cursor=cursor, limit=limit)

    @override
    def export_plan(self, plan: str, target: str | None = None) -> dict[str, Any]:
        return self._read(exporting.export_plan, plan, target)

    @override
    def measure_around_plan(self, plan: str, request: MeasureAroundRequest) -> Job:
        return self._write(refining.submit_around, plan, request)

    @override
    def refine_plan(self, plan: str, request: RefineRequest) -> PlanDocument:
        found = self._read(refining.refine_plan, plan, request)
        if found.id != plan:
            self._write(plans.store_plan, found)
        return found

    @override
    def search_plan(self, plan: str, request: SearchRequest) -> Job:
        return self._write(searching.submit_search, plan, request)

    @override
    def evaluate_plan(self, plan: str, request: EvaluateRequest) -> Job:
        return self._write(evaluations.submit_evaluation, plan, request)

    @override
    def list_evaluations(self, plan: str) -> Page[Evaluation]:
        return self._read(evaluations.list_evaluations, plan)

    @override
    def make_frontier(self, request: FrontierRequest) -> FrontierDocument:
        return self._read(frontiers.make_frontier, request)

    @override
    def make_family(self, request: FamilyRequest) -> FamilyDocument:
        return self._read(families.make_family, request)

    @override
    def make_split(self, request: SplitRequest) -> SplitDocument:
        return self._read(splitting.make_split, request)

    def _read(self, service: Callable[Concatenate[Session, P], T], *args: P.args, **options: P.kwargs) -> T:
        with self._database().read_session() as session:
            return service(session, *args, **options)

    def _write(self, service: Callable[Concatenate[Session, P], T], *args: P.args, **options: P.kwargs) -> T:
        with self._database().session() as session:
            return service(session, *args, **options)
