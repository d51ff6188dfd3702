"""What a step costs beside the planned layers and the cache: ignored layers, the head, embedding rows, norms, attention."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from planner.budget import DTYPE_BITS
from planner.devices.device import Device
from planner.devices.latency import HEAD, LinearCall, Phase, Workload, layer_seconds, picoseconds
from planner.devices.profile import Arithmetic
from planner.devices.table import LATENCY_FORMATS
from sensitivity.checkpoint.description import Layer
from sensitivity.checkpoint.families import FAMILIES

_ARITHMETIC: Final = {"bfloat16": Arithmetic.BF16, "float16": Arithmetic.FP16, "float32": Arithmetic.FP32}


@dataclass(frozen=True, slots=True)
class Remainder:
    """A model without its planned layers.

    Attributes:
        layers: all layers of the model, in model order.
        ignored: those of them that are left unquantized.
        dtype: of everything unquantized.
        vocab_size: rows of the embedding.
        unquantized_bytes: bytes of everything that is no layer, the embedding among them.
        has_head: the head is here; false for the front of a model whose back is elsewhere.
    """

    layers: Sequence[Layer]
    ignored: Sequence[Layer]
    dtype: str
    vocab_size: int
    unquantized_bytes: int
    has_head: bool = True

    @property
    def hidden_size(self) -> int:
        """Columns of the embedding: what the first layer of the model takes in."""
        return self.layers[0].in_features if self.layers else 0

    @property
    def unquantized_layers(self) -> list[Layer]:
        """Ignored layers, and the head where it is the embedding and therefore no layer of its own."""
        tied = self.has_head and self.layers and all(layer.kind != HEAD for layer in self.layers)
        head = [Layer(HEAD, HEAD, None, None, self.vocab_size, self.hidden_size)] if tied else []
        return [*self.ignored, *head]


def fixed_picoseconds(
    device: Device, rest: Remainder, *, phase: Phase, batch: int = 1, tokens: int = 0, pool: str | None = None
) -> int:
    """Time of everything but planned layers and cache reads, in picoseconds, rounded up.

    Unquantized layers and the head take their time as layers do; of the embedding a row for each token is read, everything else
    that is no layer is read once. Attention counts one kernel a block, and its products over the prompt; in decode those hide
    behind the reads of the cache. Norms, activations and rotary embedding are taken as fused into other kernels.

    Args:
        device: what computes.
        rest: the model without its planned layers.
        phase: decode or prefill.
        batch: sequences at once.
        tokens: in the cache of each (decode), or of each prompt (prefill).
        pool: memory pool of the weights; by default the device's first.

    Raises:
        InvalidRequestError: no such pool, a workload without rows, or a time beyond all bounds.
    """
    workload = Workload(phase, batch, tokens)
    bits = DTYPE_BITS.get(rest.dtype, 16)
    total = sum(_plain_seconds(device, layer, rest.dtype, workload, pool) for layer in rest.unquantized_layers)
    row_bits = rest.hidden_size * bits
    table_bytes = rest.vocab_size * row_bits // 8
    moved = max(0, rest.unquantized_bytes - table_bytes) + workload.rows("embedding") * row_bits / 8
    reached = device.profile.pool(pool).bandwidth.value * device.profile.bandwidth_share.value
    return picoseconds(total + moved / reached + _attention_seconds(device, rest.layers, workload))


def _plain_seconds(device: Device, layer: Layer, dtype: str, workload: Workload, pool: str | None) -> float:
    arithmetic = _ARITHMETIC.get(dtype, Arithmetic.BF16)
    call = LinearCall(
        layer.shape,
        LATENCY_FORMATS.get(dtype, "BF16"),
        layer.parameters * DTYPE_BITS.get(dtype, 16),
        arithmetic if arithmetic in device.profile.peaks else device.profile.dequantized,
        workload.rows(layer.kind),
        layer.active_fraction,
    )
    return layer_seconds(device, call, pool)


def _attention_seconds(device: Device, layers: Sequence[Layer], workload: Workload) -> float:
    """Overhead of a kernel for each attention layer, and in prefill its causal products.

    Of a prompt of T tokens the scores and the weighted values take T(T+1)/2 multiply-adds a channel each, or 2·T(T+1) operations
    together, of which a peak counts two for a multiply-add.
    """
    outputs = [layer for layer in layers if layer.name.endswith(_attention_outputs())]
    seconds = len(outputs) * device.profile.kernel_seconds.value
    if workload.phase is Phase.DECODE:
        return seconds
    channels = sum(layer.in_features for layer in outputs)
    operations = 2 * workload.batch * workload.tokens * (workload.tokens + 1) * channels
    return seconds + operations / device.profile.peaks[device.profile.dequantized].value


@cache
def _attention_outputs() -> tuple[str, ...]:
    """Ends of the names of attention's output projections, which take in all heads."""
    return tuple(sorted({f".{family.attention[-1]}" for family in FAMILIES.values()}))
