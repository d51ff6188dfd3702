"""How many of the tokens reach each layer: the measured active fraction of routed experts."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

from sensitivity.formats.any_format import AnyFormat
from sensitivity.probe_facts import ROUTING, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, block_units
from sensitivity.probes.block_walk import BlockWalk
from sensitivity.router_choices import recorded_choices
from sensitivity.statistics import Statistics, observe


@final
@dataclass(frozen=True, slots=True)
class Routing(AbstractProbe[AnyFormat]):
    """Share of the calibration tokens that are routed to the layer; 1 for layers that every token passes.

    What the configuration says (experts for each token ÷ experts) is the mean over a block's experts; how uneven it is, only
    the text tells. The number times the tokens of the calibration set is the count of tokens that the cells of an expert stand
    on; an expert without one has the status ``no_tokens``, here as in every probe. A sample is a sequence. A ranking, not a loss.

    Units: a block each. Cost: one forward pass.
    """

    facts: ClassVar[ProbeFacts] = ROUTING

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """A unit for each block."""
        return block_units(blocks)[:-1]

    @torch.no_grad()
    def run(self, run: ProbeRun[AnyFormat], unit: Unit) -> Statistics:
        """Count the tokens of the layers of the unit's block.

        Raises:
            CalibrationError: the run has no tokens.
        """
        (block,) = unit.indices
        result = run.no_statistics()
        layers = run.layers_of_block(block)
        found: dict[nn.Module, list[Tensor]] = {}
        BlockWalk.of(run).cross(block, lambda scope, part: recorded_choices(scope, part.stop - part.start, found))
        chosen = [torch.cat(parts) for parts in found.values()]
        experts = {layer.name: layer.expert for layer in run.model.description.layers if layer.block == block}
        for index, name in layers:
            expert = experts[name]
            shares = np.ones(len(run.calibration_tokens)) if expert is None else _shares(chosen[0], expert)
            if shares.any():
                result[index, run.storable(name)] = observe(shares)
        return result


def _shares(chosen: Tensor, expert: int) -> np.ndarray:
    """Share of each sequence's tokens that chose the expert, float64 (sequences,)."""
    shares: np.ndarray = (chosen == expert).any(dim=-1).to(torch.float64).mean(dim=-1).numpy()
    return shares
