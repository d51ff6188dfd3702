"""What a plan says of K and V caches."""

import numpy as np
from numpy.typing import NDArray

from planner.schemas.choices import GroupChoice, KVChoice, NextFormat
from planner.services.cache_inputs import CacheInputs
from planner.services.whole_problem import WholeProblem
from planner.solving import Solved
from planner.solving.caches import TENSORS


def kv_choices(caches: CacheInputs | None, whole: WholeProblem, solved: Solved, *, context: int, batch: int) -> list[KVChoice]:
    """What the plan gives every cache, in model order; nothing where they are not planned."""
    if caches is None or whole.caches is None:
        return []
    columns = whole.of_caches(solved.proved.choice)
    found = []
    for cache, group in zip(caches.caches, whole.caches.group_of_layer.tolist(), strict=True):
        column = whole.caches.formats[int(columns[group])]
        found.append(
            KVChoice(
                layer=cache.layer.name,
                block=cache.layer.block,
                tensor=cache.tensor.value,
                group=group,
                format=column.of_tensor[cache.tensor].name,
                size_bits=cache.size_bits(column, context=context, batch=batch),
            )
        )
    return found


def kv_groups(whole: WholeProblem, solved: Solved) -> list[GroupChoice]:
    """What the plan gives every group of caches, and why."""
    if whole.caches is None:
        return []
    return [_group(whole, solved, group) for group in range(whole.weight_groups, len(whole.classes.groups))]


def _group(whole: WholeProblem, solved: Solved, group: int) -> GroupChoice:
    classes, curves = whole.classes, whole.curves
    column, up = int(solved.proved.choice[group]), int(solved.next_up[group])
    members = classes.groups[group]
    following = None
    if up >= 0:
        following = NextFormat(
            format=whole.format_name(members[0], up),
            more_bits=int(classes.sizes[group, up] - classes.sizes[group, column]),
            loss_change=float(curves.loss[group, up] - curves.loss[group, column]),
        )
    return GroupChoice(
        layers=[classes.layers[i].name for i in members],
        format=classes.formats[column].name if len(members) > 1 else whole.format_name(members[0], column),
        size_bits=int(classes.sizes[group, column]),
        predicted_loss=float(curves.loss[group, column]),
        standard_error=float(curves.standard_error[group, column]),
        next_up=following,
        fragile=bool(solved.fragile[group]),
    )


def uniform_formats(whole: WholeProblem, choice: NDArray[np.int64]) -> dict[str, str]:
    """Format of all keys and of all values of a uniform assignment, by tensor; empty where caches are not planned."""
    if whole.caches is None:
        return {}
    columns, of_layer = whole.of_caches(choice), whole.caches.group_of_layer
    found: dict[str, str] = {}
    for cache, group in zip(whole.caches.layers, of_layer.tolist(), strict=True):
        tensor = TENSORS[cache.kind]
        found.setdefault(tensor.value, whole.caches.formats[int(columns[group])].of_tensor[tensor].name)
    return found
