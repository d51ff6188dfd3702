"""A worker with the real handlers: what `bitplan worker`, `bitplan serve` and the command line run."""

from datetime import timedelta
from functools import cache
from pathlib import Path

import torch

from planner.jobs.sql_engine import SqlJobEngine
from planner.settings import Settings
from planner.storage.database import Database
from planner.worker.clerk import Clerk
from planner.worker.drift_handler import DriftHandler
from planner.worker.handlers import EvaluationHandler, SensitivityHandler
from planner.worker.loaded_models import LoadedModels
from planner.worker.loop import Worker
from planner.worker.memory import total_bytes
from planner.worker.refinement_handler import RefinementHandler


def make_worker(database: Database, settings: Settings, *, poll_seconds: float = 0.5, clerk: Clerk | None = None) -> Worker:
    """A worker on an upgraded database; all workers of a process, one after the other, share the model in memory."""
    torch.set_num_threads(settings.torch_threads)
    models = _loaded_models(database, settings.model_roots, settings.worker_memory_bytes)
    handlers = {
        "sensitivity": SensitivityHandler(models),
        "evaluation": EvaluationHandler(models),
        "refinement": RefinementHandler(models),
        "drift": DriftHandler(database, settings.model_roots),
    }
    return Worker(
        SqlJobEngine(database, lease_seconds=settings.lease_seconds),
        handlers,
        labels=settings.worker_labels,
        memory_bytes=settings.worker_memory_bytes or total_bytes(),
        retention=timedelta(days=settings.job_retention_days),
        poll_seconds=poll_seconds,
        clerk=clerk,
    )


@cache
def _loaded_models(database: Database, roots: tuple[Path, ...] | None, most_bytes: int | None) -> LoadedModels:
    return LoadedModels(database, roots, most_bytes)
