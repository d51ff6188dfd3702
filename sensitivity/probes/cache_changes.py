"""Variants in which one attention layer reads its keys, or its values, from a quantized cache."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from torch import Tensor, nn

from sensitivity.errors import UnknownArchitectureError
from sensitivity.formats.kv_cache import CachedTensor, KVCacheFormat
from sensitivity.probes.block_walk import BlockCall
from sensitivity.probes.linear_calls import Answer, LinearCall
from sensitivity.probes.lockstep import AbstractChange, unchanged_up_to
from sensitivity.rounding.kv_cache import fake_quantize_cache

CACHE_ARGUMENTS: Final = ("cache", "layer_past", "past_key_values")
"""Names under which transformers' models hand the cache to a block."""


@final
@dataclass(frozen=True)
class CacheChange(AbstractChange):
    """A projection whose output the block keeps in a quantized cache.

    The block is handed a cache, which it does not have in the reference. Attention gives it the keys (after rotary embedding)
    and the values of all positions and goes on with what it gets back, in every architecture alike.

    Attributes:
        layer: the projection to keys, or values, or both.
        format: how its output is kept.
    """

    layer: nn.Linear
    format: KVCacheFormat

    def answers(self, linears: Mapping[nn.Linear, LinearCall]) -> dict[nn.Linear, Answer]:
        """The projections give what they gave."""
        return unchanged_up_to(self.layer, linears)

    def through(self, block: nn.Module, call: BlockCall, states: Tensor) -> Tensor:
        """The block's output with the cache.

        Raises:
            UnknownArchitectureError: the block takes no cache, or does not use it.
        """
        passed = inspect.signature(block.forward).bind(states, *call.arguments, **call.keywords)
        argument = next((name for name in CACHE_ARGUMENTS if name in passed.arguments), None)
        cache = _QuantizedCache(self.format)
        if argument is not None:
            passed.arguments[argument] = cache
            states = BlockCall(passed.args[1:], passed.kwargs).through(block, states)
        if not cache.is_used:
            msg = (
                f"{type(block).__name__} does not keep its keys and values in a cache of transformers, so kv_cache cannot "
                f"measure them: leave this probe out for this model"
            )
            raise UnknownArchitectureError(msg)
        return states


@dataclass(slots=True)
class _QuantizedCache:
    """What attention takes for a cache: it stores one tensor of one layer and gives it back at once.

    Attributes:
        format: of the keys, or of the values.
        is_used: attention has called ``update``.
    """

    format: KVCacheFormat
    is_used: bool = field(default=False, init=False)

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keys and values, (sequences, heads, length, head_dim), as the cache has them."""
        self.is_used = True
        if self.format.tensor is CachedTensor.KEYS:
            return fake_quantize_cache(keys, self.format), values
        return keys, fake_quantize_cache(values, self.format)
