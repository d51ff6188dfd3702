"""A stored plan for people: all that it says beside its layers, and its layers as tiles or a page at a time.

A plan of 45,000 layers is a document of 18 MB of which nobody looks at more than a page. It is read as JSON, and only what is
looked at is made into documents.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sqlalchemy.orm import Session

from planner.errors import InvalidRequestError
from planner.schemas.plans import PlanDocument
from planner.schemas.tiles import PlanTile
from planner.services.layer_tiles import LayerTile, model_tiles
from planner.services.plan_tiles import by_count
from planner.services.plans import no_plan
from planner.storage.tables import PlanDocumentRow
from sensitivity.formats.families import get_cell_format
from sensitivity.formats.kv_cache import KVCacheFormat
from sensitivity.formats.registry import resolve_format

_SHAPE: Final = (4096, 4096)
Order = Literal["model", "size", "loss", "bits"]
ORDERS: Final[tuple[Order, ...]] = ("model", "size", "loss", "bits")


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


@dataclass(frozen=True, slots=True)
class PlanLayer:
    """A layer of a plan, with what its group costs.

    Attributes:
        layer: its name.
        kind: its kind.
        block: its block; ``None`` outside of the blocks.
        format: candidate format that it is stored in.
        bits: what this format takes an element, in a matrix of 4096 × 4096.
        size_bits: exact stored bits of the layer.
        shared_with: other layers of its group, which share the format.
        loss: predicted loss of the group.
        standard_error: of ``loss``.
        next_format: what the group would take next; ``None`` at the largest that helps.
        next_change: predicted loss there minus here; ``None`` likewise.
        fragile: another format would win if losses moved by one standard error.
    """

    layer: str
    kind: str
    block: int | None
    format: str
    bits: float
    size_bits: int
    shared_with: int
    loss: float
    standard_error: float
    next_format: str | None
    next_change: float | None
    fragile: bool


@dataclass(frozen=True, slots=True)
class LayerSearch:
    """Which layers of a plan, and in which order.

    Attributes:
        text: part of the name; case does not matter.
        kind: of this kind; empty for every one.
        block: of this block; ``None`` for every one.
        format: in this format; empty for every one.
        order: ``model`` for the model's own; else the most first.
    """

    text: str = ""
    kind: str = ""
    block: int | None = None
    format: str = ""
    order: Order = "model"

    def takes(self, choice: Mapping[str, Any]) -> bool:
        """Whether a choice is looked for."""
        return (
            self.text.lower() in choice["layer"].lower()
            and self.kind in ("", choice["kind"])
            and self.block in (None, choice["block"])
            and self.format in ("", choice["format"])
        )


@dataclass(frozen=True, slots=True)
class LayerPage:
    """Some layers of a plan.

    Attributes:
        items: the layers of this page.
        offset: layers before them.
        matched: layers that were looked for, on every page.
        total: layers of the plan.
    """

    items: Sequence[PlanLayer]
    offset: int
    matched: int
    total: int

    @property
    def following(self) -> int | None:
        """Offset of the next page; ``None`` on the last one."""
        end = self.offset + len(self.items)
        return end if end < self.matched else None


def view_plan(session: Session, plan_id: str) -> PlanView:
    """A stored plan, its layers as they were written.

    Raises:
        NotFoundError: no such plan.
    """
    row = session.get(PlanDocumentRow, plan_id)
    if row is None:
        raise no_plan(plan_id)
    document = json.loads(row.document)
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


def find_layers(view: PlanView, search: LayerSearch, *, offset: int = 0, limit: int = 100) -> LayerPage:
    """A page of the layers that are looked for.

    Raises:
        InvalidRequestError: an order that there is not.
    """
    if search.order not in ORDERS:
        msg = f"layers have no order {search.order!r}: use one of {', '.join(ORDERS)}"
        raise InvalidRequestError(msg)
    bits = bits_of({choice["format"] for choice in view.choices})
    found = [choice for choice in view.choices if search.takes(choice)]
    keys: dict[str, Callable[[Mapping[str, Any]], float]] = {
        "size": lambda choice: choice["size_bits"],
        "loss": lambda choice: view.groups[choice["group"]]["predicted_loss"],
        "bits": lambda choice: bits[choice["format"]],
    }
    if search.order != "model":
        found.sort(key=keys[search.order], reverse=True)
    items = [_layer(view, choice, bits) for choice in found[offset : offset + limit]]
    return LayerPage(items, offset, len(found), len(view.choices))


def _choices(view: PlanView) -> Iterator[Mapping[str, Any]]:
    yield from view.choices
    yield from (cache.model_dump() for cache in view.facts.kv)


def _bits(name: str) -> float:
    fmt = get_cell_format(name)
    if isinstance(fmt, KVCacheFormat):
        return float(fmt.num_bits)
    return resolve_format(name).size_bits(_SHAPE) / math.prod(_SHAPE)


def _layer(view: PlanView, choice: Mapping[str, Any], bits: Mapping[str, float]) -> PlanLayer:
    group = view.groups[choice["group"]]
    following = group["next_up"] or {}
    return PlanLayer(
        layer=choice["layer"],
        kind=choice["kind"],
        block=choice["block"],
        format=choice["format"],
        bits=bits[choice["format"]],
        size_bits=choice["size_bits"],
        shared_with=len(group["layers"]) - 1,
        loss=group["predicted_loss"],
        standard_error=group["standard_error"],
        next_format=following.get("format"),
        next_change=following.get("loss_change"),
        fragile=group["fragile"],
    )
