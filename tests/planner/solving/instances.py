"""Small planning problems with counts, and what brute force says of them."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from planner.build import Classes, GroupCurves, build_classes
from planner.rules import Rules
from planner.runtimes import get_runtime
from planner.solving import PosedCount
from tests.planner.strategies import ladder, llama_layers

FORMATS = ("INT3_G64", "INT4_G64", "INT8_G64")


def tied(blocks: int = 1) -> Classes:
    """Layer groups of the runtime that ties q/k/v and gate/up: 4 groups of 3, 1, 2 and 1 layers a block."""
    return build_classes(llama_layers(blocks), ladder(*FORMATS), get_runtime("vllm"), Rules())


def noisy(classes: Classes, seed: int, *, error: float = 0.3) -> GroupCurves:
    rng = np.random.default_rng(seed)
    bits = np.array([fmt.num_bits for fmt in classes.formats])
    loss = rng.lognormal(size=(len(classes.groups), 1)) * 2.0**-bits * rng.lognormal(0.0, 0.2, classes.legal.shape)
    return GroupCurves(loss, error * loss * rng.random(loss.shape), ())


def assignments(classes: Classes) -> Iterator[NDArray[np.int64]]:
    for columns in itertools.product(range(len(classes.formats)), repeat=len(classes.groups)):
        yield np.array(columns, dtype=np.int64)


def size_of(classes: Classes, choice: NDArray[np.int64]) -> int:
    return int(classes.sizes[np.arange(len(choice)), choice].sum())


def loss_of(curves: GroupCurves, choice: NDArray[np.int64]) -> float:
    return float(curves.loss[np.arange(len(choice)), choice].sum())


def layers_counted(posed: PosedCount, classes: Classes, choice: NDArray[np.int64]) -> int:
    """Counted one layer at a time, from the words of the count."""
    count, found = posed.count, 0
    for group, members in enumerate(classes.groups):
        fmt = classes.formats[int(choice[group])]
        marked = fmt.name in count.formats if count.above_bits is None else fmt.num_bits > count.above_bits
        matching = [i for i in members if count.pattern == "*" or classes.layers[i].name.endswith(count.pattern.lstrip("*"))]
        found += len(matching) * marked
    return found


def keeps(counts: Sequence[PosedCount], classes: Classes, choice: NDArray[np.int64]) -> bool:
    for posed in counts:
        number, count = layers_counted(posed, classes, choice), posed.count
        if count.at_most is not None and number > count.at_most:
            return False
        if count.at_least is not None and number < count.at_least:
            return False
    return True
