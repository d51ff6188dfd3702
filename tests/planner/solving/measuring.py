"""Adaptive measuring without a model: made-up layers whose exact losses are known, cheap curves that are noisy and off."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.build import Classes, group_curves
from planner.curves import Curves
from planner.services.linked_curves import known_exactly, link_curves
from planner.solving.hanging_cells import Beliefs, Outlook, cells_that_matter, look_ahead
from planner.solving.information import Regret, Uncertainty
from planner.solving.plan import solve_plan
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.registry import get_format
from sensitivity.links.sampling import stratified_sample
from sensitivity.statistics import CellStatus

FORMATS = tuple(get_format(name) for name in ("INT2_G64", "INT3_G64", "INT4_G64", "INT5_G64", "INT6_G64"))


@dataclass(frozen=True, slots=True)
class Laboratory:
    """A model of which every cell can be measured exactly, at a price."""

    true: NDArray[np.float64]
    cheap: Curves
    classes: Classes
    budgets: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.true.shape

    def exact(self, measured: NDArray[np.bool_]) -> Curves:
        """Exact cells with an error of 2 %, which is left out of their losses."""
        status = np.where(measured, CellStatus.MEASURED.value, "")
        loss = np.where(measured, self.true, np.nan)
        return Curves(self.cheap.layers, FORMATS, loss, 0.02 * loss, status)

    def beliefs(self, measured: NDArray[np.bool_], *, seed: int = 0) -> Beliefs:
        exact = self.exact(measured)
        linked = link_curves(self.cheap, exact, same_unit=True, seed=seed)
        open_cells = ~known_exactly(exact)
        error = np.where(open_cells, linked.curves.standard_error, 0.0)
        uncertainty = Uncertainty(linked.curves.loss, error, linked.covariance)
        return Beliefs(self.classes, group_curves(self.classes, linked.curves), open_cells, uncertainty)

    def look(self, measured: NDArray[np.bool_]) -> tuple[Beliefs, list[Outlook]]:
        beliefs = self.beliefs(measured)
        return beliefs, look_ahead(beliefs, self.budgets, seed=0, deadline=5.0)

    def excess(self, outlooks: list[Outlook]) -> list[float]:
        """True loss of each plan over that of the best plan, relative."""
        found = []
        for budget, outlook in zip(self.budgets, outlooks, strict=True):
            everything = self.exact(np.ones(self.shape, dtype=bool))
            best = solve_plan(self.classes, group_curves(self.classes, everything), budget, deadline=5.0)
            rows = np.arange(len(self.true))
            found.append(float(self.true[rows, outlook.solved.proved.choice].sum() / best.proved.loss - 1))
        return found

    def sample(self, count: int, *, seed: int) -> NDArray[np.bool_]:
        return stratified_sample(np.ones(self.shape, dtype=bool), self.cheap.loss, count, seed=seed)

    def adapt(self, first: NDArray[np.bool_], count: int, *, batch: int) -> NDArray[np.bool_]:
        """Spend exact cells in batches where the plans hang on them, until ``count`` are measured."""
        measured = first
        while measured.sum() < count:
            beliefs = self.beliefs(measured)
            plans = (solve_plan(beliefs.classes, beliefs.curves, budget, deadline=5.0) for budget in self.budgets)
            outlooks = [Outlook(solved, Regret(0.0, 0.0, 0.0)) for solved in plans]
            chosen = cells_that_matter(beliefs, outlooks, min(batch, count - int(measured.sum())))
            if not chosen.any():
                break
            measured = measured | chosen
        return measured


def laboratory(seed: int, *, layers: int = 40, noise: float = 0.3, residual: float = 0.25, unlucky: float = 0.0) -> Laboratory:
    """Layers of three sizes; losses that fall fourfold a bit, off by a log-normal factor, and seen with noise.

    Of a share ``unlucky`` of the layers the cheap probe sees about twice the losses, with an error of 0.6, for one unlucky draw.
    """
    random = np.random.default_rng(seed)
    bits = np.array([fmt.num_bits for fmt in FORMATS])
    shape = (layers, len(bits))
    true = np.exp(random.normal(0, 1.2, (layers, 1))) * 4.0**-bits * np.exp(random.normal(0, 0.15, shape))
    seen = true * np.exp(random.normal(0, residual, shape)) * np.where(bits == 2, 0.7, 1.0)
    cheap = seen * np.clip(1 + noise * random.standard_normal(shape), 0.05, None)
    error = noise * seen
    if unlucky:
        hit = random.random(layers) < unlucky
        cheap[hit] *= np.exp(random.normal(0.7, 0.3, (int(hit.sum()), 1)))
        error[hit] = 0.6 * cheap[hit]
    described = [
        Layer(f"model.layers.{i}.mlp.up_proj", "up_proj", i, None, 128 * int(width), 128)
        for i, width in enumerate(random.choice([1, 2, 4], layers))
    ]
    sizes = np.array([[fmt.size_bits(layer.shape) for fmt in FORMATS] for layer in described], dtype=np.int64)
    weights = sum(layer.parameters for layer in described)
    classes = Classes(tuple(described), FORMATS, tuple((i,) for i in range(layers)), sizes, np.ones(shape, dtype=bool))
    status = np.full(shape, CellStatus.MEASURED.value)
    curves = Curves(tuple(layer.name for layer in described), FORMATS, cheap, error, status)
    return Laboratory(true, curves, classes, tuple(int(bits * weights) for bits in (3.6, 4.6)))
