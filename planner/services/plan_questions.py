"""A stored plan's question asked again: by the curves, and the cells of caches, that the plan stands on."""

from typing import Any

from sqlalchemy.orm import Session

from planner.schemas.plans import PlanDocument
from planner.storage.cells import measured_formats


def asked_again(document: PlanDocument) -> dict[str, Any]:
    """Fields of a request that name what the plan stands on, whatever was measured since; all others are as they were asked.

    A plan of an earlier version does not know which formats of caches were measured: it asks for those of now.
    """
    return {
        "model": document.model,
        "formats": document.formats,
        "setting": document.provenance.setting,
        "kv_setting": document.provenance.kv_setting,
        "kv_formats": document.kv_formats or document.request.kv_formats,
        "probe": None,
        "rounding": None,
    }


def measured_since(session: Session, document: PlanDocument) -> str | None:
    """Which of a plan's curves have cells that were measured after it was made, in words; ``None`` where none have."""
    newer = {row.setting_id for row in measured_formats(session, document.model) if row.measured_at > document.created_at}
    known = document.provenance
    found = [
        *(["these curves"] if known.setting in newer else []),
        *(["the curves of the caches"] if known.kv_setting in newer else []),
    ]
    return " and ".join(found) or None
