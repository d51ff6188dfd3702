"""What each of two devices holds and takes time for, at every split point of a model.

The store knows of tensors that are no layers only how many bytes they are together. So a side is never counted too small: the
front has all of them, the back of a split all but the token embedding, and that too where it is also the head.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

import solvers
from planner.budget import DTYPE_BITS, Meter, unquantized_kv_bytes
from planner.build import Classes, GroupCurves
from planner.devices import (
    Device,
    Phase,
    Remainder,
    fixed_picoseconds,
    latency_table,
    measured_entries,
)
from planner.devices.latency import HEAD, picoseconds
from planner.runtimes import get_runtime
from planner.runtimes.rest import BYTES_OF_DTYPE, Rest
from planner.schemas.plans import Question
from planner.schemas.splits import SplitRequest, SplitSide
from planner.services.devices import get_device
from planner.services.metering import summed_times
from planner.services.planning_inputs import load_layers, rest_of
from planner.services.preparing import Prepared, prepare
from planner.solving import pose_problem
from planner.solving.rows import Row
from sensitivity.checkpoint.description import Layer


@dataclass(frozen=True, slots=True)
class Fixed:
    """What is taken of a device beside the planned layers; nothing by default.

    Attributes:
        unquantized_bytes: of everything that is not planned.
        kv_bytes: of the caches of its blocks.
        workspace_bytes: left free.
        picoseconds: time of everything that is not planned, reads of the caches among it.
    """

    unquantized_bytes: int = 0
    kv_bytes: int = 0
    workspace_bytes: int = 0
    picoseconds: int = 0


@dataclass(frozen=True)
class Part:
    """What lies on one device at one split point.

    Attributes:
        blocks: transformer blocks that lie here.
        classes: groups of the planned layers that lie here.
        curves: their losses.
        times: int64 (groups, formats): picoseconds to decode one token of each sequence; 0 where not legal.
        measured: bool (layers, formats): whose times were measured.
        ignored: layers that lie here unquantized.
        fixed: what is taken beside the planned layers.
        memory_bytes: the limit.
    """

    blocks: int
    classes: Classes
    curves: GroupCurves
    times: NDArray[np.int64]
    measured: NDArray[np.bool_]
    ignored: tuple[Layer, ...]
    fixed: Fixed
    memory_bytes: int

    @property
    def meter(self) -> Meter:
        """How stored bits become bytes of the device."""
        fixed = self.fixed
        return Meter(8, 8 * (fixed.unquantized_bytes + fixed.kv_bytes + fixed.workspace_bytes), whole=True)

    @property
    def room(self) -> int:
        """Bits that the planned layers may take; negative when the rest alone is over the limit."""
        return self.meter.room(self.memory_bytes)

    @property
    def least_bytes(self) -> int:
        """Bytes of its smallest plan, with everything else."""
        return int(self.meter.value(self.classes.smallest_bits))

    @property
    def made_of(self) -> str:
        """What makes these bytes, in words; empty where nothing lies here."""
        fixed = self.fixed
        parts = (
            (-(-self.classes.smallest_bits // 8), f"of its {len(self.classes.layers)} planned layers"),
            (fixed.unquantized_bytes, "of what is not planned"),
            (fixed.kv_bytes, "of KV cache"),
            (fixed.workspace_bytes, "of workspace"),
        )
        return ", ".join(f"{size:,} bytes {words}" for size, words in parts if size)

    @cached_property
    def least_picoseconds(self) -> int:
        """Time of its fastest plan, whatever memory that takes."""
        return self.fixed.picoseconds + self.time_row.least(self.classes.legal)

    @property
    def memory_row(self) -> Row:
        """Its bits as a limit."""
        return Row("bytes of memory", self.classes.sizes, self.room)

    @property
    def time_row(self) -> Row:
        """Its times, without a limit of their own."""
        return Row("seconds to decode a token", self.times, 0)

    @cached_property
    def problem(self) -> solvers.Problem:
        """Its least loss within its memory."""
        return pose_problem(self.classes, self.curves, self.room)

    def priced(self, price: float) -> solvers.Problem:
        """The same with a price of a picosecond added to the losses."""
        problem = self.problem
        return solvers.Problem(loss=problem.loss + price * self.times, sizes=problem.sizes, budgets=problem.budgets)

    def bits(self, choice: NDArray[np.int64]) -> int:
        """Stored bits of an assignment, int64 (groups,)."""
        return self.memory_row.taken(choice)

    def used_bytes(self, choice: NDArray[np.int64]) -> int:
        """Bytes of the device that an assignment takes, with everything else."""
        return int(self.meter.value(self.bits(choice)))

    def picoseconds(self, choice: NDArray[np.int64]) -> int:
        """Time of one token of each sequence."""
        return self.fixed.picoseconds + self.time_row.taken(choice)

    def fastest_within_memory(self, stop: solvers.Deadline) -> int:
        """No assignment that the memory holds takes fewer picoseconds, all else included; exact unless the time ran out."""
        if not self.classes.groups:
            return self.fixed.picoseconds
        times = np.where(self.classes.legal, self.times.astype(np.float64), np.inf)
        problem = solvers.Problem(loss=times, sizes=self.problem.sizes, budgets=self.problem.budgets)
        found = solvers.solve(problem, solvers.Mckp(), deadline=stop.remaining())
        return self.fixed.picoseconds + max(0, int(np.ceil(found.lower_bound)))


@dataclass(frozen=True)
class Side:
    """One device of a split, and the model as its runtime sees it.

    Attributes:
        spec: as asked for.
        is_front: it has the embedding; else the head.
        prepared: layer groups and curves for its runtime.
        device: its figures.
        layers: all layers of the model.
        context: tokens in the cache of a sequence.
        batch: sequences at once.
    """

    spec: SplitSide
    is_front: bool
    prepared: Prepared
    device: Device
    layers: tuple[Layer, ...]
    context: int
    batch: int

    @property
    def blocks(self) -> int:
        """Of the whole model."""
        return self.prepared.selected.model.blocks

    @cached_property
    def rest(self) -> Rest:
        """What the model has beside its layers."""
        return rest_of(self.prepared.selected.model, self.layers)

    @cached_property
    def head_is_embedding(self) -> bool:
        """The head is no layer of its own."""
        return all(layer.kind != HEAD for layer in self.layers)

    @cached_property
    def embedding_bytes(self) -> int:
        """Of the token embedding, no more than it really has."""
        return self.rest.embedding_parameters * BYTES_OF_DTYPE.get(self.rest.dtype, 2)

    @cached_property
    def rest_bytes(self) -> int:
        """Of everything that is no layer, wherever it lies."""
        return get_runtime(self.spec.runtime).rest_bytes(self.rest)

    @cached_property
    def _times(self) -> NDArray[np.int64]:
        classes = self.prepared.posed.classes
        runtime = get_runtime(self.spec.runtime)
        of_layers = latency_table(
            self.device, classes.layers, classes.formats, runtime, phase=Phase.DECODE, batch=self.batch, tokens=self.context
        )
        return summed_times(of_layers, classes)

    def part(self, split: int) -> Part:
        """What lies here when the first ``split`` blocks are on the front; what is tied lies within one block.

        Raises:
            InvalidRequestError: a time beyond all bounds.
        """
        blocks = split if self.is_front else self.blocks - split
        here = self._is_here(split, blocks)
        classes, curves, groups = _taken(self.prepared.posed.classes, self.prepared.posed.curves, here)
        ignored = tuple(layer for layer in self.prepared.selected.ignored if here(layer))
        return Part(
            blocks=blocks,
            classes=classes,
            curves=curves,
            times=self._times[groups],
            measured=measured_entries(self.device, classes.layers, classes.formats),
            ignored=ignored,
            fixed=self._fixed(blocks, ignored, [layer for layer in self.layers if here(layer)]),
            memory_bytes=self.spec.memory_bytes,
        )

    def _is_here(self, split: int, blocks: int) -> Callable[[Layer], bool]:
        """Layers outside of the blocks (a head) lie on the back, unless everything is on the front."""
        if blocks in (0, self.blocks):
            return lambda layer: blocks > 0
        return lambda layer: (layer.block is not None and layer.block < split) == self.is_front

    def _fixed(self, blocks: int, ignored: Sequence[Layer], layers: Sequence[Layer]) -> Fixed:
        if not blocks:
            return Fixed()
        model = self.prepared.selected.model
        total = unquantized_kv_bytes(model.kv_elements_per_token, context=self.context, batch=self.batch)
        kv_bytes = -(-total * blocks // self.blocks)
        whole = blocks == self.blocks
        rest = Remainder(
            layers=layers,
            ignored=ignored,
            dtype=model.dtype,
            vocab_size=model.vocab_size,
            unquantized_bytes=self.rest_bytes,
            has_head=whole or not self.is_front,
        )
        time = fixed_picoseconds(self.device, rest, phase=Phase.DECODE, batch=self.batch, tokens=self.context)
        reached = self.device.pools[0].bandwidth.value * self.device.profile.bandwidth_share.value
        without_embedding = not (whole or self.is_front or self.head_is_embedding)
        unquantized = max(0, self.rest_bytes - self.embedding_bytes) if without_embedding else self.rest_bytes
        as_they_are = sum(layer.parameters for layer in ignored) * DTYPE_BITS.get(model.dtype, 16) // 8
        return Fixed(unquantized + as_they_are, kv_bytes, self.spec.workspace_bytes, time + picoseconds(kv_bytes / reached))


def load_sides(session: Session, request: SplitRequest) -> tuple[Side, Side]:
    """Both devices with the model as their runtimes see it, front first; both plan with the curves of one setting.

    Raises:
        NotFoundError: no such model, device or probe setting.
        InvalidRequestError: unknown runtime, rules that contradict each other or the model, cells that nobody measured.
    """
    front = _prepared(session, request, request.front, request.setting)
    back = _prepared(session, request, request.back, front.inputs.setting.id)
    layers = load_layers(session, front.selected.model.id)

    def side(spec: SplitSide, prepared: Prepared, *, is_front: bool) -> Side:
        return Side(spec, is_front, prepared, get_device(session, spec.device), layers, request.context, request.batch)

    return side(request.front, front, is_front=True), side(request.back, back, is_front=False)


def _prepared(session: Session, request: SplitRequest, spec: SplitSide, setting: str | None) -> Prepared:
    shared = set(Question.model_fields) & set(SplitRequest.model_fields) - {"formats", "setting"}
    own = {"runtime": spec.runtime, "formats": spec.formats or request.formats, "setting": setting}
    return prepare(session, Question.model_validate(request.model_dump(include=shared) | own))


def _taken(
    classes: Classes, curves: GroupCurves, here: Callable[[Layer], bool]
) -> tuple[Classes, GroupCurves, NDArray[np.int64]]:
    """The groups that lie somewhere, with their losses and their indices."""
    groups = [group for group, members in enumerate(classes.groups) if here(classes.layers[members[0]])]
    layers = sorted(index for group in groups for index in classes.groups[group])
    places = {index: place for place, index in enumerate(layers)}
    members = tuple(tuple(places[index] for index in classes.groups[group]) for group in groups)
    kept = np.array(groups, dtype=np.int64)
    part = Classes(tuple(classes.layers[i] for i in layers), classes.formats, members, classes.sizes[kept], classes.legal[kept])
    return part, GroupCurves(curves.loss[kept], curves.standard_error[kept], curves.notes), kept
