"""The level ν = ln μ of a water-filling, and the bits at it.

``b_j = clip((s_j − ν)/ln β_j)`` is linear in ν between the two breakpoints of a component. The breakpoints are halved by
medians until none lies inside the bracket; then the segment is solved in closed form. O(N).
"""

import numpy as np

from solvers.arrays import Floats
from solvers.rates.components import Components

POLISHES = 3  # corrections over all components: each removes the rounding of the one before
SHARP = 1e-14  # relative distance from the budget at which a level is taken as it is
ROUNDING = 1e-13  # largest change of ln(marginal loss) that one correction of the bits may make
SAMPLE = 4_096
NEARBY = 0.05  # how far from the level of a sample the bracket is set


def find_level(components: Components, gain: Floats, decay: Floats, budget: float) -> float:
    """ν of the optimum: the breakpoints are halved until none lies inside the bracket, then the segment is solved."""
    room = budget - components.floor
    free = np.flatnonzero((components.scale > 0) & (components.high > components.low))
    reach, fall = components.high[free] - components.low[free], decay[free]
    enters = gain[free] - components.low[free] * fall
    if room == 0:
        return float(enters.max(initial=-np.inf))
    search = _LevelSearch(enters, enters - reach * fall, components.weights[free] / fall, room)
    if free.shape[0] >= 8 * SAMPLE:
        search.start_from_sample()
    return search.run()


class _LevelSearch:
    """The bracket of ν and the components that it has not decided.

    A component is at its fewest bits above ``enters``, at its most below ``leaves``, and between them its size above the
    fewest bits is ``slope·(enters − ν)``. Those with both breakpoints outside the bracket are decided and only summed.
    """

    def __init__(self, enters: Floats, leaves: Floats, slope: Floats, room: float) -> None:
        self.enters, self.leaves, self.slope, self.room = enters, leaves, slope, room
        self.low, self.high = -np.inf, np.inf
        self.constant, self.falling = 0.0, 0.0  # size of the decided: constant − falling·ν

    def start_from_sample(self) -> None:
        """Look at both sides of the level of a strided sample: what is left open is a few per cent."""
        picked = slice(None, None, self.enters.shape[0] // SAMPLE)
        enters, leaves, slope = self.enters[picked], self.leaves[picked], self.slope[picked]
        near = _LevelSearch(enters, leaves, slope, self.room * float(slope.sum() / self.slope.sum())).run()
        for guess in (near, near - NEARBY, near + NEARBY):
            if self.low < guess < self.high:
                self._look(guess)

    def run(self) -> float:
        """Halve the breakpoints inside the bracket, then solve ``constant − falling·ν = room``."""
        pivot = 0.0
        while self.enters.size:
            points = np.concatenate((self.enters, self.leaves))
            points = points[(points > self.low) & (points < self.high)]
            half = points.shape[0] // 2
            pivot = float(np.partition(points, half)[half])
            self._look(pivot)
        level = (self.constant - self.room) / self.falling if self.falling > 0 else pivot
        return min(max(level, self.low), self.high)

    def _look(self, pivot: float) -> None:
        """Make ``pivot`` an end of the bracket and put the decided components aside."""
        enters, leaves = self.enters, self.leaves
        taken = np.maximum(enters - np.maximum(leaves, pivot), 0.0)
        if self.constant - self.falling * pivot + float(self.slope @ taken) > self.room:
            self.low = pivot
        else:
            self.high = pivot
        full = leaves >= self.high
        through = (enters >= self.high) & (leaves <= self.low)
        self.constant += float(self.slope[full] @ (enters[full] - leaves[full])) + float(self.slope[through] @ enters[through])
        self.falling += float(self.slope[through].sum())
        left = np.flatnonzero((enters > self.low) & ~full & ~through)
        self.enters, self.leaves, self.slope = enters[left], leaves[left], self.slope[left]


def polish_bits(components: Components, gain: Floats, decay: Floats, budget: float, level: float) -> tuple[Floats, float]:
    """The level again on the full sums, then what rounding left of the budget is shared by the components that stand at ν."""
    level = _sharpen(components, gain, decay, budget, level)
    bits = _bits_at(components, gain, decay, level)
    for _ in range(POLISHES):
        over = components.size(bits) - budget
        if abs(over) <= 2.0**-52 * abs(budget):
            break
        moves = (components.low < components.high) & (np.abs(gain - bits * decay - level) <= 2 * ROUNDING)
        slope = float((components.weights / decay)[moves].sum())
        if slope == 0:
            break
        shift = min(max(over / slope, -ROUNDING), ROUNDING)
        bits = np.where(moves, np.clip(bits - shift / decay, components.low, components.high), bits)
    return bits, level


def _sharpen(components: Components, gain: Floats, decay: Floats, budget: float, level: float) -> float:
    """The level by Newton's method; bisection where sizes of very unequal scale cancelled before."""
    for _ in range(POLISHES):
        bits = _bits_at(components, gain, decay, level)
        over = components.size(bits) - budget
        if abs(over) <= SHARP * (abs(budget) + components.size(np.abs(bits))):
            return level
        slope = float((components.weights / decay)[(bits > components.low) & (bits < components.high)].sum())
        level += over / slope if slope > 0 else 0.0
    live = (components.low < components.high) & (components.scale > 0)
    most = np.minimum(components.high, components.low + (budget - components.floor) / components.weights)  # of one alone
    low = float((gain - most * decay)[live].min())
    high = float((gain - components.low * decay)[live].max())
    while low < (middle := low + (high - low) / 2) < high:
        fits = components.size(_bits_at(components, gain, decay, middle)) <= budget
        low, high = (low, middle) if fits else (middle, high)
    return high


def _bits_at(components: Components, gain: Floats, decay: Floats, level: float) -> Floats:
    bits: Floats = np.clip((gain - level) / decay, components.low, components.high)
    return bits
