"""ΔW of a layer in every format of a run, as one stack: what one pass over data is multiplied with."""

from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from sensitivity.layer_rounding import LayerRounding
from sensitivity.probes.base import ProbeRun

KEPT_BYTES: Final = 4 << 30
"""How much of the stacks a run keeps in memory; what does not fit is rounded anew each time.

Of a streamed model, the stacks of one block are kept at a time.
"""

DTYPES: Final = {"bfloat16": torch.bfloat16, "float32": torch.float32}
"""Element type of an arithmetic."""


@dataclass(slots=True)
class RoundingErrors:
    """Stacks of ``ΔW = fake_quantize(W) − W``, rounded once and kept as far as memory allows.

    ΔW is a difference of float32 numbers and then rounded to ``dtype``. In bfloat16 each element is off by at most 2⁻⁹ of
    itself, with errors of either sign, so that an inner product with n such elements is off by about ``2⁻⁹/√3`` of its
    own typical size: nothing beside the sampling error of any cell.

    Attributes:
        run: whose layers, formats and rounding method.
        dtype: element type of the stacks.
    """

    run: ProbeRun
    dtype: torch.dtype
    _kept: dict[str, Tensor] = field(default_factory=dict)
    _bytes: int = 0
    _block: int | None = None

    @classmethod
    def of(cls, run: ProbeRun, arithmetic: str) -> "RoundingErrors":
        """The stacks of this run in this arithmetic, kept in the run's cache.

        All data that the rounding needs are gathered here: ``stack`` may then be called while the model is watched.
        """
        key = f"rounding errors {arithmetic}"
        if key not in run.cache:
            LayerRounding.of(run).prepare()
            run.cache[key] = cls(run, DTYPES[arithmetic])
        found: RoundingErrors = run.cache[key]
        return found

    def stack(self, layer: str) -> Tensor:
        """Shape (K, out, in) for the K formats that can store the layer, in their order.

        Raises:
            CorruptCheckpointError: a weight is NaN or infinite.
        """
        if layer in self._kept:
            return self._kept[layer]
        self._forget_other_blocks(layer)
        stack = self._round(layer)
        size = stack.numel() * stack.element_size()
        if self._bytes + size <= KEPT_BYTES:
            self._kept[layer] = stack
            self._bytes += size
        return stack

    def _forget_other_blocks(self, layer: str) -> None:
        block = self.run.model.block_of(layer)
        if self.run.model.is_streamed and block != self._block:
            self._kept.clear()
            self._bytes, self._block = 0, block

    @torch.no_grad()
    def _round(self, layer: str) -> Tensor:
        weight = self.run.model.weight(layer)
        formats = [self.run.formats[k] for k in self.run.storable(layer)]
        stack = torch.empty((len(formats), *weight.shape), dtype=self.dtype)
        for target, rounded in zip(stack, LayerRounding.of(self.run).fake_quantize_each(layer, formats), strict=True):
            target.copy_(rounded.sub_(weight))
        return stack
