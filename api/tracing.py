"""OpenTelemetry, as FastAPI has it built in: spans and metrics of requests, sent only where the environment says so.

Nothing leaves the process unless ``OTEL_EXPORTER_OTLP_ENDPOINT`` (or that of one signal) is set and the extra ``otel`` is
installed; FastAPI warns if it is not. A provider that the embedding process set is used as it is.
"""

from collections.abc import MutableMapping
from typing import Any

from fastapi.telemetry import TelemetryConfig

from api.routes.health import HEALTH_PATHS


def telemetry() -> TelemetryConfig:
    """The setting of ``FastAPI(telemetry=)``. Its log records stay off: they would carry the texts of exceptions."""
    return {"auto_configure": True, "logs": False, "exclude": _is_health}


def _is_health(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in HEALTH_PATHS
