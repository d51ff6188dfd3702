"""What a plan is looked at beside: uniform formats, and the stock recipes of its runtime, by the same curves."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.errors import UnmeasuredError
from planner.runtimes.stock_recipes import STOCK_RECIPES
from planner.schemas.plan_previews import ReferencePoint
from planner.services.asking import ask
from planner.services.plan_documents import Answered, size_under
from planner.services.preparing import prepare

MOST_FREED: Final = 10_000
"""Layers up to which the rules of a request leave its references alone: a larger model has room in memory for one problem."""

_RULES: Final = ("pins", "floors", "ceilings", "menus")


def references(session: Session, answered: Answered) -> list[ReferencePoint]:
    """Uniform formats that the engine has for every layer, and its stock recipes whose formats are candidates, small first.

    They are not bound by the pins, floors, ceilings and menus of the request: of a very large model, and where these keep
    formats away that nobody measured, only those that keep them are given. Memory pools leave none: an assignment of formats
    says nothing of places.
    """
    if answered.asked.pools:
        return []
    return sorted(_points(_freed(session, answered)), key=lambda point: point.size.layer_bits)


def _freed(session: Session, answered: Answered) -> Answered:
    """The answer over the problem without the rules of its request."""
    request = answered.request
    given = [name for name in _RULES if getattr(request, name)]
    if not given or len(answered.posed.classes.layers) > MOST_FREED:
        return answered
    free = request.model_copy(update={name: {} for name in given})
    try:
        return replace(answered, asked=ask(session, prepare(session, free), free))
    except UnmeasuredError:  # of formats that only the rules keep away
        return answered


def _points(answered: Answered) -> Iterator[ReferencePoint]:
    classes = answered.posed.classes
    if not classes.groups:
        return
    for column in np.flatnonzero(classes.legal.all(axis=0)).tolist():
        yield _reference(
            answered, f"uniform {classes.formats[column].name}", np.full(len(classes.groups), column, dtype=np.int64)
        )
    columns = {fmt.name: column for column, fmt in enumerate(classes.formats)}
    for recipe in STOCK_RECIPES.get(answered.request.runtime, ()):
        wanted = recipe.formats(classes.layers, answered.selected.model.blocks)
        if wanted is None or not columns.keys() >= set(wanted):
            continue
        of_layer = np.array([columns[name] for name in wanted], dtype=np.int64)
        choice = of_layer[[members[0] for members in classes.groups]]
        is_whole = (choice[classes.group_of_layer] == of_layer).all()  # tied layers agree
        if is_whole and classes.legal[np.arange(len(choice)), choice].all():
            yield _reference(answered, recipe.name, choice)


def _reference(answered: Answered, label: str, weights: NDArray[np.int64]) -> ReferencePoint:
    asked = answered.asked
    choice = answered.solved.proved.choice.copy()
    choice[: len(weights)] = weights
    most_loss = answered.request.budget.max_loss
    cells, curves = (np.arange(len(choice)), choice), asked.whole.curves
    loss = float(curves.loss[cells].sum())
    objective = loss + answered.request.caution * float(np.linalg.norm(curves.standard_error[cells]))
    kept = all(limit.row.taken(choice) <= limit.room for limit in asked.limits)
    counted = all(row.taken(choice) <= row.limit for row in asked.rows)
    return ReferencePoint(
        label=label,
        loss=loss,
        size=size_under(answered, choice),
        fits=kept and counted and (most_loss is None or objective <= most_loss),
    )
