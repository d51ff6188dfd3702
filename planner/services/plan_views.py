"""A stored plan for people: all that it says beside its layers, and its layers as tiles or a page at a time.

A plan of 45,000 layers is a document of 18 MB of which nobody looks at more than a page. It is read as JSON, and only what is
looked at is made into documents.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.orm import Session

from planner.schemas.plans import PlanDocument
from planner.schemas.tiles import PlanTile
from planner.services.layer_tiles import LayerTile, model_tiles
from planner.services.plan_parts import load_plan
from planner.services.plan_tiles import by_count
from planner.services.plans import no_plan
from sensitivity.formats.families import get_cell_format
from sensitivity.formats.kv_cache import KVCacheFormat
from sensitivity.formats.registry import resolve_format

_SHAPE: Final = (4096, 4096)


@dataclass(frozen=True, slots=True)
class PlanView:
    """A stored plan.

    Attributes:
        facts: the document, without its choices and groups.
        choices: fields of ``Choice`` of each layer, in model order.
        groups: fields of ``GroupChoice`` of each layer group.
    """

    facts: PlanDocument
    choices: Sequence[Mapping[str, Any]]
    groups: Sequence[Mapping[str, Any]]


def view_plan(session: Session, plan_id: str) -> PlanView:
    """A stored plan, its layers as they were written.

    Raises:
        NotFoundError: no such plan.
    """
    stored = load_plan(session, plan_id)
    if stored is None:
        raise no_plan(plan_id)
    document = stored.raw()
    choices, groups = document["choices"], document["groups"]
    return PlanView(PlanDocument.model_validate(document | {"choices": [], "groups": []}), choices, groups)


def tiles(session: Session, view: PlanView, other: PlanView | None = None) -> list[PlanTile]:
    """Layers by tile, in model order, and the caches where they are planned.

    Args:
        session: where the layers of the model are read.
        view: a plan.
        other: what it is compared with; layers that this one does not plan are no changes.

    Raises:
        NotFoundError: the model is gone.
    """
    model = model_tiles(session, view.facts.model)
    there = {} if other is None else {choice["layer"]: choice["format"] for choice in _choices(other)}
    choices = list(_choices(view))
    places = model.places_of(choice["layer"] for choice in choices)
    found: dict[int, _Counted] = {}
    for choice, at, weights in zip(choices, model.tile[places].tolist(), model.weights[places].tolist(), strict=True):
        name = choice["format"]
        tile = found.get(at) or found.setdefault(at, _Counted())
        tile.formats[name] += 1
        tile.changed += there.get(choice["layer"], name) != name
        is_cache = "tensor" in choice
        tile.bits += (get_cell_format(name).num_bits or 0) if is_cache else choice["size_bits"]
        tile.elements += 1 if is_cache else weights
    return [found[at].document(model.tiles[at]) for at in sorted(found)]


def tiles_json(found: Iterable[PlanTile]) -> list[dict[str, Any]]:
    """Tiles as scripts of the page read them."""
    return [tile.model_dump() for tile in found]


@dataclass(slots=True)
class _Counted:
    """What the layers of a tile have, summed."""

    formats: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    bits: int = 0
    elements: int = 0

    def document(self, tile: LayerTile) -> PlanTile:
        return PlanTile(
            **tile.named(self.formats.total()),
            bits=self.bits / self.elements,
            formats=by_count(self.formats),
            changed=self.changed,
        )


def bits_of(formats: Iterable[str]) -> dict[str, float]:
    """Format → bits that it takes an element: of weights in a matrix of 4096 × 4096, of caches as they are named."""
    return {name: _bits(name) for name in formats}


def _choices(view: PlanView) -> Iterator[Mapping[str, Any]]:
    yield from view.choices
    yield from (cache.model_dump() for cache in view.facts.kv)


def _bits(name: str) -> float:
    fmt = get_cell_format(name)
    if isinstance(fmt, KVCacheFormat):
        return float(fmt.num_bits)
    return resolve_format(name).size_bits(_SHAPE) / math.prod(_SHAPE)
