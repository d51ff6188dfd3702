"""Split computing beside brute force over every split and every assignment, and to the last bit of every limit."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.devices import (
    PICOSECONDS,
    Phase,
    Remainder,
    fixed_picoseconds,
    kv_picoseconds,
    latency_table,
)
from planner.errors import BudgetBelowFloorError, InvalidRequestError, NotFoundError, PinConflictError, PlannerError
from planner.runtimes import get_runtime
from planner.schemas.devices import CreateDevice
from planner.schemas.plans import PlanRequest
from planner.schemas.splits import SplitDocument, SplitRequest
from planner.services import plans, split_scan, splitting
from planner.services.devices import create_device, get_device
from planner.storage.database import Database
from sensitivity.checkpoint.description import Layer, ModelDescription
from sensitivity.formats.registry import get_format
from tests import synthetic
from tests.planner.services import cached_model

BLOCKS, HIDDEN, CONTEXT = 3, 128, 64
MENU = ("INT3_G64", "INT4_G64", "INT8_G64")
NORMS = 1_000
EMBEDDING = 2 * 256 * HIDDEN
"""Bytes; the head of the untied model is as large."""
KV_OF_BLOCK = HIDDEN * CONTEXT * 2
DEVICES = {"phone": 2e10, "desk": 4e11}
LINK = {"bytes_per_second": 1e6, "latency_seconds": 0.0001}
FREE = ("gate_proj", "up_proj")
PINS = {f"*.{kind}": "INT8_G64" for kind in ("q_proj", "k_proj", "v_proj", "o_proj", "down_proj")}
"""Leaves two layers of a block to choose, which the front ties: few enough for brute force."""


def described(*, head: bool = True, name: str = "toy") -> ModelDescription:
    plain = synthetic.description(blocks=BLOCKS, hidden=HIDDEN, head=head, name=name)
    return replace(plain, unquantized_bytes=EMBEDDING + NORMS, parameters=plain.parameters + NORMS // 2)


@pytest.fixture
def database(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    with cached_model.opened(sqlite_template, tmp_path) as opened:
        with opened.session() as session:
            for name, bandwidth in DEVICES.items():
                pools = [{"name": "ram", "bandwidth": {"value": bandwidth}, "size": {"value": 1e9}}]
                facts = {"name": name, "pools": pools, "peaks": {"bf16": {"value": 1e14}}}
                create_device(session, CreateDevice.model_validate(facts))
            for model in (described(), described(head=False, name="tied")):
                synthetic.add_model(session, model)
                synthetic.add_cells(session, model, synthetic.setting(), formats=MENU)
        yield opened


def asked(front: int, back: int, **changes: Any) -> SplitRequest:
    sides = {
        "front": {"device": "phone", "memory_bytes": front, "runtime": "vllm"} | changes.pop("of_front", {}),
        "back": {"device": "desk", "memory_bytes": back} | changes.pop("of_back", {}),
    }
    return SplitRequest.model_validate({"model": "toy", "link": LINK, "context": CONTEXT, "shrinkage": False} | sides | changes)


def made(database: Database, front: int, back: int, **changes: Any) -> SplitDocument:
    with database.read_session() as session:
        return splitting.make_split(session, asked(front, back, **changes))


class Reference:
    """Bytes, seconds and losses of whole assignments, layer by layer, with nothing of what is tested."""

    def __init__(self, database: Database, request: SplitRequest, model: ModelDescription) -> None:
        self.request, self.model, self.sides = request, model, (request.front, request.back)
        self.planned = [layer for layer in model.layers if layer.kind != "lm_head"]
        self.free = [layer.name for layer in self.planned if layer.kind in FREE]
        with database.read_session() as session:
            self.devices = [get_device(session, side.device) for side in self.sides]
            self.loss: dict[tuple[str, str], float] = {}
            for fmt in MENU:
                question = {"model": request.model, "budget": {"effective_bits": 16}, "allow_slack": True, "shrinkage": False}
                plan = plans.make_plan(session, PlanRequest.model_validate(question | {"formats": [fmt]}))
                self.loss |= {(group.layers[0], fmt): group.predicted_loss for group in plan.groups}
        self.times = {(i, layer.name, fmt): self._time(i, layer, fmt) for i in (0, 1) for layer in self.planned for fmt in MENU}
        self.fixed = {(split, i): self._fixed(split, i) for split in range(BLOCKS + 1) for i in (0, 1)}

    def _time(self, i: int, layer: Layer, fmt: str) -> int:
        runtime = get_runtime(self.sides[i].runtime)
        return int(latency_table(self.devices[i], [layer], [get_format(fmt)], runtime, phase=Phase.DECODE, tokens=CONTEXT)[0, 0])

    def side(self, split: int, layer: Layer) -> int:
        """0 for the front."""
        return 0 if split == BLOCKS or (layer.block is not None and layer.block < split) else 1

    def _fixed(self, split: int, i: int) -> tuple[int, int]:
        """Bytes and picoseconds of what is not planned."""
        blocks = (split, BLOCKS - split)[i]
        if not blocks:
            return 0, 0
        layers = [layer for layer in self.model.layers if self.side(split, layer) == i]
        head = [layer for layer in layers if layer.kind == "lm_head"]
        tied = all(layer.kind != "lm_head" for layer in self.model.layers)
        embedding = EMBEDDING if i == 0 or split == 0 or tied else 0
        rest = Remainder(layers, head, "bfloat16", 256, EMBEDDING + NORMS, has_head=i == 1 or split == BLOCKS)
        time = fixed_picoseconds(self.devices[i], rest, phase=Phase.DECODE, tokens=CONTEXT)
        time += int(kv_picoseconds(self.devices[i], np.array([8 * KV_OF_BLOCK * blocks]))[0])
        return embedding + NORMS + sum(2 * layer.parameters for layer in head) + KV_OF_BLOCK * blocks, time

    def bytes(self, split: int, formats: dict[str, str]) -> list[int]:
        bits = [0, 0]
        for layer in self.planned:
            i = self.side(split, layer)
            bits[i] += get_runtime(self.sides[i].runtime).size_bits(get_format(formats[layer.name]), layer.shape)
        return [self.fixed[split, i][0] + -(-bits[i] // 8) for i in (0, 1)]

    def picoseconds(self, split: int, formats: dict[str, str]) -> int:
        total = sum(self.times[self.side(split, layer), layer.name, formats[layer.name]] for layer in self.planned)
        total += self.fixed[split, 0][1] + self.fixed[split, 1][1]
        return total + (round((2 * HIDDEN / 1e6 + 0.0001) * PICOSECONDS) if 0 < split < BLOCKS else 0)

    def keeps_ties(self, split: int, formats: dict[str, str]) -> bool:
        """The front's engine fuses gate and up."""
        kept = [formats[name] for name in self.free if int(name.split(".")[2]) < split]
        return kept[::2] == kept[1::2]

    def best(self, limit: float = math.inf) -> float:
        """Least loss over every split and every assignment of what is not pinned."""
        least = math.inf
        for choice in itertools.product(MENU, repeat=len(self.free)):
            formats = {layer.name: "INT8_G64" for layer in self.planned} | dict(zip(self.free, choice, strict=True))
            loss = sum(self.loss[item] for item in formats.items())
            if loss >= least:
                continue
            for split in range(BLOCKS + 1):
                fits = [used <= side.memory_bytes for used, side in zip(self.bytes(split, formats), self.sides, strict=True)]
                if all(fits) and self.keeps_ties(split, formats) and self.picoseconds(split, formats) <= limit * PICOSECONDS:
                    least = loss
        return least


def check(found: SplitDocument, reference: Reference, limit: float = math.inf) -> None:
    """The same loss as brute force, and bytes and seconds of the plan as they are counted layer by layer."""
    best = found.best
    assert found.proof.status == "optimal"
    assert best.predicted_loss == pytest.approx(reference.best(limit), rel=1e-12)
    formats = best.front.assignment | best.back.assignment
    assert [best.front.used_bytes, best.back.used_bytes] == reference.bytes(best.split, formats)
    assert best.front.used_bytes <= best.front.memory_bytes
    assert best.back.used_bytes <= best.back.memory_bytes
    assert best.seconds == reference.picoseconds(best.split, formats) / PICOSECONDS
    assert best.seconds <= limit
    assert reference.keeps_ties(best.split, formats)
    row = found.splits[best.split]
    assert (row.predicted_loss, row.seconds, row.status) == (best.predicted_loss, best.seconds, "solved")
    assert [row.split for row in found.splits] == list(range(BLOCKS + 1))
    for row in found.splits:
        assert (row.predicted_loss is not None) == (row.status == "solved") == (not row.reason)
        assert row.lower_bound is None or row.lower_bound >= best.predicted_loss * (1 - 1e-12)


def test_random_limits(database: Database) -> None:
    """Memories that some splits or none fit, and seconds between the fastest and the best."""
    random = np.random.default_rng(0)
    pinned = {"pins": PINS}
    floors = least_bytes(database, **pinned)
    reference = Reference(database, asked(1, 1, **pinned), described())
    answered = 0
    for _ in range(12):
        front = floors[2][0] + int(random.integers(-8_000, 30_000))
        back = floors[1][1] + int(random.integers(-8_000, 30_000))
        request = asked(front, back, **pinned)
        reference.sides = (request.front, request.back)
        limit = float(random.uniform(0.000365, 0.00038))
        try:
            check(made(database, front, back, decode_seconds=limit, **pinned), reference, limit)
            answered += 1
        except BudgetBelowFloorError:
            assert reference.best(limit) == math.inf
    assert 3 <= answered <= 11


def least_bytes(database: Database, **changes: Any) -> list[tuple[int, int]]:
    """What each side takes at least, by the split."""
    with pytest.raises(BudgetBelowFloorError) as refused:
        made(database, 1, 1, **changes)
    rows: Any = refused.value.fields["splits"]
    return [(row["front_bytes"], row["back_bytes"]) for row in rows]


@pytest.mark.parametrize("model", ["toy", "tied"])
def test_memories_alone(database: Database, model: str) -> None:
    """Sides are problems of their own; nothing is whole on one device."""
    pinned = {"pins": PINS, "model": model}
    floors = least_bytes(database, **pinned)
    front, back = floors[2][0] + 9_000, floors[2][1] + 9_000
    reference = Reference(database, asked(front, back, **pinned), described(head=model == "toy", name=model))
    found = made(database, front, back, **pinned)
    check(found, reference)
    assert 0 < found.best.split < BLOCKS
    assert found.splits[0].status == found.splits[BLOCKS].status == "infeasible"
    assert "the back takes" in found.splits[0].reason
    assert (splitting.TIED in found.notes) == (model == "tied")
    assert found.best.back.unquantized_bytes == (EMBEDDING + NORMS)  # the head, or the embedding that is the head


@pytest.mark.parametrize("share", [0.25, 0.6, 0.9])
def test_memories_and_seconds_together(database: Database, share: float) -> None:
    pinned = {"pins": PINS}
    floors = least_bytes(database, **pinned)
    front, back = floors[2][0] + 20_000, floors[1][1] + 14_000
    loose = made(database, front, back, **pinned)
    with pytest.raises(BudgetBelowFloorError) as refused:
        made(database, front, back, decode_seconds=1e-9, **pinned)
    fastest: Any = refused.value.fields["smallest_feasible"]
    limit = fastest + share * (loose.best.seconds - fastest)
    found = made(database, front, back, decode_seconds=limit, **pinned)
    check(found, Reference(database, asked(front, back, **pinned), described()), limit)
    assert found.best.predicted_loss >= loose.best.predicted_loss
    at_the_floor = made(database, front, back, decode_seconds=fastest, **pinned)
    assert at_the_floor.best.seconds <= fastest
    with pytest.raises(BudgetBelowFloorError):
        made(database, front, back, decode_seconds=math.nextafter(fastest, 0.0), **pinned)


def test_one_byte_less_is_another_answer(database: Database) -> None:
    floors = least_bytes(database)
    front, back = floors[1]
    assert made(database, front, back).best.split == 1
    with pytest.raises(
        BudgetBelowFloorError, match=f"1 block on the front, which takes at least {front:,} bytes and has {front - 1:,}"
    ):
        made(database, front - 1, back)
    said = rf"the back {back:,} and has {back - 1:,}\. Raise the memories.*the back has [\d,]+ bytes of its 14 planned layers"
    with pytest.raises(BudgetBelowFloorError, match=said):
        made(database, front, back - 1)


def test_where_everything_fits_on_one_device_the_link_is_not_used(database: Database) -> None:
    found = made(database, 10**7, 10**7)
    assert (found.best.split, found.best.link_bytes, found.best.link_seconds) == (0, 0, 0.0)
    assert (found.best.front.used_bytes, found.best.front.assignment, found.best.front.seconds) == (0, {}, 0.0)
    assert found.best.seconds == found.best.back.seconds
    whole = made(database, 10**7, 1)
    assert (whole.best.split, whole.best.back.blocks, whole.best.front.unquantized) == (BLOCKS, 0, ["lm_head"])


def test_a_whole_model_on_one_side_is_a_plan_of_its_memory(database: Database) -> None:
    budget = {"resident_bytes": 380_000, "context": CONTEXT, "decode_seconds": 1.0, "device": "desk"}
    with database.read_session() as session:
        plan = plans.make_plan(session, PlanRequest.model_validate({"model": "toy", "budget": budget, "shrinkage": False}))
    found = made(database, 1, 380_000)
    assert found.best.predicted_loss == pytest.approx(plan.predicted.loss, rel=1e-12)
    assert found.best.back.used_bytes == plan.size.resident_bytes
    assert found.best.seconds == next(limit.used for limit in plan.limits if limit.kind == "decode_seconds")


def test_each_side_has_formats_and_a_workspace_of_its_own(database: Database) -> None:
    floors = least_bytes(database)
    front, back = floors[2][0] + 60_000, floors[2][1] + 9_000
    found = made(database, front, back, of_front={"formats": ["INT4_G64"], "workspace_bytes": 5_000})
    assert set(found.best.front.assignment.values()) == {"INT4_G64"}
    assert len(set(found.best.back.assignment.values())) > 1
    assert found.best.front.workspace_bytes == 5_000
    assert found.best.front.measured_layers == 0
    with pytest.raises(PinConflictError, match=r"in runtime 'llama\.cpp'"):
        made(database, front, back, of_front={"runtime": "llama.cpp"})


def test_a_head_that_is_planned_lies_on_the_back(database: Database) -> None:
    model = described(name="headed")
    with database.session() as session:
        synthetic.add_model(session, model)
        synthetic.add_cells(session, model, synthetic.setting(), formats=MENU, head=True)
    asked_for = {"model": "headed", "ignore": [], "of_front": {"runtime": "generic"}}
    floors = least_bytes(database, **asked_for)
    found = made(database, floors[1][0] + 5_000, floors[1][1] + 5_000, **asked_for)
    assert found.best.split == 1
    assert "lm_head" in found.best.back.assignment
    assert found.best.back.unquantized_bytes == NORMS
    whole = made(database, floors[BLOCKS][0], 1, **asked_for).best
    assert ("lm_head" in whole.front.assignment, whole.front.unquantized_bytes) == (True, EMBEDDING + NORMS)


def test_splits_that_cannot_be_better_are_skipped(database: Database) -> None:
    """With large memories on both sides but one that holds only much less of the model."""
    found = made(database, least_bytes(database)[1][0] + 5_000, 10**7)
    assert [row.status for row in found.splits][:2] == ["solved", "skipped"]
    assert found.splits[2].reason.startswith("the front takes")


def test_without_time_there_is_a_plan_with_an_honest_gap(database: Database) -> None:
    floors = least_bytes(database)
    front, back = floors[2][0] + 20_000, floors[1][1] + 20_000
    full, hasty = made(database, front, back), made(database, front, back, deadline_seconds=1e-9)
    statuses = [row.status for row in made(database, 10**7, 10**7, deadline_seconds=1e-9).splits]
    assert statuses == ["solved", "undecided", "undecided", "undecided"]
    assert hasty.proof.lower_bound <= full.best.predicted_loss <= hasty.best.predicted_loss


def test_a_solver_that_ran_out_of_time_is_no_proof_that_there_is_no_plan(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    floors = least_bytes(database)
    front, back = floors[2][0] + 20_000, floors[1][1] + 20_000
    seconds = made(database, front, back).best.seconds * 0.999

    def nothing_found(*_: object) -> None:
        raise PlannerError("the solver found no plan")

    monkeypatch.setattr(split_scan, "_together", nothing_found)
    with pytest.raises(InvalidRequestError, match="20 s were too short to solve any split: raise deadline_seconds"):
        made(database, front, back, decode_seconds=seconds)


def test_what_is_asked_for_must_be_there(database: Database) -> None:
    with pytest.raises(NotFoundError, match="no device 'phones'; close to it: phone"):
        made(database, 10**7, 10**7, of_front={"device": "phones"})
    with pytest.raises(InvalidRequestError, match="unknown runtime"):
        made(database, 10**7, 10**7, of_back={"runtime": "nobody"})
    found = made(database, 2 * 10**9, 10**7)
    assert any("the front may take more memory than phone has" in note for note in found.notes)
