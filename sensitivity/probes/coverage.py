"""Damage of a layer's share in quantizing the whole model: the KL's gradient along the way there, under a link that saturates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
import torch
from torch import Tensor, nn

from sensitivity.layer_rounding import LayerRounding
from sensitivity.probe_facts import COVERAGE, ProbeFacts
from sensitivity.probes.base import (
    AbstractProbe,
    ProbeRun,
    Unit,
    refuse_streamed,
    sample_statistics,
    sequence_units,
    with_silent_sequences,
)
from sensitivity.probes.kl_gradients import PointProducts, point_products, reference_states
from sensitivity.probes.label_products import batches
from sensitivity.saturation import saturating_costs
from sensitivity.statistics import Statistics

UNIT_SEQUENCES: Final = 8
"""Sequences of a unit."""


@final
@dataclass(frozen=True, slots=True)
class Coverage(AbstractProbe):
    """Aumann–Shapley share of a layer in KL(reference ‖ all layers in format k), nats per token.

    On the straight way from the unquantized weights to those with every layer in format k, the share of layer l is
    ``φ_lk = ∫₀¹ ⟨∇_W KL(W + tΔW_k), ΔW_lk⟩ dt``. Shares of one format add up to the measured KL of the uniform model, whatever
    the layers do together (completeness): at low bits, where the quadratic form of ``fisher`` and the sum of single layers'
    ``kl`` miss it. No labels are drawn, and samples of a sequence are averages over its tokens.

    **The link.** Damage saturates: with ``f(S) = c (1 − Π_{l∈S} (1 − a_l))`` what adds up over layers is ``b_l = −ln(1 − a_l)``
    (ModelOpt's coverage, arXiv 2607.12266). A cell is ``c·b_l``, so that the sum Σ of a plan's cells predicts
    ``c (1 − exp(−Σ/c))``. The ceiling c is ``headroom`` times the KL of the worst uniform model of the run; at the default of 10
    the two differ by 5 % even there, and cells are shares but for that.

    Units: eight sequences. Cost: for each format and node a forward and a backward pass, and one forward pass of the reference.
    Memory: as ``fisher``, and the weights once more. The model is not streamed.

    Attributes:
        nodes: of the integral over t, Gauss-Legendre; two integrate a KL up to the fourth power of t exactly.
        headroom: ceiling of the damage, in KLs of the worst uniform model.
        arithmetic: of the inner products, as ``fisher``'s.
    """

    facts: ClassVar[ProbeFacts] = COVERAGE

    nodes: int = 2
    headroom: float = 10.0
    arithmetic: str = "bfloat16"

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """Chunks of eight sequences."""
        return sequence_units(sequences, UNIT_SEQUENCES)

    def run(self, run: ProbeRun, unit: Unit) -> Statistics:
        """Shares of all layers in all formats on the unit's sequences; the link comes with ``completed``.

        Raises:
            CalibrationError: the run has no tokens.
            CorruptCheckpointError: a weight is NaN or infinite.
            CheckpointError: the model's blocks are streamed.
        """
        refuse_streamed(run, self.facts.name)
        places, shares = np.polynomial.legendre.leggauss(self.nodes)
        samples = np.zeros((len(unit.indices), len(run.layers), len(run.formats)))
        reached = np.zeros(samples.shape, dtype=bool)
        references = {batch: reference_states(run, batch) for batch in batches(run, unit.indices)}
        for k in range(len(run.formats)):
            for place, share in zip((places + 1) / 2, shares / 2, strict=True):
                found = self._at(run, references, k, float(place))
                samples[:, :, k] += share * np.concatenate([point.slopes[:, :, k].numpy() for point in found])
                reached[:, :, k] |= np.concatenate([point.reached.numpy() for point in found])
        return sample_statistics(run, samples, reached)

    def _at(self, run: ProbeRun, references: Mapping[tuple[int, ...], Tensor], k: int, place: float) -> Sequence[PointProducts]:
        """Products at one point of the way, batch by batch; its weights are let go of before those of the next are made."""
        weights = _on_the_way(run, k, place)
        return [
            point_products(run, batch, weights, draws=0, arithmetic=self.arithmetic, reference=reference)
            for batch, reference in references.items()
        ]

    def completed(self, merged: Statistics, *, sequences: int) -> Statistics:
        """Costs that add up under the saturating link, from shares; each cell is scaled, with its error."""
        counted = with_silent_sequences(merged, sequences)
        measured = (counted[..., 0] > 0) & np.isfinite(counted).all(axis=-1)
        share = np.where(measured, counted[..., 1] / np.maximum(counted[..., 0], 1.0), 0.0)
        ceiling = self.headroom * max(share.sum(axis=0).max(initial=0.0), 0.0)
        if ceiling == 0.0:
            return counted
        scale = np.ones_like(share)
        for k in range(share.shape[1]):
            cost = ceiling * saturating_costs(share[:, k] / ceiling)
            np.divide(cost, share[:, k], out=scale[:, k], where=share[:, k] != 0.0)
        counted[..., 1] *= np.where(measured, scale, 1.0)
        counted[..., 2] *= np.where(measured, scale * scale, 1.0)
        return counted


@torch.no_grad()
def _on_the_way(run: ProbeRun, k: int, place: float) -> Mapping[nn.Linear, Tensor]:
    """``W + t ΔW_k`` of every layer of the run that the format can store."""
    rounding = LayerRounding.of(run)
    rounding.prepare()
    linears = {name: run.model.linears[name] for name in run.layers if k in run.storable(name)}
    return {
        linear: torch.lerp(linear.weight, rounding.fake_quantize(name, run.formats[k]), place) for name, linear in linears.items()
    }
