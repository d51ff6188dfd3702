"""Plans that are only looked at: solved and proven like those that are kept, answered compactly, and forgotten."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

import solvers
from planner.runtimes import get_runtime
from planner.schemas.plan_previews import Change, PlanPreview, PreviewProof
from planner.schemas.plans import PlanRequest, Prediction
from planner.services.asking import Asked, ask
from planner.services.caveats import confidence
from planner.services.kept_limits import kept_limits
from planner.services.layer_tiles import LayerTiles, model_tiles
from planner.services.plan_documents import Answered, binding, bit_price, size_under
from planner.services.plan_notes import plan_notes
from planner.services.plan_references import references
from planner.services.plan_tiles import Tiling, tiling_of
from planner.services.plans import solve_asked
from planner.services.posing import unit_of
from planner.services.preparing import prepare
from planner.solving import BITS_PER_MEGABYTE, Solved

MOST_CHANGES: Final = 8
MOST_NAMES: Final = 4
"""Layers of a change that are named."""


def preview_plan(session: Session, request: PlanRequest, *, aggregate: bool = False) -> PlanPreview:
    """Solve and prove a request without storing it; raises what ``make_plan`` raises.

    Args:
        session: where curves are read.
        request: the question. Its alternatives are not looked for, and formats outside of its menu neither.
        aggregate: leave out the choice of every single layer.
    """
    prepared = prepare(session, request)
    asked = ask(session, prepared, request)
    found = solve_asked(asked, solvers.Deadline.after(request.deadline_seconds))
    answered, solved = Answered(asked, found, None), found.solved
    setting, choice = prepared.inputs.setting, solved.proved.choice
    limits = kept_limits(asked, solved, found.smallest, found.items)
    smallest, largest = _ends(asked)
    tiling = _tiling(session, asked)
    upgrades, downgrades = _changes(asked, solved, tiling.model)
    return PlanPreview(
        model=prepared.selected.model.id,
        model_name=prepared.selected.model.name,
        runtime=request.runtime,
        formats=[fmt.name for fmt in asked.whole.posed.classes.formats],
        size=size_under(answered, choice),
        smallest=size_under(answered, smallest),
        largest=size_under(answered, largest),
        predicted=Prediction(
            loss=solved.proved.loss,
            standard_error=solved.proved.standard_error,
            unit=unit_of(setting),
            probe=setting.probe,
        ),
        proof=PreviewProof(
            status=solved.proved.status.name.lower(),
            advice=solved.proved.advice,
            lower_bound=solved.proved.lower_bound,
            gap=solved.proved.gap,
            solver=solved.proved.solver,
            solve_seconds=solved.seconds,
        ),
        binding=binding(answered, limits),
        price_per_megabyte=bit_price(answered) * BITS_PER_MEGABYTE,
        limits=limits,
        references=references(session, answered),
        confidence=confidence(asked.whole.posed.classes, asked.whole.posed.curves, answered.of_weights, setting),
        upgrades=upgrades,
        downgrades=downgrades,
        tiles=tiling.tiles(asked.whole, choice, get_runtime(request.runtime)),
        ignored=len(prepared.selected.ignored),
        notes=plan_notes(answered),
        choices=None if aggregate else asked.whole.of_weights(choice)[asked.whole.posed.classes.group_of_layer].tolist(),
    )


def _ends(asked: Asked) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The smallest and the largest assignment, int64 (groups,)."""
    classes = asked.whole.classes
    if not classes.groups:
        return (np.empty(0, dtype=np.int64),) * 2
    smallest = np.where(classes.legal, classes.sizes, np.iinfo(np.int64).max).argmin(axis=1)
    return smallest, np.where(classes.legal, classes.sizes, -1).argmax(axis=1)


def _tiling(session: Session, asked: Asked) -> Tiling:
    """The tiles of the question, remembered with its problems."""
    selected = asked.prepared.selected
    every = None if selected.ignored else selected.layers
    return asked.prepared.problems.recall(
        "tiles",
        lambda: tiling_of(asked.whole, model_tiles(session, selected.model.id, every)),
        size=lambda made: made.bytes,
    )


def _changes(asked: Asked, solved: Solved, tiles: LayerTiles) -> tuple[list[Change], list[Change]]:
    """Groups in a larger format by the loss that a bit of it saves, and groups in a smaller one by the loss that a bit costs."""
    classes, loss, choice = asked.whole.classes, asked.whole.curves.loss, solved.proved.choice
    if not len(choice):
        return [], []
    rows = np.arange(len(choice))
    more = classes.sizes - classes.sizes[rows, choice][:, None]
    change = loss - loss[rows, choice][:, None]
    legal = np.isfinite(loss)
    price = np.divide(-change, more, out=np.zeros_like(change), where=legal & (more != 0))
    saved = np.where(legal & (more > 0) & (change < 0), price, 0.0)
    cost = np.where(legal & (more < 0) & (change >= 0), price, np.inf)
    return (
        [_change(asked, solved, tiles, group, column) for group, column in _first(-saved) if saved[group, column] > 0],
        [_change(asked, solved, tiles, group, column) for group, column in _first(cost) if np.isfinite(cost[group, column])],
    )


def _first(worth: NDArray[np.float64]) -> list[tuple[int, int]]:
    """The groups with the least number, the least first, and where they have it."""
    columns = worth.argmin(axis=1)
    least = worth[np.arange(len(columns)), columns]
    groups = np.argsort(least, kind="stable")[:MOST_CHANGES].tolist()
    return [(group, int(columns[group])) for group in groups]


def _change(asked: Asked, solved: Solved, tiles: LayerTiles, group: int, other: int) -> Change:
    whole, column = asked.whole, int(solved.proved.choice[group])
    members, sizes, loss = whole.classes.groups[group], whole.classes.sizes[group], whole.curves.loss[group]
    names = [whole.classes.layers[i].name for i in members]
    return Change(
        layers=names[:MOST_NAMES],
        count=len(names),
        name=tiles.in_words(names),
        from_format=whole.format_name(members[0], column),
        to_format=whole.format_name(members[0], other),
        more_bits=int(sizes[other] - sizes[column]),
        loss_change=float(loss[other] - loss[column]),
    )
