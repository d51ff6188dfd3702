"""The HTTP service. Start it with `bitplan serve`; any ASGI server can run ``create_app``."""

from asyncio import get_running_loop
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.exceptions import ExceptionMiddleware

from api import openapi, problems
from api.access import Access
from api.admission import Admission
from api.callers import Keyring
from api.entity_tags import EntityTags
from api.housekeeping import housekeeping
from api.job_watch import JobWatch
from api.metrics import Metrics
from api.observing import Observed
from api.plan_desk import PlanDesk
from api.readiness import Readiness
from api.request_context import BodyLimit, RequestContext
from api.routes import (
    adaptive,
    calibrations,
    catalogue,
    curve_tools,
    devices,
    drifts,
    explanations,
    families,
    forecasts,
    frontiers,
    health,
    imports,
    jobs,
    links,
    models,
    plan_names,
    plan_previews,
    plans,
    retargets,
    searches,
    splits,
    workers,
)
from api.stopping import on_stop
from api.token_buckets import TokenBuckets
from api.tracing import telemetry
from api.turns import Turns
from api.web import pages, sign_in
from planner.settings import Settings
from planner.storage.database import Database
from planner.versions import BITPLAN_VERSION

MAX_BODY_BYTES = 40 * 2**20
# Endpoints are bound by the interpreter and by the database's one writer: more threads only wait for each other, each with
# memory of its own. Requests beyond these wait in the order in which they came.
THREADS = 4


def create_app(settings: Settings | None = None, database: Database | None = None) -> FastAPI:
    """The service over one database.

    Args:
        settings: of this process; read from the environment by default.
        database: an open database, which stays the caller's to close; by default the one that the settings name.

    Raises:
        InvalidRequestError: an environment variable without a usable value.
        StorageError: the database URL is malformed.
    """
    settings = settings or Settings.load()
    used = Database(settings.resolved_database_url) if database is None else database

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = THREADS
        let_go = partial(get_running_loop().call_soon_threadsafe, app.state.watch.close)
        with on_stop(let_go):
            async with housekeeping(used, app.state.keyring):
                yield
        if database is None:
            used.close()

    app = FastAPI(
        title="bitplan",
        version=BITPLAN_VERSION,
        description="Measure once what each format costs each layer; then plan any bit budget in milliseconds, with a proof.",
        lifespan=lifespan,
        telemetry=telemetry(),
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
    )
    app.state.settings = settings
    app.state.database = used
    app.state.metrics = Metrics(used)
    app.state.readiness = Readiness(used)
    app.state.watch = JobWatch(used)
    app.state.desk = PlanDesk(used)
    app.state.previews, app.state.curves = Turns(), Turns()  # apart: a curve of all budgets takes as long as many plans
    app.state.keyring = Keyring(used)
    app.state.buckets = _buckets(settings)
    foreseen = problems.install(app)
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(EntityTags)
    app.add_middleware(Access, keyring=app.state.keyring, buckets=app.state.buckets, require_key=settings.require_key)
    app.add_middleware(Admission, max_requests=settings.max_requests, seconds=settings.request_seconds)
    app.add_middleware(ExceptionMiddleware, handlers=foreseen)
    app.add_middleware(RequestContext)
    app.add_middleware(Observed, metrics=app.state.metrics)  # the last is the outermost: it sees what others refuse
    for module in (  # routes are tried in this order: what is asked by the hundred comes first
        health,
        plans,
        catalogue,
        models,
        links,
        adaptive,
        curve_tools,
        drifts,
        devices,
        calibrations,
        imports,
        jobs,
        forecasts,
        plan_names,
        plan_previews,
        frontiers,
        retargets,
        explanations,
        families,
        splits,
        searches,
        workers,
    ):
        app.include_router(module.router)
    pages.install(app)
    app.include_router(sign_in.router)
    openapi.install(app)
    return app


def _buckets(settings: Settings) -> TokenBuckets | None:
    rate = settings.requests_per_second
    return TokenBuckets(rate, max(1.0, 2 * rate)) if rate else None


def _operation_id(route: APIRoute) -> str:
    """The function's name: what a generated client calls the operation."""
    return route.name
