"""Every operation of a service, as a method."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar, final

import httpx2
from pydantic import ValidationError
from typing_extensions import override

from planner.client.addresses import path_of
from planner.client.connection import Connection
from planner.client.looking_ahead import LookingAhead
from planner.client.retries import Retries
from planner.curve_tools.movement import DEFAULT_RATIO
from planner.errors import InvalidImportError, InvalidRequestError
from planner.operations import AbstractOperations
from planner.schemas.adaptive import AdaptiveRequest, AdaptiveStep
from planner.schemas.base import Page, Schema
from planner.schemas.calibrations import TEXT_LIMIT, Calibration, CalibrationPage, CreateCalibration
from planner.schemas.catalogue import CacheFormatList, FormatList, ProbeList, RuntimeList
from planner.schemas.curve_tools import ComparisonDocument, FitsDocument
from planner.schemas.curves import CurvesDocument, ProbeSettingList
from planner.schemas.devices import CreateDevice, DeviceDocument, DeviceList, LatencyTableDocument, PutLatencies
from planner.schemas.drifts import DriftDocument, SubmitDrift
from planner.schemas.explanations import PlanExplanation
from planner.schemas.families import FamilyDocument, FamilyRequest
from planner.schemas.frontiers import FrontierDocument, FrontierRequest
from planner.schemas.imports import TEXT_LIMIT as IMPORT_LIMIT
from planner.schemas.imports import ImportDocument, ImportedFile, ImportRequest
from planner.schemas.jobs import Job, JobPage, JobState, RoundingName, SubmitSensitivity
from planner.schemas.links import LinkDocument, LinkRequest
from planner.schemas.models import LayerList, Model, ModelPage, RegisterModel
from planner.schemas.plan_batches import PlanBatch, PlanBatchAnswer
from planner.schemas.plan_diffs import PlanDiff
from planner.schemas.plan_keeping import (
    EventFilters,
    MoveName,
    PinRequest,
    PlanEvent,
    PlanEventPage,
    PlanFilters,
    PlanName,
    PlanNameList,
    PlanPage,
    PlanPin,
    StoredPlan,
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
from planner.schemas.problems import Health
from planner.schemas.retargeting import Retargeted, RetargetRequest
from planner.schemas.searches import SearchRequest
from planner.schemas.sizes import Bounds
from planner.schemas.splits import SplitDocument, SplitRequest
from planner.schemas.workers import WorkerList

Item = TypeVar("Item", bound=Schema)

TIMEOUT: Final = 300.0
"""Seconds: a step of adaptive measuring solves up to 20 plans of up to a minute each, nearly all take milliseconds."""
MOST_BYTES: Final = 2**28
"""Of an answer: the curves of a mixture with 44,544 layers in 8 formats take a third of it."""


@final
class Client(LookingAhead, AbstractOperations):
    """A service at a URL; close it, or use it in a ``with`` statement. Threads may share it.

    Requests are asked again after broken connections and where the service says so (``Retries``); a POST carries an
    ``Idempotency-Key``, so that what is asked twice is done once. Requests raise what planning raises (the trees of
    ``planner.errors`` and ``sensitivity.errors``), and ``ServiceError``, ``UnreachableError`` and ``UnusableAnswerError``.

    Args:
        url: of the service, ``https://host:port``.
        api_key: key of the service; ``None`` where it asks for none.
        timeout: seconds to wait for an answer.
        retries: when to ask again.
        most_bytes: largest answer that is read.
        transport: how requests are carried, for tests; by default over the network.

    Raises:
        InvalidRequestError: a URL or a key that cannot be one.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT,
        retries: Retries | None = None,
        most_bytes: int = MOST_BYTES,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._at = Connection(
            url,
            api_key=api_key,
            timeout=timeout,
            retries=retries or Retries(),
            most_bytes=most_bytes,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._at.url!r})"

    def close(self) -> None:
        """Close the connections; the client cannot be used again."""
        self._at.close()

    def healthz(self) -> Health:
        """The process of the service answers."""
        return self._at.get("/healthz", Health)

    def readyz(self) -> Health:
        """The service can do its work; raises ``StorageError`` otherwise."""
        return self._at.get("/readyz", Health)

    def metrics(self) -> str:
        """What the service counts and measures of itself, as text for Prometheus."""
        return self._at.get_text("/metrics")

    @override
    def list_formats(self) -> FormatList:
        return self._at.get("/v1/formats", FormatList)

    @override
    def list_cache_formats(self) -> CacheFormatList:
        return self._at.get("/v1/cache-formats", CacheFormatList)

    @override
    def list_runtimes(self) -> RuntimeList:
        return self._at.get("/v1/runtimes", RuntimeList)

    def list_probes(self) -> ProbeList:
        """Measurement procedures with their default hyper-parameters."""
        return self._at.get("/v1/probes", ProbeList)

    @override
    def list_devices(self) -> DeviceList:
        return self._at.get("/v1/devices", DeviceList)

    @override
    def get_device(self, device: str) -> DeviceDocument:
        return self._at.get(path_of("/v1/devices/{device}", device=device), DeviceDocument)

    @override
    def create_device(self, request: CreateDevice) -> tuple[DeviceDocument, bool]:
        return self._at.post_new("/v1/devices", DeviceDocument, request)

    @override
    def delete_device(self, device: str) -> None:
        self._at.delete(path_of("/v1/devices/{device}", device=device))

    @override
    def put_latencies(self, device: str, request: PutLatencies) -> DeviceDocument:
        return self._at.put(path_of("/v1/devices/{device}/latencies", device=device), DeviceDocument, request)

    @override
    def get_latencies(self, device: str) -> LatencyTableDocument:
        return self._at.get(path_of("/v1/devices/{device}/latencies", device=device), LatencyTableDocument)

    @override
    def register_model(self, request: RegisterModel) -> tuple[Model, bool]:
        return self._at.post_new("/v1/models", Model, request)

    @override
    def list_models(self, *, cursor: str | None = None, limit: int = 50) -> ModelPage:
        return self._at.get("/v1/models", ModelPage, {"cursor": cursor, "limit": limit})

    def iter_models(self) -> Iterator[Model]:
        """All registered models, newest first, page by page."""
        return _each(lambda cursor: self.list_models(cursor=cursor, limit=200))

    def get_model(self, model: str) -> Model:
        """One model, by id or name."""
        return self._at.get(path_of("/v1/models/{model}", model=model), Model)

    @override
    def delete_model(self, model: str) -> None:
        self._at.delete(path_of("/v1/models/{model}", model=model))

    @override
    def list_layers(self, model: str) -> LayerList:
        return self._at.get(path_of("/v1/models/{model}/layers", model=model), LayerList)

    @override
    def ask_bounds(self, model: str, request: BoundsRequest) -> Bounds:
        return self._at.post(path_of("/v1/models/{model}/bounds", model=model), Bounds, request)

    def create_calibration(self, request: CreateCalibration) -> tuple[Calibration, bool]:
        """Keep a text and how to cut it; a ``source`` is a file of the service's machine. The set, and whether it is new."""
        return self._at.post_new("/v1/calibrations", Calibration, request)

    @override
    def add_calibration(self, request: CreateCalibration) -> Calibration:
        from sensitivity.calibration import BUILTIN, read_text

        if request.source is not None and request.source != BUILTIN:
            text, label = read_text(request.source)
            if len(text) > TEXT_LIMIT:
                msg = (
                    f"{request.source} has {len(text):,} characters, and a request carries at most {TEXT_LIMIT:,}: give a part "
                    f"of it, or create the calibration set on the machine of the service"
                )
                raise InvalidRequestError(msg)
            request = request.model_copy(update={"source": None, "text": text, "name": request.name or label[:200]})
        return self.create_calibration(request)[0]

    @override
    def list_calibrations(self, *, cursor: str | None = None, limit: int = 50) -> CalibrationPage:
        return self._at.get("/v1/calibrations", CalibrationPage, {"cursor": cursor, "limit": limit})

    def iter_calibrations(self) -> Iterator[Calibration]:
        """All calibration sets, newest first, page by page."""
        return _each(lambda cursor: self.list_calibrations(cursor=cursor, limit=200))

    def get_calibration(self, calibration: str) -> Calibration:
        """One calibration set, by id or name, without its text."""
        return self._at.get(path_of("/v1/calibrations/{calibration}", calibration=calibration), Calibration)

    @override
    def submit_job(self, request: SubmitSensitivity) -> Job:
        return self._at.post("/v1/jobs", Job, request)

    @override
    def list_jobs(
        self,
        *,
        model: str | None = None,
        state: JobState | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> JobPage:
        return self._at.get("/v1/jobs", JobPage, {"model": model, "state": state, "cursor": cursor, "limit": limit})

    def iter_jobs(self, *, model: str | None = None, state: JobState | None = None) -> Iterator[Job]:
        """All jobs, newest first, page by page."""
        return _each(lambda cursor: self.list_jobs(model=model, state=state, cursor=cursor, limit=200))

    @override
    def get_job(self, job: str) -> Job:
        return self._at.get(path_of("/v1/jobs/{job}", job=job), Job)

    @override
    def cancel_job(self, job: str) -> Job:
        return self._at.post(path_of("/v1/jobs/{job}/cancel", job=job), Job)

    @override
    def pause_job(self, job: str) -> Job:
        return self._at.post(path_of("/v1/jobs/{job}/pause", job=job), Job)

    @override
    def resume_job(self, job: str) -> Job:
        return self._at.post(path_of("/v1/jobs/{job}/resume", job=job), Job)

    @override
    def retry_job(self, job: str) -> Job:
        return self._at.post(path_of("/v1/jobs/{job}/retry", job=job), Job)

    @override
    def list_workers(self) -> WorkerList:
        return self._at.get("/v1/workers", WorkerList)

    @override
    def follow_job(self, job: str) -> Generator[Job]:
        for found in self._at.events(path_of("/v1/jobs/{job}/events", job=job), Job):
            yield found
            if found.state.is_final:
                return

    @override
    def list_probe_settings(self, model: str) -> ProbeSettingList:
        return self._at.get(path_of("/v1/models/{model}/settings", model=model), ProbeSettingList)

    @override
    def get_curves(
        self,
        model: str,
        *,
        probe: str | None = None,
        setting: str | None = None,
        formats: Sequence[str] | None = None,
        layers: str | None = None,
        expected: bool = False,
    ) -> CurvesDocument:
        query = {"probe": probe, "setting": setting, "formats": formats, "layers": layers, "expected": expected}
        return self._at.get(path_of("/v1/models/{model}/curves", model=model), CurvesDocument, query)

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
        query = {"probe": probe, "setting": setting, "formats": formats, "layers": layers}
        return self._at.get(path_of("/v1/models/{model}/curves/fits", model=model), FitsDocument, query)

    @override
    def compare_settings(
        self, model: str, first: str, second: str, *, formats: Sequence[str] | None = None, layers: str | None = None
    ) -> ComparisonDocument:
        query = {"first": first, "second": second, "formats": formats, "layers": layers}
        return self._at.get(path_of("/v1/models/{model}/curves/comparison", model=model), ComparisonDocument, query)

    @override
    def submit_drift(self, model: str, request: SubmitDrift) -> Job:
        return self._at.post(path_of("/v1/models/{model}/drifts", model=model), Job, request)

    @override
    def get_drift(
        self, model: str, reference: str, *, formats: Sequence[str] | None = None, ratio: float = DEFAULT_RATIO
    ) -> DriftDocument:
        path = path_of("/v1/models/{model}/drifts/{reference}", model=model, reference=reference)
        return self._at.get(path, DriftDocument, {"formats": formats, "ratio": ratio})

    @override
    def create_link(self, model: str, request: LinkRequest) -> LinkDocument:
        return self._at.post(path_of("/v1/models/{model}/links", model=model), LinkDocument, request)

    @override
    def next_step(self, request: AdaptiveRequest) -> AdaptiveStep:
        return self._at.post("/v1/adaptive-steps", AdaptiveStep, request)

    def import_files(self, model: str, request: ImportRequest) -> ImportDocument:
        """Import what another tool measured, as cells, or what it decided, as a plan: all of the files, or nothing."""
        return self._at.post(path_of("/v1/models/{model}/imports", model=model), ImportDocument, request)

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
        from planner.importers.source import read_source

        sources = [read_source(path) for path in files]
        try:
            sent = [ImportedFile(name=source.name, text=source.text) for source in sources]
        except (InvalidImportError, ValidationError) as error:
            names = ", ".join(source.name for source in sources)
            msg = (
                f"a request carries texts of at most {IMPORT_LIMIT:,} characters, and importance matrices need the weights: "
                f"import {names} where the service has its database and models, without --url"
            )
            raise InvalidImportError(msg) from error
        return self.import_files(model, ImportRequest(files=sent, tool=tool, options=dict(options or {})))

    @override
    def create_plan(self, request: PlanRequest) -> PlanDocument:
        return self._at.post("/v1/plans", PlanDocument, request)

    @override
    def create_plans(self, batch: PlanBatch) -> PlanBatchAnswer:
        return self._at.post("/v1/plans/batch", PlanBatchAnswer, batch)

    @override
    def list_plans(self, filters: PlanFilters | None = None, *, cursor: str | None = None, limit: int = 50) -> PlanPage:
        query = (filters or PlanFilters()).model_dump(mode="json", exclude_none=True) | {"cursor": cursor, "limit": limit}
        return self._at.get("/v1/plans", PlanPage, query)

    def iter_plans(self, filters: PlanFilters | None = None) -> Iterator[StoredPlan]:
        """All stored plans, newest first, page by page."""
        return _each(lambda cursor: self.list_plans(filters, cursor=cursor, limit=200))

    @override
    def get_plan(self, plan: str) -> PlanDocument:
        return self._at.get(path_of("/v1/plans/{plan}", plan=plan), PlanDocument)

    @override
    def delete_plan(self, plan: str, *, why: str = "") -> None:
        self._at.delete(path_of("/v1/plans/{plan}", plan=plan), {"why": why})

    @override
    def diff_plans(self, plan: str, other: str) -> PlanDiff:
        return self._at.get(path_of("/v1/plans/{plan}/diff/{other}", plan=plan, other=other), PlanDiff)

    @override
    def retarget_plan(self, plan: str, request: RetargetRequest) -> Retargeted:
        return self._at.post(path_of("/v1/plans/{plan}/retarget", plan=plan), Retargeted, request)

    @override
    def explain_plan(self, plan: str, *, layer: str = "*", limit: int = 500) -> PlanExplanation:
        path = path_of("/v1/plans/{plan}/explain", plan=plan)
        return self._at.get(path, PlanExplanation, {"layer": layer, "limit": limit})

    @override
    def pin_plan(self, plan: str, request: PinRequest) -> PlanPin:
        return self._at.put(path_of("/v1/plans/{plan}/pin", plan=plan), PlanPin, request)

    @override
    def get_pin(self, plan: str) -> PlanPin:
        return self._at.get(path_of("/v1/plans/{plan}/pin", plan=plan), PlanPin)

    @override
    def unpin_plan(self, plan: str, *, why: str = "") -> None:
        self._at.delete(path_of("/v1/plans/{plan}/pin", plan=plan), {"why": why})

    @override
    def list_plan_names(self, model: str) -> PlanNameList:
        return self._at.get(path_of("/v1/models/{model}/plan-names", model=model), PlanNameList)

    @override
    def get_plan_name(self, model: str, name: str) -> PlanName:
        return self._at.get(path_of("/v1/models/{model}/plan-names/{name}", model=model, name=name), PlanName)

    @override
    def move_plan_name(self, model: str, name: str, request: MoveName) -> PlanName:
        return self._at.put(path_of("/v1/models/{model}/plan-names/{name}", model=model, name=name), PlanName, request)

    @override
    def remove_plan_name(self, model: str, name: str, *, replaces: str | None = None, why: str = "") -> None:
        path = path_of("/v1/models/{model}/plan-names/{name}", model=model, name=name)
        self._at.delete(path, {"replaces": replaces, "why": why})

    @override
    def list_plan_events(
        self, filters: EventFilters | None = None, *, cursor: str | None = None, limit: int = 50
    ) -> PlanEventPage:
        query = (filters or EventFilters()).model_dump(mode="json", exclude_none=True) | {"cursor": cursor, "limit": limit}
        return self._at.get("/v1/plan-events", PlanEventPage, query)

    def iter_plan_events(self, filters: EventFilters | None = None) -> Iterator[PlanEvent]:
        """The whole trail, newest first, page by page."""
        return _each(lambda cursor: self.list_plan_events(filters, cursor=cursor, limit=200))

    @override
    def export_plan(self, plan: str, target: str | None = None) -> dict[str, Any]:
        return self._at.get_object(path_of("/v1/plans/{plan}/export", plan=plan), {"target": target})

    @override
    def measure_around_plan(self, plan: str, request: MeasureAroundRequest) -> Job:
        return self._at.post(path_of("/v1/plans/{plan}/measure", plan=plan), Job, request)

    @override
    def refine_plan(self, plan: str, request: RefineRequest) -> PlanDocument:
        return self._at.post(path_of("/v1/plans/{plan}/refine", plan=plan), PlanDocument, request)

    @override
    def search_plan(self, plan: str, request: SearchRequest) -> Job:
        return self._at.post(path_of("/v1/plans/{plan}/search", plan=plan), Job, request)

    @override
    def evaluate_plan(self, plan: str, request: EvaluateRequest) -> Job:
        return self._at.post(path_of("/v1/plans/{plan}/evaluate", plan=plan), Job, request)

    @override
    def list_evaluations(self, plan: str) -> Page[Evaluation]:
        return self._at.get(path_of("/v1/plans/{plan}/evaluations", plan=plan), Page[Evaluation])

    @override
    def make_frontier(self, request: FrontierRequest) -> FrontierDocument:
        return self._at.post("/v1/frontiers", FrontierDocument, request)

    @override
    def make_family(self, request: FamilyRequest) -> FamilyDocument:
        return self._at.post("/v1/families/frontier", FamilyDocument, request)

    @override
    def make_split(self, request: SplitRequest) -> SplitDocument:
        return self._at.post("/v1/splits", SplitDocument, request)


def _each(ask: Callable[[str | None], Page[Item]]) -> Iterator[Item]:
    """The items of all pages of a list."""
    cursor = None
    while True:
        page = ask(cursor)
        yield from page.items
        cursor = page.next
        if cursor is None:
            return
