"""What bitplan does for whoever asks: one port, answered by a service over REST or by this process over its own database."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from planner.curve_tools.movement import DEFAULT_RATIO
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


class AbstractOperations(ABC):
    """Every operation that a command asks for, named as REST names it.

    A command takes one of these and does not know who answers. ``model`` is always an id or a name, ``formats`` are names of
    candidate formats and ``layers`` is a shell-style pattern of layer names. All of them raise the error trees of
    ``planner.errors`` and ``sensitivity.errors``, with the same messages and fields whoever answers.
    """

    @contextmanager
    def working(self) -> Iterator[None]:
        """Several jobs follow one after the other: whoever works on them here keeps the model in memory between them."""
        yield

    @abstractmethod
    def list_formats(self) -> FormatList:
        """Every candidate format, fewest bits first."""

    @abstractmethod
    def list_cache_formats(self) -> CacheFormatList:
        """Every format of the keys and of the values in the KV cache, fewest bits first."""

    @abstractmethod
    def list_runtimes(self) -> RuntimeList:
        """Engines that may serve a plan, and what they accept."""

    @abstractmethod
    def list_devices(self) -> DeviceList:
        """Devices that come with bitplan, then stored ones by name."""

    @abstractmethod
    def get_device(self, device: str) -> DeviceDocument:
        """One device: every figure with its source."""

    @abstractmethod
    def create_device(self, request: CreateDevice) -> tuple[DeviceDocument, bool]:
        """Keep a device of one's own. The device, and whether it is new."""

    @abstractmethod
    def delete_device(self, device: str) -> None:
        """Forget a device and its table; plans that were made for it stay."""

    @abstractmethod
    def put_latencies(self, device: str, request: PutLatencies) -> DeviceDocument:
        """Replace what was measured on a device."""

    @abstractmethod
    def get_latencies(self, device: str) -> LatencyTableDocument:
        """What was measured on a device, and how."""

    @abstractmethod
    def register_model(self, request: RegisterModel) -> tuple[Model, bool]:
        """Register a checkpoint; a path is one of the machine that answers. The model, and whether it is new."""

    @abstractmethod
    def list_models(self, *, cursor: str | None = None, limit: int = 50) -> ModelPage:
        """Registered models, newest first; ``limit`` is at most 200."""

    @abstractmethod
    def delete_model(self, model: str) -> None:
        """Forget a model with its layers, cells, jobs, plans and evaluations; the files stay."""

    @abstractmethod
    def list_layers(self, model: str) -> LayerList:
        """The quantizable layers of a model, in model order."""

    @abstractmethod
    def ask_bounds(self, model: str, request: BoundsRequest) -> Bounds:
        """Smallest and largest plan before any measuring."""

    @abstractmethod
    def add_calibration(self, request: CreateCalibration) -> Calibration:
        """Keep a text and how to cut it; its ``source`` is ``builtin`` or a file of this machine, whoever answers."""

    @abstractmethod
    def list_calibrations(self, *, cursor: str | None = None, limit: int = 50) -> CalibrationPage:
        """Calibration sets, newest first; ``limit`` is at most 200."""

    @abstractmethod
    def submit_job(self, request: SubmitSensitivity) -> Job:
        """Queue a sensitivity job."""

    @abstractmethod
    def list_jobs(self, *, model: str | None = None, cursor: str | None = None, limit: int = 50) -> JobPage:
        """Jobs, newest first; ``limit`` is at most 200."""

    @abstractmethod
    def get_job(self, job: str) -> Job:
        """One job and how far it is."""

    @abstractmethod
    def cancel_job(self, job: str) -> Job:
        """Stop a job between two units; what it finished so far is kept."""

    @abstractmethod
    def pause_job(self, job: str) -> Job:
        """Begin no further unit of a job until it is resumed."""

    @abstractmethod
    def resume_job(self, job: str) -> Job:
        """Let a paused job go on."""

    @abstractmethod
    def retry_job(self, job: str) -> Job:
        """Queue a failed or cancelled job again; units that have a result are not run again."""

    @abstractmethod
    def list_workers(self) -> WorkerList:
        """Workers that are there, and those that went within a day."""

    @abstractmethod
    def follow_job(self, job: str) -> Generator[Job]:
        """The job now and whenever it has got further, until it has ended; the last one is final."""

    @abstractmethod
    def list_probe_settings(self, model: str) -> ProbeSettingList:
        """How a model was measured so far, freshest first."""

    @abstractmethod
    def get_curves(
        self,
        model: str,
        *,
        probe: str | None = None,
        setting: str | None = None,
        formats: Sequence[str] | None = None,
        layers: str | None = None,
    ) -> CurvesDocument:
        """The cells of one probe setting, layer by layer in model order."""

    @abstractmethod
    def get_fits(
        self,
        model: str,
        *,
        probe: str | None = None,
        setting: str | None = None,
        formats: Sequence[str] | None = None,
        layers: str | None = None,
    ) -> FitsDocument:
        """The curve α·β^(−bits) of each layer, with residual and R²."""

    @abstractmethod
    def compare_settings(
        self, model: str, first: str, second: str, *, formats: Sequence[str] | None = None, layers: str | None = None
    ) -> ComparisonDocument:
        """Two probe settings, by id or by name of the probe, side by side."""

    @abstractmethod
    def submit_drift(self, model: str, request: SubmitDrift) -> Job:
        """Queue the comparison of a model's weights with those of another checkpoint."""

    @abstractmethod
    def get_drift(
        self, model: str, reference: str, *, formats: Sequence[str] | None = None, ratio: float = DEFAULT_RATIO
    ) -> DriftDocument:
        """How far each layer moved, and in which formats it has to be measured again."""

    @abstractmethod
    def create_link(self, model: str, request: LinkRequest) -> LinkDocument:
        """Fit a monotone link from a cheap probe to exact cells, and store the linked curves."""

    @abstractmethod
    def next_step(self, request: AdaptiveRequest) -> AdaptiveStep:
        """Which exact cells the plans of some budgets hang on."""

    @abstractmethod
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
        """Import files of this machine that another tool wrote, whoever answers: all of them, or nothing.

        ``formats`` and ``rounding`` say what an importance matrix makes output errors for. That needs the weights, so it is
        done in this process or not at all.
        """

    @abstractmethod
    def create_plan(self, request: PlanRequest) -> PlanDocument:
        """Plan now, from stored curves; the plan is stored."""

    @abstractmethod
    def create_plans(self, batch: PlanBatch) -> PlanBatchAnswer:
        """Plan many times now: answers in order, each a plan, which is stored, or a problem."""

    @abstractmethod
    def list_plans(self, filters: PlanFilters | None = None, *, cursor: str | None = None, limit: int = 50) -> PlanPage:
        """Stored plans that the filters let pass, newest first; ``limit`` is at most 200."""

    @abstractmethod
    def get_plan(self, plan: str) -> PlanDocument:
        """One plan, whole."""

    @abstractmethod
    def delete_plan(self, plan: str, *, why: str = "") -> None:
        """Forget a plan with its evaluations. One that is pinned or bears a name stays."""

    @abstractmethod
    def diff_plans(self, plan: str, other: str) -> PlanDiff:
        """What changes from a plan to another one of the same model, or of a fine-tune with the same layers."""

    @abstractmethod
    def retarget_plan(self, plan: str, request: RetargetRequest) -> Retargeted:
        """A plan's question asked again for another runtime: the new plan, stored, and what changed and cost."""

    @abstractmethod
    def explain_plan(self, plan: str, *, layer: str = "*", limit: int = 500) -> PlanExplanation:
        """Why layers have their formats, and what would have to change; ``limit`` is at most 5000."""

    @abstractmethod
    def pin_plan(self, plan: str, request: PinRequest) -> PlanPin:
        """Keep a plan from being deleted. A plan that is pinned already keeps its pin as it is."""

    @abstractmethod
    def get_pin(self, plan: str) -> PlanPin:
        """Since when a plan is pinned, by whom and why."""

    @abstractmethod
    def unpin_plan(self, plan: str, *, why: str = "") -> None:
        """Let a plan be deleted again."""

    @abstractmethod
    def list_plan_names(self, model: str) -> PlanNameList:
        """The names that plans of the model bear now."""

    @abstractmethod
    def get_plan_name(self, model: str, name: str) -> PlanName:
        """The plan that bears a name now."""

    @abstractmethod
    def move_plan_name(self, model: str, name: str, request: MoveName) -> PlanName:
        """Let a name stand for a plan, whichever bore it before."""

    @abstractmethod
    def remove_plan_name(self, model: str, name: str, *, replaces: str | None = None, why: str = "") -> None:
        """Take a name away from the plan that bears it; with ``replaces``, only if that one does."""

    @abstractmethod
    def list_plan_events(
        self, filters: EventFilters | None = None, *, cursor: str | None = None, limit: int = 50
    ) -> PlanEventPage:
        """Who named, pinned or deleted which plan, when and why; newest first, ``limit`` is at most 200."""

    @abstractmethod
    def export_plan(self, plan: str, target: str | None = None) -> dict[str, Any]:
        """A plan in the words of the engine that will load it; by default the first target of its runtime."""

    @abstractmethod
    def measure_around_plan(self, plan: str, request: MeasureAroundRequest) -> Job:
        """Queue a measurement of what single changes of a plan would change."""

    @abstractmethod
    def refine_plan(self, plan: str, request: RefineRequest) -> PlanDocument:
        """The next plan, stored: a short step from this one that is surely better; this one itself where there is none."""

    @abstractmethod
    def search_plan(self, plan: str, request: SearchRequest) -> Job:
        """Queue an evolutionary search from a plan."""

    @abstractmethod
    def evaluate_plan(self, plan: str, request: EvaluateRequest) -> Job:
        """Queue a measurement of a plan on held-out text."""

    @abstractmethod
    def list_evaluations(self, plan: str) -> Page[Evaluation]:
        """What was measured of a plan, the newest job first."""

    @abstractmethod
    def make_frontier(self, request: FrontierRequest) -> FrontierDocument:
        """Size against predicted loss, from the smallest plan to the largest."""

    @abstractmethod
    def make_family(self, request: FamilyRequest) -> FamilyDocument:
        """Several models under one byte budget: frontiers on one yardstick, the best model at each budget, where it changes."""

    @abstractmethod
    def make_split(self, request: SplitRequest) -> SplitDocument:
        """One model over two devices with a link between them: the best split point, and the formats of both sides."""
