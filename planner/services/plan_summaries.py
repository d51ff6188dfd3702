"""What people see of a stored plan beside the table of its layers: read once, and remembered.

A plan of 45,000 layers is a document of 18 MB: to read it takes a quarter of a second, and a page shows little of it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.schemas.plans import PlanDocument
from planner.schemas.tiles import PlanTile
from planner.services.plan_layers import PlanLayers, plan_layers
from planner.services.plan_views import bits_of, tiles, view_plan
from planner.services.plans import no_plan
from planner.storage.database import Database
from planner.storage.tables import ModelRow, PlanRow

_TILE_BYTES: Final = 1000
_TIMES_TEXT: Final = 5
"""About how many times the length of its JSON a document takes."""


@dataclass(frozen=True, slots=True, eq=False)
class PlanSummary:
    """A stored plan.

    Attributes:
        facts: the document, without its choices and groups.
        layers: how many it plans.
        groups: of them.
        fragile: groups that another format would win if losses moved by one standard error.
        kinds: of its layers, in model order.
        formats: layers of each format, the fewest bits first.
        tiles: its layers, and the caches where they are planned.
    """

    facts: PlanDocument
    layers: int
    groups: int
    fragile: int
    kinds: tuple[str, ...]
    formats: Mapping[str, int]
    tiles: tuple[PlanTile, ...]

    @property
    def bytes(self) -> int:
        """About what it takes of memory."""
        return _TIMES_TEXT * len(self.facts.model_dump_json()) + _TILE_BYTES * len(self.tiles)


def plan_summary(session: Session, plan_id: str) -> PlanSummary:
    """A stored plan beside its layers.

    Raises:
        NotFoundError: no such plan.
    """
    heads = select(ModelRow.heads, ModelRow.kv_heads).join(PlanRow, PlanRow.model_id == ModelRow.id)
    known = session.execute(heads.where(PlanRow.id == plan_id)).one_or_none()
    if known is None:
        raise no_plan(plan_id)
    return Database.of(session).memory.recall(
        ("plan summary", plan_id),
        lambda: _summarize(session, plan_id),
        size=lambda made: made.bytes,
        version=tuple(known),  # which tiles of caches depend on; a plan itself never changes
    )


def _summarize(session: Session, plan_id: str) -> PlanSummary:
    view = view_plan(session, plan_id)
    layers = plan_layers(session, plan_id, view)
    return PlanSummary(
        facts=view.facts,
        layers=len(layers.names),
        groups=len(layers.fragile),
        fragile=int(np.count_nonzero(layers.fragile)),
        kinds=tuple(dict.fromkeys(layers.kinds)),
        formats=_counts(layers),
        tiles=tuple(tiles(session, view)),
    )


def _counts(layers: PlanLayers) -> dict[str, int]:
    counts = Counter(layers.formats)
    bits = bits_of(counts)
    return {name: counts[name] for name in sorted(counts, key=lambda name: (bits[name], name))}
