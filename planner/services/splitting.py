"""Split computing: the best place to cut a model between two devices, with the formats of both sides, proven by a scan."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

import solvers
from planner.budget import Meter
from planner.devices import PICOSECONDS
from planner.devices.latency import ACTIVATION_BYTES
from planner.errors import BudgetBelowFloorError, InvalidRequestError
from planner.schemas.splits import SplitDocument, SplitLink, SplitPart, SplitPlan, SplitProof, SplitRequest, SplitRow
from planner.services.posing import provenance_of, unit_of
from planner.services.split_parts import Part, Side, load_sides
from planner.services.split_scan import Found, Outcome, Point, is_above, scan

NOT_STORED: Final = (
    "a split is an answer, not a stored plan: `assignment` of both sides is what each device's engine is to be given"
)
TIED: Final = "the head is the token embedding: where the model is split it is counted on both sides"


def make_split(session: Session, request: SplitRequest) -> SplitDocument:
    """The split and the formats of least predicted loss within both memories, and within the seconds where these are limited.

    Computed now from stored curves, not kept. It is proven optimal unless the deadline comes first.

    Raises:
        NotFoundError: no such model, device or probe setting.
        InvalidRequestError: unknown runtime, rules that contradict each other or the model, cells that nobody measured,
            a deadline that is too short for any answer.
        BudgetBelowFloorError: no split keeps the limits; with what the nearest one takes at least.
    """
    stop = solvers.Deadline.after(request.deadline_seconds)
    front, back = sides = load_sides(session, request)
    limit = None if request.decode_seconds is None else Meter(PICOSECONDS).room(request.decode_seconds)
    crossing = _activation_bytes(front)
    link = _link_picoseconds(request.link, crossing)
    points = [
        Point(split, front.part(split), back.part(split), link if 0 < split < front.blocks else 0, limit)
        for split in range(front.blocks + 1)
    ]
    outcomes = scan(points, stop)
    chosen = _best(outcomes)
    if chosen is None:
        _refuse(outcomes, request)
    point, found = chosen
    selected, setting = front.prepared.selected, front.prepared.inputs.setting
    return SplitDocument(
        model=selected.model.id,
        model_name=selected.model.name,
        unit=unit_of(setting),
        blocks=front.blocks,
        best=_plan(point, found, sides, crossing),
        proof=_proof(found, outcomes),
        decode_seconds=request.decode_seconds,
        splits=[_row(outcome) for outcome in outcomes],
        provenance=provenance_of(selected, setting),
        notes=_notes(sides),
    )


def _activation_bytes(side: Side) -> int:
    """Of the hidden state after a block, for one token of each sequence: as wide as what the first layer takes in."""
    return side.layers[0].in_features * side.batch * ACTIVATION_BYTES


def _link_picoseconds(link: SplitLink, crossing: int) -> int:
    """Time of a token on the link, rounded up: what crosses ÷ bandwidth + latency."""
    seconds = Fraction(crossing) / Fraction(str(link.bytes_per_second)) + Fraction(str(link.latency_seconds))
    return math.ceil(seconds * PICOSECONDS)


def _best(outcomes: Sequence[Outcome]) -> tuple[Point, Found] | None:
    """The least loss; of those that are equal but for rounding the fewest seconds, then the fewest blocks on the front."""
    solved = [(outcome.point, outcome.found) for outcome in outcomes if outcome.found is not None]
    if not solved:
        return None
    least = min(found.loss for _, found in solved)
    equal = [(point, found) for point, found in solved if not is_above(found.loss, least)]
    return min(equal, key=lambda pair: (pair[0].picoseconds(pair[1].choices), pair[0].split))


def _proof(found: Found, outcomes: Sequence[Outcome]) -> SplitProof:
    bound = min(found.loss, *(outcome.bound for outcome in outcomes if outcome.bound is not None))
    optimal = not is_above(found.loss, bound)
    gap = (found.loss - bound) / abs(found.loss) if found.loss else None
    return SplitProof(status="optimal" if optimal else "feasible", lower_bound=bound, gap=0.0 if optimal else gap)


def _plan(point: Point, found: Found, sides: tuple[Side, Side], crossing: int) -> SplitPlan:
    front, back = (_part(part, side, choice) for part, side, choice in zip(point.parts, sides, found.choices, strict=True))
    return SplitPlan(
        split=point.split,
        predicted_loss=found.loss,
        standard_error=found.standard_error,
        front=front,
        back=back,
        link_bytes=crossing if point.link_picoseconds else 0,
        link_seconds=point.link_picoseconds / PICOSECONDS,
        seconds=point.picoseconds(found.choices) / PICOSECONDS,
    )


def _part(part: Part, side: Side, choice: NDArray[np.int64]) -> SplitPart:
    classes, bits = part.classes, part.bits(choice)
    columns = choice[classes.group_of_layer]
    parameters = sum(layer.parameters for layer in classes.layers)
    return SplitPart(
        device=side.device.name,
        digest=side.device.digest,
        runtime=side.spec.runtime,
        blocks=part.blocks,
        assignment={
            layer.name: classes.formats[column].name for layer, column in zip(classes.layers, columns.tolist(), strict=True)
        },
        unquantized=[layer.name for layer in part.ignored],
        layer_bits=bits,
        effective_bits=bits / parameters if parameters else 0.0,
        unquantized_bytes=part.fixed.unquantized_bytes,
        kv_bytes=part.fixed.kv_bytes,
        workspace_bytes=part.fixed.workspace_bytes,
        used_bytes=part.used_bytes(choice),
        memory_bytes=part.memory_bytes,
        seconds=part.picoseconds(choice) / PICOSECONDS,
        measured_layers=int(part.measured[np.arange(len(columns)), columns].sum()),
    )


def _row(outcome: Outcome) -> SplitRow:
    point, found = outcome.point, outcome.found
    if found is None:
        sizes = [part.least_bytes for part in point.parts]
        time = outcome.least_picoseconds or point.least_picoseconds
    else:
        sizes = [part.used_bytes(choice) for part, choice in zip(point.parts, found.choices, strict=True)]
        time = point.picoseconds(found.choices)
    return SplitRow(
        split=point.split,
        status=outcome.status,
        predicted_loss=None if found is None else found.loss,
        lower_bound=outcome.bound,
        front_bytes=sizes[0],
        back_bytes=sizes[1],
        seconds=time / PICOSECONDS,
        reason=outcome.reason,
    )


def _notes(sides: tuple[Side, Side]) -> list[str]:
    front, _ = sides
    notes = [NOT_STORED]
    others = max(max(0, side.rest_bytes - side.embedding_bytes) for side in sides)
    if others:
        notes.append(
            f"which block norms, biases, routers and learned positions belong to is not stored: where the model is split, all of "
            f"them ({others:,} bytes) are counted on both sides"
        )
    if front.head_is_embedding:
        notes.append(TIED)
    for name, side in zip(("front", "back"), sides, strict=True):
        size = side.device.pools[0].size
        if size is not None and side.spec.memory_bytes > size.value:
            notes.append(f"the {name} may take more memory than {side.device.name} has ({size.value:,.0f} bytes)")
    return list(dict.fromkeys([*notes, *(note for side in sides for note in side.prepared.posed.curves.notes)]))


def _refuse(outcomes: Sequence[Outcome], request: SplitRequest) -> NoReturn:
    """Say what the nearest split takes at least.

    Raises:
        BudgetBelowFloorError: of bytes, or of seconds within the memories.
        InvalidRequestError: the time was too short to say.
    """
    if any(outcome.status == "undecided" for outcome in outcomes):
        msg = f"{request.deadline_seconds:.3g} s were too short to solve any split: raise deadline_seconds"
        raise InvalidRequestError(msg)
    rows = [_row(outcome).model_dump(exclude={"predicted_loss", "lower_bound", "status"}) for outcome in outcomes]
    fitting = [outcome for outcome in outcomes if outcome.point.overrun <= 1]
    if not fitting:
        _refuse_memory(min(outcomes, key=lambda outcome: outcome.point.overrun), rows)
    least, nearest = min(((_least_picoseconds(outcome), outcome) for outcome in fitting), key=lambda pair: pair[0])
    at_least = Meter(PICOSECONDS).least(least)
    msg = (
        f"no split decodes a token in {request.decode_seconds:.8g} s: the fastest one that both memories hold has "
        f"{_blocks(nearest.point.split)} on the front and takes {at_least:.8g} s at least. Raise the seconds or the memories, or "
        f"add formats"
    )
    raise BudgetBelowFloorError(msg, smallest_feasible=at_least, unit="decode_seconds", split=nearest.point.split, splits=rows)


def _least_picoseconds(outcome: Outcome) -> int:
    if outcome.least_picoseconds is not None:
        return outcome.least_picoseconds
    return outcome.point.fastest_within_memory(solvers.Deadline.after(1.0))


def _refuse_memory(nearest: Outcome, rows: list[dict[str, object]]) -> NoReturn:
    point = nearest.point
    front, back = point.parts
    msg = (
        f"no split fits both memories. The nearest has {_blocks(point.split)} on the front, which takes at least "
        f"{front.least_bytes:,} bytes and has {front.memory_bytes:,}, the back {back.least_bytes:,} and has "
        f"{back.memory_bytes:,}. Raise the memories, add smaller formats, or loosen floors and pins. "
        f"At its least the front has {front.made_of or 'nothing'}; the back has "
        f"{back.made_of or 'nothing'}"
    )
    raise BudgetBelowFloorError(
        msg,
        front_bytes=front.least_bytes,
        back_bytes=back.least_bytes,
        split=point.split,
        splits=rows,
    )


def _blocks(count: int) -> str:
    return "1 block" if count == 1 else f"{count} blocks"
