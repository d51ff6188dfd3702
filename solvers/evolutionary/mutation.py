"""Offspring of a choice that keep every budget: level switches, and raising with repair."""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Integers
from solvers.errors import SettingError
from solvers.evolutionary.ladders import Ladders
from solvers.evolutionary.moves import Moves, Options, list_options
from solvers.problem import Problem, total_sizes

MOST_CHANGES = 3  # k = min(U{1..3}, U{1..3}), EvoPress's draw: 5/9, 3/9, 1/9
LEAST_JUMP = 1e-6  # below it the weights of far levels would leave float64


@dataclass(frozen=True, slots=True)
class Mutation:
    """How offspring are drawn.

    An offspring is made of k = min(U{1..3}, U{1..3}) changes of one of three kinds:

    - *switch* (probability ``switches``, where two classes share a ladder): one class of a group of equal ladders goes up,
      another of the group down by exactly the same sizes (EvoPress, arXiv 2410.14649, level switch);
    - *raise* (probability ``(1 − switches)·raises``): k classes go up, others go down until every budget holds, and what
      is then left is spent;
    - *lower* (the rest): k classes go down and the room is spent.

    Attributes:
        switches: probability of a switch.
        raises: probability of a raise among the others.
        jump: probability weight of a change by one level more: levels go ±1 with weight 1, ±2 with ``jump``, and so on.
        guidance: share of draws made in proportion to what the loss table predicts; the others know nothing of it. Moves up
            are drawn by loss saved per unit of size, moves down by size given back per loss.
        at_once: share of raises that look for one move down which frees enough alone, before they take several.
        repairs: moves down after which a raise is given up, and the most draws that try to spend what is left.
    """

    switches: float = 0.5
    raises: float = 0.7
    jump: float = 0.25
    guidance: float = 0.75
    at_once: float = 0.2
    repairs: int = 32

    def __post_init__(self) -> None:
        for name in ("switches", "raises", "guidance", "at_once"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} is {getattr(self, name)}; give a probability from 0 to 1"
                raise SettingError(msg)
        if not LEAST_JUMP <= self.jump <= 1:
            msg = f"jump is {self.jump}; give a weight from {LEAST_JUMP} to 1"
            raise SettingError(msg)
        if self.repairs < 1:
            msg = f"repairs is {self.repairs}; give 1 at least"
            raise SettingError(msg)


class Neighbourhood:
    """What can be drawn around one choice; built once a parent.

    Args:
        problem: sizes, budgets, and the losses that predict.
        ladders: levels of the problem.
        parent: int64 ``[N]``, a choice within the budgets.
        mutation: how to draw.
    """

    __slots__ = ("_ladders", "_mutation", "_options", "_parent", "_partners", "_problem", "_room", "_shares")

    def __init__(self, problem: Problem, ladders: Ladders, parent: Integers, mutation: Mutation) -> None:
        self._problem, self._ladders, self._parent, self._mutation = problem, ladders, parent, mutation
        self._options: Options = list_options(problem, ladders, parent, mutation.jump)
        self._room: list[int] = (problem.budgets - total_sizes(problem, parent)).tolist()
        self._shares: list[int] = np.maximum(problem.budgets, 1).tolist()
        self._partners: dict[tuple[int, int, int], tuple[Integers, Integers]] = {}

    def draw(self, random: np.random.Generator) -> dict[int, int] | None:
        """One offspring as {class: new item}, within the budgets; ``None`` when the draw came to nothing."""
        times = 1 + int(MOST_CHANGES * min(random.random(), random.random()))
        draft = _Draft({}, list(self._room))
        if self._ladders.shared.size and random.random() < self._mutation.switches:
            for _ in range(times):
                self._switch(draft, random)
        elif random.random() < self._mutation.raises:
            self._raise(draft, times, random)
        else:
            self._lower(draft, times, random)
        return draft.items if draft.items and min(draft.room) >= 0 else None

    def _switch(self, draft: "_Draft", random: np.random.Generator) -> None:
        ladders, shared = self._ladders, self._ladders.shared
        up = int(shared[int(random.random() * shared.shape[0])])
        here = int(ladders.rank[up, self._parent[up]])
        there = here + 1
        while there < ladders.count[up] and random.random() < self._mutation.jump:
            there += 1
        if there >= ladders.count[up] or up in draft.items:
            return
        partners, items = self._switch_partners(int(ladders.group[up]), here, there)
        if not partners.size:
            return
        at = int(random.random() * partners.shape[0])
        down = int(partners[at])
        if down != up and down not in draft.items:
            draft.items[up] = int(ladders.order[up, there])
            draft.items[down] = int(items[at])

    def _switch_partners(self, group: int, here: int, there: int) -> tuple[Integers, Integers]:
        """Classes of the group that can give back exactly what the step takes, and the items with which they do."""
        key = (group, here, there)
        if key not in self._partners:
            self._partners[key] = self._find_partners(*key)
        return self._partners[key]

    def _find_partners(self, group: int, here: int, there: int) -> tuple[Integers, Integers]:
        ladders = self._ladders
        members = np.flatnonzero(ladders.group == group)
        order = ladders.order[members[0], : ladders.count[members[0]]]
        ladder = self._problem.sizes[:, members[0], order]
        given = ladder[:, :, None] - ladder[:, None, :]
        match = (given == (ladder[:, there] - ladder[:, here])[:, None, None]).all(axis=0)
        match &= np.tri(order.shape[0], k=-1, dtype=bool)
        at, level = np.nonzero(match[ladders.rank[members, self._parent[members]]])
        return members[at], ladders.order[members[at], level]

    def _raise(self, draft: "_Draft", times: int, random: np.random.Generator) -> None:
        up, guidance = self._options.up, self._mutation.guidance
        for _ in range(times):
            draft.take(up, up.draw(random, guidance))
        at_once = random.random() < self._mutation.at_once
        for _ in range(self._mutation.repairs):
            row = self._tightest(draft.room)
            if draft.room[row] >= 0:
                break
            down = self._options.down[row]
            enough = int(down.change[row].searchsorted(draft.room[row], side="right")) if at_once else 0
            draft.take(down, down.draw(random, guidance, end=enough or None))
        else:
            return
        self._spend(draft, random)

    def _lower(self, draft: "_Draft", times: int, random: np.random.Generator) -> None:
        for _ in range(times):
            down = self._options.down[int(random.random() * len(self._options.down))]
            draft.take(down, down.draw(random, self._mutation.guidance))
        self._spend(draft, random)

    def _spend(self, draft: "_Draft", random: np.random.Generator) -> None:
        """Moves up that fit into what is left: s draws, P(s ≥ n) = 1/n, so that large offspring stay rare and possible."""
        up = self._options.up
        for _ in range(min(self._mutation.repairs, int(1 / (1 - random.random())))):
            end = int(up.change[0].searchsorted(draft.room[0], side="right"))
            m = up.draw(random, self._mutation.guidance, end=end)
            if m < 0:
                return
            if (up.change[:, m] <= draft.room).all():
                draft.take(up, m)

    def _tightest(self, room: list[int]) -> int:
        """The row that lacks most, relative to its budget."""
        return min(range(len(room)), key=lambda r: room[r] / self._shares[r]) if len(room) > 1 else 0


@dataclass(slots=True)
class _Draft:
    """An offspring in the making: its changes, and the room that is left of every budget (negative: over it)."""

    items: dict[int, int]
    room: list[int]

    def take(self, moves: Moves, m: int) -> None:
        """Make a move, unless its class has already changed."""
        if m < 0 or (klass := int(moves.klass[m])) in self.items:
            return
        self.items[klass] = int(moves.item[m])
        for r, change in enumerate(moves.change[:, m].tolist()):
            self.room[r] -= change
