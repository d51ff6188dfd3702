"""What would be: operations that compute an answer and keep nothing."""

from planner.client.addresses import path_of
from planner.client.connection import Connection
from planner.schemas.inspections import Inspection
from planner.schemas.jobs import JobForecast, SubmitSensitivity
from planner.schemas.models import RegisterModel
from planner.schemas.plan_previews import PlanPreview
from planner.schemas.plans import EvaluateRequest, PlanRequest
from planner.schemas.sensitivity_maps import SensitivityMap


class LookingAhead:
    """The part of a client that changes nothing of the service; ``planner.client.Client`` is the whole one."""

    _at: Connection

    def inspect_model(self, request: RegisterModel) -> Inspection:
        """What registering a checkpoint would store."""
        return self._at.post("/v1/models/inspect", Inspection, request)

    def forecast_job(self, request: SubmitSensitivity) -> JobForecast:
        """What a sensitivity job would be and take."""
        return self._at.post("/v1/jobs/forecast", JobForecast, request)

    def forecast_evaluation(self, plan: str, request: EvaluateRequest) -> JobForecast:
        """What the evaluation of a plan would be and take."""
        return self._at.post(path_of("/v1/plans/{plan}/evaluate/forecast", plan=plan), JobForecast, request)

    def get_sensitivity(self, model: str, *, probe: str | None = None, setting: str | None = None) -> SensitivityMap:
        """The losses of one probe setting by tile: a layer, or the experts of a projection in a block."""
        return self._at.get(
            path_of("/v1/models/{model}/sensitivity", model=model), SensitivityMap, {"probe": probe, "setting": setting}
        )

    def preview_plan(self, request: PlanRequest, *, aggregate: bool = False) -> PlanPreview:
        """The answer to a plan request without keeping it; with ``aggregate`` by tile alone."""
        return self._at.post("/v1/plans/preview", PlanPreview, request, {"aggregate": aggregate})
