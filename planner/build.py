"""From layers, curves, a runtime and rules to a multiple-choice knapsack over layer groups, with the way back."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Generic

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeVar

from planner.curves import Curves
from planner.errors import PinConflictError, UnmeasuredError
from planner.rules import Rules, allowed
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.abstract import AbstractFormat
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.statistics import CellStatus

ColumnT_co = TypeVar("ColumnT_co", bound=AbstractFormat, covariant=True, default=CandidateFormat)
"""Kind of the formats of layer groups: of weights, unless it is said."""


@dataclass(frozen=True)
class Classes(Generic[ColumnT_co]):
    """Layer groups with their exact sizes: all of the problem that needs no measurement.

    Attributes:
        layers: planned layers.
        formats: candidate formats.
        groups: indices into ``layers``, one tuple per layer group (a class of the knapsack).
        sizes: int64 (groups, formats): stored bits of the whole group; 0 where not legal.
        legal: bool (groups, formats): every member may take the format.
    """

    layers: tuple[Layer, ...]
    formats: tuple[ColumnT_co, ...]
    groups: tuple[tuple[int, ...], ...]
    sizes: NDArray[np.int64]
    legal: NDArray[np.bool_]

    @cached_property
    def group_of_layer(self) -> NDArray[np.int64]:
        """Index of the group of each layer."""
        return _group_of_layer(self.groups, len(self.layers))

    @cached_property
    def group_weights(self) -> NDArray[np.float64]:
        """Weights of each group's layers, float64 (groups,)."""
        of_layers = np.array([layer.out_features * layer.in_features for layer in self.layers], dtype=np.float64)
        return np.bincount(self.group_of_layer, weights=of_layers, minlength=len(self.groups)).astype(np.float64)

    @cached_property
    def group_layers(self) -> NDArray[np.int64]:
        """How many layers each group has, int64 (groups,)."""
        return np.array([len(members) for members in self.groups], dtype=np.int64)

    @cached_property
    def smallest_bits(self) -> int:
        """Bits of the smallest assignment."""
        return int(np.where(self.legal, self.sizes, np.iinfo(np.int64).max).min(axis=1, initial=2**62).sum())

    @cached_property
    def largest_bits(self) -> int:
        """Bits of the largest assignment."""
        return int(np.where(self.legal, self.sizes, 0).max(axis=1, initial=0).sum())


def build_classes(
    layers: Sequence[Layer],
    formats: Sequence[CandidateFormat],
    runtime: RuntimeProfile,
    rules: Rules,
    *,
    groups: Sequence[tuple[int, ...]] | None = None,
) -> Classes:
    """Merge tied layers and intersect what runtime and rules allow; needs no measurement.

    Args:
        layers: planned layers.
        formats: candidate formats.
        runtime: the engine that will serve the plan.
        rules: pins, floors, ceilings and menus.
        groups: layer groups as indices into ``layers``, no finer than the runtime's; by default the runtime's.

    Raises:
        InvalidRequestError: a rule that matches nothing or names a format that is no candidate.
        PinConflictError: a group that is left without a format.
    """
    sizes, storable = layer_sizes(layers, formats, runtime)
    legal = allowed(rules, layers, formats) & storable
    chosen = tuple(runtime.groups(layers) if groups is None else groups)
    of_layer = _group_of_layer(chosen, len(layers))
    group_legal = np.ones((len(chosen), len(formats)), dtype=bool)
    np.logical_and.at(group_legal, of_layer, legal)
    group_sizes = np.zeros((len(chosen), len(formats)), dtype=np.int64)
    np.add.at(group_sizes, of_layer, sizes)
    classes = Classes(tuple(layers), tuple(formats), chosen, np.where(group_legal, group_sizes, 0), group_legal)
    _refuse_stuck_groups(classes, legal, runtime)
    return classes


def _group_of_layer(groups: Sequence[tuple[int, ...]], layers: int) -> NDArray[np.int64]:
    result = np.empty(layers, dtype=np.int64)
    result[[index for members in groups for index in members]] = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    result.setflags(write=False)
    return result


def layer_sizes(
    layers: Sequence[Layer], formats: Sequence[CandidateFormat], runtime: RuntimeProfile
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Stored bits and storability, both (layers, formats); layers of one kind and shape are computed once."""
    rows: dict[tuple[str, tuple[int, int]], tuple[list[int], list[bool]]] = {}
    for layer in layers:
        key = (layer.kind, layer.shape)
        if key not in rows:
            storable = [runtime.refusal(fmt, layer) is None for fmt in formats]
            size = [runtime.size_bits(fmt, layer.shape) if ok else 0 for fmt, ok in zip(formats, storable, strict=True)]
            rows[key] = (size, storable)
    table = [rows[layer.kind, layer.shape] for layer in layers]
    shape = (len(layers), len(formats))
    sizes = np.array([row[0] for row in table], dtype=np.int64).reshape(shape)
    return sizes, np.array([row[1] for row in table], dtype=bool).reshape(shape)


_TIED: Final = "Tied layers must share one format: change the pins or add a format that all can take"
_UNSERVED: Final = (
    "Measure or import (`bitplan measure`, `bitplan import`) formats that this runtime has for these layers, or leave them as "
    "they are with `ignore`"
)


def _refuse_stuck_groups(classes: Classes, legal: NDArray[np.bool_], runtime: RuntimeProfile) -> None:
    stuck = np.flatnonzero(~classes.legal.any(axis=1))
    if not stuck.size:
        return
    members = classes.groups[int(stuck[0])]
    lines, unserved = [], False
    for index in members[:4]:
        layer = classes.layers[index]
        names = [fmt.name for fmt, ok in zip(classes.formats, legal[index], strict=True) if ok]
        refusals = [runtime.refusal(fmt, layer) for fmt in classes.formats]
        unserved |= all(refusals)
        why = next(filter(None, refusals), "pinned elsewhere")
        lines.append(f"{layer.name} may take {', '.join(names) or f'none ({why})'}")
    msg = (
        f"{stuck.size} layer groups are left without a common format in runtime {runtime.name!r}: {'; '.join(lines)}. "
        f"{_UNSERVED if unserved else _TIED}"
    )
    raise PinConflictError(msg, layers=[classes.layers[i].name for i in members])


@dataclass(frozen=True, slots=True)
class GroupCurves:
    """Losses of layer groups, ready for a solver.

    Attributes:
        loss: float64 (groups, formats): sum over the members; ``inf`` where not legal.
        standard_error: float64 (groups, formats): members taken as independent; unknown errors count as 0.
        notes: what was assumed, in words.
    """

    loss: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    notes: tuple[str, ...]


def group_curves(classes: Classes, curves: Curves) -> GroupCurves:
    """Sum measured losses over the members of each group.

    A cell that could not be measured (``non_finite``) takes its format away from the group. A routed expert that saw no
    token takes the largest loss measured among its siblings (same block, kind and format): never a free ride.

    Raises:
        UnmeasuredError: legal cells that nobody measured, or experts whose siblings saw no token either.
        PinConflictError: a group whose every legal format failed to be measured.
    """
    loss, status, notes = _with_imputed_experts(classes, curves)
    legal = classes.legal[classes.group_of_layer]
    _refuse_unmeasured(classes, legal, status)
    failed = legal & (status != CellStatus.MEASURED)
    if failed.any():
        notes.append(f"{int(failed.sum())} cells could not be measured; their formats are not offered to those layers")
    clean = np.where(status == CellStatus.MEASURED, loss, np.inf)
    error = np.where(np.isfinite(curves.standard_error), curves.standard_error, 0.0)
    of_layer = classes.group_of_layer
    group_loss = np.zeros(classes.legal.shape)
    np.add.at(group_loss, of_layer, clean)
    variance = np.zeros(classes.legal.shape)
    np.add.at(variance, of_layer, np.square(error))
    group_loss[~classes.legal] = np.inf
    stuck = np.flatnonzero(~np.isfinite(group_loss).any(axis=1))
    if stuck.size:
        names = [classes.layers[i].name for i in classes.groups[int(stuck[0])]]
        msg = f"no legal format of {', '.join(names[:4])} could be measured: look at the cells' status, or pin other formats"
        raise PinConflictError(msg, layers=names)
    return GroupCurves(group_loss, np.sqrt(variance), tuple(notes))


def measured_groups(classes: Classes, curves: Curves) -> NDArray[np.bool_]:
    """Which formats ``group_curves`` can sum the losses of, bool (groups, formats): those with a cell of every member."""
    _, status, _ = _with_imputed_experts(classes, curves)
    known = np.ones_like(classes.legal)
    np.logical_and.at(known, classes.group_of_layer, ~_unmeasured(status))
    return known


def _unmeasured(status: NDArray[np.str_]) -> NDArray[np.bool_]:
    missing: NDArray[np.bool_] = (status == "") | (status == CellStatus.NO_TOKENS)
    return missing


def _refuse_unmeasured(classes: Classes, legal: NDArray[np.bool_], status: NDArray[np.str_]) -> None:
    missing = legal & _unmeasured(status)
    if not missing.any():
        return
    rows, columns = np.nonzero(missing)
    formats = sorted({classes.formats[int(k)].name for k in columns})
    first = classes.layers[int(rows[0])].name
    tokens = int((legal & (status == CellStatus.NO_TOKENS)).sum())
    why = f" ({tokens} of them belong to experts that saw no token: give a longer calibration text)" if tokens else ""
    msg = (
        f"{rows.size} cells are not measured{why}: formats {', '.join(formats)}, first layer {first!r}. "
        f"Run a sensitivity job for these formats, or leave them out of the request"
    )
    raise UnmeasuredError(msg, cells=int(rows.size), formats=formats, layers=[classes.layers[int(i)].name for i in rows[:20]])


def _with_imputed_experts(classes: Classes, curves: Curves) -> tuple[NDArray[np.float64], NDArray[np.str_], list[str]]:
    silent = curves.status == CellStatus.NO_TOKENS
    if not silent.any():
        return curves.loss, curves.status, []
    loss, status = curves.loss.copy(), curves.status.copy()
    siblings: dict[tuple[int | None, str], list[int]] = {}
    for index, layer in enumerate(classes.layers):
        if layer.expert is not None:
            siblings.setdefault((layer.block, layer.kind), []).append(index)
    filled = 0
    for members in siblings.values():
        block = curves.loss[members]
        measured = curves.status[members] == CellStatus.MEASURED
        largest = np.where(measured, block, -np.inf).max(axis=0)
        here = silent[members] & np.isfinite(largest)
        loss[members] = np.where(here, largest, block)
        status[members] = np.where(here, CellStatus.MEASURED.value, status[members])
        filled += int(here.sum())
    note = f"{filled} cells of experts that saw no token take the largest loss of their block's other experts"
    return loss, status, [note]
