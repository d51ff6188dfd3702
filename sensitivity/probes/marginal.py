"""What changing one layer's format changes, measured where it matters: at a plan's own quantized model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sensitivity.errors import CalibrationError
from sensitivity.layer_rounding import LayerRounding
from sensitivity.probe_facts import MARGINAL, ProbeFacts
from sensitivity.probes.base import (
    AbstractProbe,
    ProbeRun,
    Unit,
    refuse_streamed,
    sample_statistics,
    sequence_units,
    with_silent_sequences,
)
from sensitivity.probes.kl_gradients import PointProducts, point_products
from sensitivity.probes.label_products import batches
from sensitivity.statistics import Statistics, observe

UNIT_SEQUENCES: Final = 8
"""Sequences of a unit."""


@final
@dataclass(frozen=True, slots=True)
class Marginal(AbstractProbe):
    """KL(reference ‖ plan with layer l in format k) − KL(reference ‖ plan), to second order around the plan, nats per token.

    Probes that change single layers of the unquantized model know nothing of what layers do together: how much the damage of
    one is made worse, or hidden, by that of all others. Close to a plan that is most of what is left to gain. With x the plan's
    weights, and ``δ = ΔW_lk − ΔW_lx`` what the change does to the layer, a cell is

    ``⟨∇_W KL(x), δ⟩ + ½ E[⟨∇_W log q(y | x), δ⟩²]``,

    q the plan's own predictions and y drawn from them (the Gauss-Newton part of the Hessian of the KL, as in ``fisher``, but at
    the plan). The first term holds the cross terms with all other layers as they stand in the plan; no labels are drawn for it.
    Cells are negative where the change helps, and zero without error for the format that the layer has. They add up as long as
    few layers change: a step is to be kept short (``planner.solving.steps``), and measured again from where it ends.

    Source: the trust-region step with a Gauss-Newton model (Nocedal and Wright, Numerical Optimization, 2006, chapters 4 and
    10), on the discrete choice of formats; gradient scores at the quantized point as in mlx-lm's ``dynamic_quant``, which has
    the first term alone.

    Units: eight sequences. Cost: two forward passes, a backward pass for the KL and one for each draw, all formats from the same.
    Memory: as ``fisher``, and the plan's weights once more. The model is not streamed.

    Attributes:
        draws: label draws for each sequence.
        arithmetic: of the inner products, as ``fisher``'s.
    """

    facts: ClassVar[ProbeFacts] = MARGINAL

    draws: int = 1
    arithmetic: str = "bfloat16"

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """Chunks of eight sequences."""
        return sequence_units(sequences, UNIT_SEQUENCES)

    def run(self, run: ProbeRun, unit: Unit) -> NDArray[np.float64]:
        """Measure all layers and formats on the unit's sequences.

        Returns:
            Shape (layers, formats, 6): statistics, then those of the plan's own KL, the same for all cells.

        Raises:
            CalibrationError: the run has no tokens, or no plan to measure around.
            CorruptCheckpointError: a weight is NaN or infinite.
            CheckpointError: the model's blocks are streamed.
        """
        refuse_streamed(run, self.facts.name)
        weights = _weights(run)
        here = np.array([_index(run, name) for name in run.layers])
        result = np.zeros((len(run.layers), len(run.formats), 6))
        for batch in batches(run, unit.indices):
            found = point_products(run, batch, weights, draws=self.draws, arithmetic=self.arithmetic)
            result[..., :3] += _statistics(run, found, here)
            result[..., 3:] += observe(found.kl.numpy())
        return result

    def completed(self, merged: NDArray[np.float64], *, sequences: int) -> Statistics:
        """Statistics of the cells; a sequence that sent no token to an expert is a sample of zero, if any sequence reached it."""
        return with_silent_sequences(merged[..., :3], sequences)

    def point(self, merged: NDArray[np.float64]) -> Statistics:
        """Statistics (3,) of the plan's own KL."""
        own: Statistics = merged[0, 0, 3:]
        return own


def _weights(run: ProbeRun) -> Mapping[nn.Linear, Tensor]:
    """The plan's weights, rounded once a run."""
    if not run.around:
        msg = "the probe marginal measures around a plan; name one (bitplan refine, or `around` in POST /v1/jobs)"
        raise CalibrationError(msg)
    if "plan weights" not in run.cache:
        rounding = LayerRounding.of(run)
        rounding.prepare()
        run.cache["plan weights"] = {
            run.model.linears[name]: rounding.fake_quantize(name, fmt) for name, fmt in run.around.items()
        }
    found: Mapping[nn.Linear, Tensor] = run.cache["plan weights"]
    return found


def _index(run: ProbeRun, layer: str) -> int:
    """Index of the format that the plan has for a layer among the run's; −1 for a layer that the plan leaves as it is."""
    return run.formats.index(run.around[layer]) if layer in run.around else -1


@torch.no_grad()
def _statistics(run: ProbeRun, found: PointProducts, here: NDArray[np.int64]) -> Statistics:
    slopes, scores = found.slopes.numpy(), found.scores.numpy()
    planned = np.flatnonzero(here >= 0)
    own_slope, own_score = np.zeros(slopes.shape[:2]), np.zeros(scores.shape[:3])
    own_slope[:, planned] = slopes[:, planned, here[planned]]
    own_score[:, :, planned] = scores[:, :, planned, here[planned]]
    samples = slopes - own_slope[..., None] + 0.5 * np.square(scores - own_score[..., None]).mean(axis=0)
    reached = np.broadcast_to(found.reached.numpy()[..., None], samples.shape)
    return sample_statistics(run, samples, reached)
