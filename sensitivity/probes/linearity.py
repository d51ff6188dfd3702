"""HIGGS: how the KL grows with noise of a layer's weights, times the relative squared error of every format."""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sensitivity.layer_rounding import LayerRounding
from sensitivity.probe_facts import LINEARITY, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, block_and_sequence_units, with_silent_sequences
from sensitivity.probes.lockstep import Change, Walk
from sensitivity.probes.rounding_energies import relative_errors, squared_norm
from sensitivity.probes.rounding_errors import DTYPES
from sensitivity.probes.single_changes import SingleChanges, walks
from sensitivity.statistics import Statistics

UNIT_SEQUENCES: Final = 4
"""Sequences of a unit."""


@final
@dataclass(frozen=True, slots=True)
class Linearity(AbstractProbe):
    """``α t²`` with ``t² = ‖ΔW‖² / ‖W‖²`` of the format, and α the layer's slope of the KL over t², in nats per token.

    The linearity theorem of HIGGS (arXiv 2411.17525): for small errors without a preferred direction, the loss of a model grows
    by ``Σ_l α_l t_l²``, whatever the quantizer. Losses of different layers are therefore added. HIGGS measures the slope of the
    perplexity; here it is that of KL(reference ‖ only this layer changed), so that the unit is that of ``kl``.

    **Where it does not hold.** Rounding errors of few bits do have preferred directions. In two blocks of SmolLM2-135M (rounded
    to nearest, groups of 64) the sum of the losses was 1.7 times that of ``kl`` at two bits and 1.4 at three, within 15 % at
    four and six; ranks of layers correlated with those of ``kl`` by 0.84–0.88 from three bits on, and not at all at two.

    **The slope.** ``levels`` matrices of independent normal noise are scaled to ``‖E_j‖ = t_j ‖W‖`` exactly, and each is added
    to the layer alone. On every sequence the KLs d_j are regressed on t² through the origin, ``α = Σ t_j² d_j / Σ t_j⁴``; the
    mean over sequences is the regression of the mean KLs. Each sequence and level has noise of its own, so that the standard
    error over sequences has the noise in it. It is of the slope: common to all formats of a layer.

    **Is it linear?** With ``levels=1`` all noise has the norm ``least``. Two such runs with different norms and the same seed
    have the same noise directions, and the ratio of a layer's losses is that of its slopes: 1 where the KL is linear in t².

    **Mixtures.** As for ``kl``: a sequence that sends no token to an expert is a sample of zero for it, counted by ``completed``
    once the whole run is in; an expert that no sequence reached keeps count 0.

    Units: a block × four sequences, in the order of the sequences; a block more stands for the head. Cost: for each layer,
    level and sequence, the part of the model behind the layer, and the head; for each unit, one pass of the reference;
    rounding once. More formats cost no more of it, so it is cheaper than ``kl`` where there are more formats than levels.
    Memory: as ``kl``, with the noise of a block, ``levels`` times its weights, in place of ΔW.

    Attributes:
        levels: number of noise levels; their t² are evenly spaced.
        least: relative norm t of the first level.
        most: relative norm of the last level; not used with one level.
        arithmetic: of the products of changes, as for ``kl``.
    """

    facts: ClassVar[ProbeFacts] = LINEARITY

    levels: int = 3
    least: float = 0.05
    most: float = 0.2
    arithmetic: str = "bfloat16"

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """Block and sequences of each unit: all blocks of the first sequences, then those of the next."""
        return block_and_sequence_units(blocks, sequences, UNIT_SEQUENCES)

    @torch.no_grad()
    def run(self, run: ProbeRun, unit: Unit) -> Statistics:
        """Measure the layers of one block on some sequences; the indices are the block's, then the sequences'.

        Raises:
            CalibrationError: the run has no tokens.
            CorruptCheckpointError: a weight is NaN or infinite.
        """
        block, *sequences = unit.indices
        result = run.no_statistics()
        layers = [(index, name) for index, name in run.layers_of_block(block) if run.storable(name)]
        if not layers:
            return result
        LayerRounding.of(run).prepare()
        errors = {name: relative_errors(run, name) for _, name in layers}
        for sequence, walk in zip(sequences, walks(run, sequences), strict=True):
            walk.to(block)
            slopes = self._slopes(run, walk, sequence, list(errors))
            for index, name in layers:
                if name in slopes:
                    with np.errstate(invalid="ignore", over="ignore"):
                        samples = slopes[name] * errors[name]
                    result[index, run.storable(name)] += np.stack([np.ones_like(samples), samples, samples**2], axis=-1)
        return result

    def completed(self, merged: Statistics, *, sequences: int) -> Statistics:
        """Count the sequences that sent no token to an expert: each is a sample of zero, if any sequence reached it."""
        return with_silent_sequences(merged, sequences)

    @property
    def squared_norms(self) -> NDArray[np.float64]:
        """t² of each level, (levels,)."""
        return np.linspace(self.least**2, self.most**2, self.levels)

    def _slopes(self, run: ProbeRun, walk: Walk, sequence: int, layers: Sequence[str]) -> Mapping[str, float]:
        """α on one sequence of the layers that saw a token of it."""
        linears = [run.model.linears[name] for name in layers]
        changes = [
            Change(linear, noise)
            for name, linear in zip(layers, linears, strict=True)
            for noise in self._noises(run.model.weight(name), seeds=(run.seed % (1 << 64), sequence, zlib.crc32(name.encode())))
        ]
        called, samples = SingleChanges(run, self.arithmetic).measure(walk, changes)
        steps = self.squared_norms
        slopes = (samples.numpy().reshape(len(layers), self.levels) * steps).sum(axis=1) / (steps @ steps)
        return {name: slope for name, linear, slope in zip(layers, linears, slopes.tolist(), strict=True) if linear in called}

    def _noises(self, weight: Tensor, *, seeds: tuple[int, ...]) -> list[Tensor]:
        """Noise of each level in the arithmetic's dtype."""
        generator = np.random.default_rng(seeds)
        energy = squared_norm(weight)
        found: list[Tensor] = []
        for step in self.squared_norms:
            noise = torch.from_numpy(generator.standard_normal(tuple(weight.shape), dtype=np.float32))
            found.append(noise.mul_(math.sqrt(step * energy / squared_norm(noise))).to(DTYPES[self.arithmetic]))
        return found
