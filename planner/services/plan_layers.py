"""The layers of a stored plan a page at a time, as a table searches them.

A plan of 45,000 layers is a document of 18 MB. It is read once and remembered by its columns, in a third of that, so that the
next letter of a search reads nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.errors import InvalidRequestError
from planner.services.collector import collector_paused
from planner.services.layer_tiles import LayerTiles, model_tiles
from planner.services.plan_views import PlanView, view_plan
from planner.services.plans import no_plan
from planner.storage.database import Database
from planner.storage.tables import PlanRow

Order = Literal["model", "size", "loss", "bits"]
ORDERS: Final[tuple[Order, ...]] = ("model", "size", "loss", "bits")

_LAYER_BYTES: Final = 120
"""Of a layer beside its name: the string's own header, its place in each column, and its group."""


@dataclass(frozen=True, slots=True)
class PlanLayer:
    """A layer of a plan, with what its group costs.

    Attributes:
        layer: its name.
        kind: its kind.
        block: its block; ``None`` outside of the blocks.
        format: candidate format that it is stored in.
        bits: stored bits a weight.
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
        text: part of the name, or with a ``*`` a pattern of whole names as rules have it; case does not matter.
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


EVERY_LAYER: Final = LayerSearch()


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


@dataclass(frozen=True, slots=True, eq=False)
class PlanLayers:
    """The layers of a plan by column: those of the layers in model order, then those of their groups.

    Attributes:
        names, kinds, blocks, formats, size_bits: of each layer, as ``PlanLayer`` has them.
        weights: of each layer, int64.
        group: of each layer, int64.
        sharing, loss, standard_error, next_format, next_change, fragile: of each group.
    """

    names: Sequence[str]
    kinds: Sequence[str]
    blocks: Sequence[int | None]
    formats: Sequence[str]
    size_bits: NDArray[np.int64]
    weights: NDArray[np.int64]
    group: NDArray[np.int64]
    sharing: NDArray[np.int64]
    loss: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    next_format: Sequence[str | None]
    next_change: Sequence[float | None]
    fragile: NDArray[np.bool_]

    @classmethod
    def of(cls, view: PlanView, model: LayerTiles) -> "PlanLayers":
        """Those of a plan that was read, of the model."""
        same: dict[str, str] = {}  # one string for all layers that have it
        words = {name: [same.setdefault(choice[name], choice[name]) for choice in view.choices] for name in ("kind", "format")}
        following: list[Mapping[str, Any]] = [group["next_up"] or {} for group in view.groups]
        names = [choice["layer"] for choice in view.choices]
        return cls(
            names=names,
            kinds=words["kind"],
            blocks=[choice["block"] for choice in view.choices],
            formats=words["format"],
            size_bits=np.array([choice["size_bits"] for choice in view.choices], dtype=np.int64),
            weights=model.weights[model.places_of(names)],
            group=np.array([choice["group"] for choice in view.choices], dtype=np.int64),
            sharing=np.array([len(group["layers"]) for group in view.groups], dtype=np.int64),
            loss=np.array([group["predicted_loss"] for group in view.groups], dtype=np.float64),
            standard_error=np.array([group["standard_error"] for group in view.groups], dtype=np.float64),
            next_format=[same.setdefault(up["format"], up["format"]) if up else None for up in following],
            next_change=[up.get("loss_change") for up in following],
            fragile=np.array([group["fragile"] for group in view.groups], dtype=np.bool_),
        )

    @property
    def bytes(self) -> int:
        """About what it takes of memory."""
        return sum(map(len, self.names)) + _LAYER_BYTES * len(self.names)


def plan_layers(session: Session, plan_id: str, view: PlanView | None = None) -> PlanLayers:
    """The layers of a stored plan.

    Args:
        session: where to read.
        plan_id: which plan.
        view: the plan, where it was read already.

    Raises:
        NotFoundError: no such plan.
    """
    if view is None and session.scalar(select(PlanRow.id).where(PlanRow.id == plan_id)) is None:
        raise no_plan(plan_id)
    found: PlanLayers = Database.of(session).memory.recall(
        ("plan layers", plan_id),
        lambda: _columns(session, view or view_plan(session, plan_id)),
        size=lambda made: made.bytes,
    )
    return found


def _columns(session: Session, view: PlanView) -> PlanLayers:
    model = model_tiles(session, view.facts.model)
    with collector_paused:
        return PlanLayers.of(view, model)


def find_layers(layers: PlanLayers, search: LayerSearch, *, offset: int = 0, limit: int = 100) -> LayerPage:
    """A page of the layers that are looked for.

    Raises:
        InvalidRequestError: an order that there is not.
    """
    if search.order not in ORDERS:
        msg = f"layers have no order {search.order!r}: use one of {', '.join(ORDERS)}"
        raise InvalidRequestError(msg)
    found = _matching(layers, search)
    keys: dict[str, Callable[[int], float]] = {
        "size": lambda i: int(layers.size_bits[i]),
        "loss": lambda i: float(layers.loss[layers.group[i]]),
        "bits": lambda i: int(layers.size_bits[i]) / int(layers.weights[i]),
    }
    if search.order != "model":
        found.sort(key=keys[search.order], reverse=True)
    items = [_layer(layers, i) for i in found[offset : offset + limit]]
    return LayerPage(items, offset, len(found), len(layers.names))


def _matching(layers: PlanLayers, search: LayerSearch) -> list[int]:
    """Positions of the layers that are looked for, in model order."""
    if replace(search, order="model") == EVERY_LAYER:
        return list(range(len(layers.names)))
    text = search.text.lower()
    is_met: Callable[[str], bool] = (lambda name: fnmatchcase(name, text)) if "*" in text else (lambda name: text in name)
    columns = zip(layers.names, layers.kinds, layers.blocks, layers.formats, strict=True)
    return [
        position
        for position, (name, kind, block, fmt) in enumerate(columns)
        if search.kind in ("", kind) and search.block in (None, block) and search.format in ("", fmt) and is_met(name.lower())
    ]


def _layer(layers: PlanLayers, position: int) -> PlanLayer:
    group, size_bits = int(layers.group[position]), int(layers.size_bits[position])
    return PlanLayer(
        layer=layers.names[position],
        kind=layers.kinds[position],
        block=layers.blocks[position],
        format=layers.formats[position],
        bits=size_bits / int(layers.weights[position]),
        size_bits=size_bits,
        shared_with=int(layers.sharing[group]) - 1,
        loss=float(layers.loss[group]),
        standard_error=float(layers.standard_error[group]),
        next_format=layers.next_format[group],
        next_change=layers.next_change[group],
        fragile=bool(layers.fragile[group]),
    )
