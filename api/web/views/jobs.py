"""Jobs: the list, one of them as it goes, who works on them, and where to start another."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy.orm import Session

from api.dependencies import Cursor, DatabaseOf, Identity, Limit
from api.web.rendering import render
from planner.errors import NotFoundError
from planner.jobs.job import JobState
from planner.schemas.catalogue import ProbeDocument
from planner.schemas.jobs import Job
from planner.schemas.plan_keeping import PlanFilters
from planner.services import calibrations, catalogue, jobs, models, plan_listing, workers
from planner.services.family_choices import model_names
from planner.services.job_drafts import EVALUATION
from sensitivity.calibration import BUILTIN
from sensitivity.probe_facts import get_facts
from sensitivity.rounding_facts import all_rounding_facts

_SHOWN = 25
_OFFERED = 100
router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
OfModel = Annotated[str | None, Query(max_length=200)]
InState = Annotated[str | None, Query(max_length=20)]


@router.get("/jobs")
def list_jobs(
    request: Request, database: DatabaseOf, model: OfModel = None, state: InState = None, cursor: Cursor = None
) -> HTMLResponse:
    """Jobs, newest first; workers; forms that start a measurement or an evaluation."""
    try:
        with database.read_session() as session:
            found = models.get_model(session, model) if model else None
            texts = calibrations.list_calibrations(session, limit=_OFFERED).items
            context = {
                "model": found,
                "calibrations": texts,
                "has_builtin": any(text.source == BUILTIN for text in texts),
                "plans": plan_listing.list_plans(session, PlanFilters(model=found.id if found else None), limit=_OFFERED),
                "workers": workers.list_workers(session).items,
                **part_of(session, model=found.id if found else None, state=_state(state), cursor=cursor, named=True),
            }
    except NotFoundError as error:
        return render(request, "missing.html", status_code=404, message=str(error))
    return render(
        request,
        "jobs.html",
        states=list(JobState),
        probes=_probes(),
        roundings=[facts.name for facts in all_rounding_facts()],
        catalogue=_catalogue(),
        state=state,
        **context,
    )


@router.get("/jobs/{job}")
def show_job(request: Request, job: Identity, database: DatabaseOf) -> HTMLResponse:
    """One job: how far it is, what it does, and what failed."""
    try:
        with database.read_session() as session:
            found = jobs.get_job(session, job)
            model = models.get_model(session, found.model)
            seen = workers.list_workers(session).items
            asked = _asked(session, found.request)
    except NotFoundError as error:
        return render(request, "missing.html", status_code=404, message=str(error))
    return render(
        request,
        "job.html",
        job=found,
        model=model.name,
        first=_data(found),
        asked=asked,
        result=_result(found),
        workers=seen,
    )


@router.get("/parts/jobs")
def job_part(
    request: Request,
    database: DatabaseOf,
    model: OfModel = None,
    state: InState = None,
    cursor: Cursor = None,
    limit: Limit = _SHOWN,
    named: bool = False,
) -> HTMLResponse:
    """The rows of a list, for a page that has them already."""
    with database.read_session() as session:
        context = part_of(session, model=model, state=_state(state), cursor=cursor, limit=limit, named=named)
    return render(request, "job_part.html", **context)


@router.get("/parts/workers")
def worker_part(request: Request, database: DatabaseOf) -> HTMLResponse:
    """Workers as they are now."""
    with database.read_session() as session:
        return render(request, "worker_part.html", workers=workers.list_workers(session).items)


@router.get("/parts/plan-options")
def plan_options(request: Request, database: DatabaseOf, model: OfModel = None, cursor: Cursor = None) -> HTMLResponse:
    """Older plans, for a form that has some already."""
    with database.read_session() as session:
        found = plan_listing.list_plans(session, PlanFilters(model=model), cursor=cursor, limit=_OFFERED)
        names = _names(session, model)
    return render(request, "plan_options_part.html", plans=found, names=names, model=model)


def part_of(
    session: Session,
    *,
    model: str | None = None,
    state: JobState | None = None,
    cursor: str | None = None,
    limit: int = _SHOWN,
    named: bool = False,
) -> dict[str, Any]:
    """What ``job_part.html`` shows: jobs, newest first, of one model or in one state if asked for.

    Args:
        session: where to read.
        model: of which model.
        state: in which state.
        cursor: what the previous page gave.
        limit: jobs of the page.
        named: with the names of the models.
    """
    found = jobs.list_jobs(session, model=model, state=state, cursor=cursor, limit=limit)
    asked = {"model": model, "state": state, "cursor": cursor, "limit": limit, "named": named or None}
    given = {name: str(value) for name, value in asked.items() if value is not None}
    return {
        "jobs": found.items,
        "following": found.next,
        "live": any(not job.state.is_final for job in found.items),
        "query": urlencode(given),
        "query_without_cursor": urlencode({name: value for name, value in given.items() if name in ("model", "state")}),
        "names": _names(session, model) if named else {},
        "nothing": "No job is in this state." if state else "No job was submitted yet.",
    }


def _names(session: Session, model: str | None) -> dict[str, str]:
    """Names of the models that jobs are of, by their ids: that of the asked one however old it is."""
    found = model_names(session)
    if model is not None and model not in found:
        known = models.get_model(session, model)
        found = {known.id: known.name, **found}
    return found


def _state(word: str | None) -> JobState | None:
    """The state of that name; ``None`` for any other word."""
    return JobState(word) if word in list(JobState) else None


def _data(job: Job) -> dict[str, Any]:
    """What the page's script shows first, as an event of the job's stream has it, without its long tables."""
    memory = job.request.get("memory")
    return job.model_dump(mode="json", exclude={"request"}) | {"request": {} if memory is None else {"memory": memory}}


def _asked(session: Session, request: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the worker was told to do, in words."""
    found = [(words, str(request[name])) for name, words in _PLAIN.items() if request.get(name) not in (None, {}, "")]
    if request.get("calibration_id"):
        found.append(("text", _text(session, request["calibration_id"])))
    if request.get("formats"):
        found.append(("formats", ", ".join(request["formats"])))
    if request.get("layers"):
        found.append(("layers", f"{len(request['layers']):,}"))
    if request.get("cells"):
        found.append(("cells", f"{sum(map(len, request['cells'].values())):,} named one by one"))
    if request.get("assignments"):
        found.append(("measured", ", ".join(request["assignments"])))
    return found


def _text(session: Session, calibration: str) -> str:
    """The name of a text; the beginning of its id if it is gone."""
    try:
        return calibrations.get_calibration(session, calibration).name
    except NotFoundError:
        return calibration[:12]


_PLAIN: Mapping[str, str] = {
    "probe": "probe",
    "probe_parameters": "hyper-parameters",
    "plan_id": "plan",
    "rounding": "rounding",
    "seed": "seed",
    "streaming": "blocks read one at a time",
}


def _result(job: Job) -> str:
    """Where what the job found is shown."""
    if job.kind == EVALUATION and job.request.get("plan_id"):
        return f"/plans/{job.request['plan_id']}"
    return f"/models/{job.model}/sensitivity"


def _probes() -> list[ProbeDocument]:
    """Probes that a measurement can be started with: not those around a plan, which start at the plan."""
    return [probe for probe in catalogue.list_probes().items if not get_facts(probe.name).around_plan]


def _catalogue() -> dict[str, Any]:
    """What the form chooses from: probes with their usual formats, the formats of each family, and what needs text."""
    return {
        "probes": {probe.name: probe.model_dump(mode="json") for probe in _probes()},
        "formats": {
            "weights": [{"name": item.name, "bits": item.effective_bits} for item in catalogue.list_formats().items],
            "kv_cache": [{"name": item.name, "bits": item.effective_bits} for item in catalogue.list_cache_formats().items],
            "any": [],
        },
        "roundings_on_text": [facts.name for facts in all_rounding_facts() if facts.needs_inputs],
    }
