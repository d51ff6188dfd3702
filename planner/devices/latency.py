"""Seconds of linear layers on a device, in whole picoseconds, so that budgets of time are as exact as those of bits.

A layer takes what was measured for its shape, format and batch; where nothing was, the roofline
``max(bytes ÷ bandwidth, operations ÷ peak) + overhead of a kernel``. Bytes are the weights as the runtime packs them and 16-bit
activations in and out. A kernel that leaves activations as they are computes in the dequantized arithmetic (bfloat16),
whatever the weights are stored in.

A routed expert is read only when a token is routed to it. With ``n`` tokens, each of which goes to it with probability ``f``,
independently, it is touched with probability ``p = 1 − (1 − f)ⁿ`` and then has ``n·f ÷ p`` rows on average: its time is ``p``
times that of a layer with so many rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from planner.devices.device import Device
from planner.devices.profile import Arithmetic
from planner.devices.table import Shape
from planner.errors import InvalidRequestError
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat, ElementType

PICOSECONDS: Final = 10**12
"""In a second."""
ACTIVATION_BYTES: Final = 2
HEAD: Final = "lm_head"


class Phase(StrEnum):
    """What a model is doing."""

    DECODE = "decode"
    PREFILL = "prefill"


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked of the model at once.

    Attributes:
        phase: one token for each sequence, or the whole prompt of each.
        batch: sequences.
        tokens: of each sequence: those in the cache (decode), or those of the prompt (prefill).
    """

    phase: Phase
    batch: int = 1
    tokens: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1 or self.tokens < (self.phase is Phase.PREFILL):
            msg = "batch must be at least 1, the context must not be negative, and a prompt has at least one token"
            raise InvalidRequestError(msg)

    def rows(self, kind: str) -> int:
        """Rows of activations that a layer of that kind sees: the head only those of the tokens that are sampled from."""
        return self.batch * self.tokens if self.phase is Phase.PREFILL and kind != HEAD else self.batch


def arithmetic_of(fmt: CandidateFormat, device: Device, *, quantized_activations: bool) -> Arithmetic:
    """What products with weights of a format are computed in.

    Args:
        fmt: of the weights.
        device: what computes.
        quantized_activations: whether the kernel quantizes the activations to the format's elements too.
    """
    native = _NATIVE.get((fmt.type, fmt.num_bits)) if quantized_activations else None
    return native if native is not None and native in device.profile.peaks else device.profile.dequantized


_NATIVE: Final = {
    (ElementType.INT, 8): Arithmetic.INT8,
    (ElementType.INT, 4): Arithmetic.INT4,
    (ElementType.FLOAT, 8): Arithmetic.FP8,
    (ElementType.FLOAT, 4): Arithmetic.FP4,
}


@dataclass(frozen=True, slots=True)
class LinearCall:
    """A matrix of weights and what is multiplied with it.

    Attributes:
        shape: (out, in).
        format: name of the format of the weights.
        weight_bits: as the runtime stores them.
        arithmetic: what the product is computed in.
        rows: of activations.
        active_fraction: share of the rows that it sees, on average; 1 unless it is a routed expert.
    """

    shape: Shape
    format: str
    weight_bits: int
    arithmetic: Arithmetic
    rows: int
    active_fraction: float = 1.0


def layer_seconds(device: Device, call: LinearCall, pool: str | None = None) -> float:
    """Expected time of one layer.

    Args:
        device: what computes.
        call: the layer and its activations.
        pool: memory pool of the weights; the measured table is of the first.

    Raises:
        InvalidRequestError: the device has no such pool.
    """
    touched = -math.expm1(call.rows * math.log1p(-call.active_fraction)) if call.active_fraction < 1 else 1.0
    if not touched:
        return 0.0
    rows = call.rows * call.active_fraction / touched
    where = device.profile.pool(pool)
    measured = device.table.seconds(call.shape, call.format, rows) if where is device.pools[0] else None
    return touched * (_roofline(device, call, rows, where.bandwidth.value) if measured is None else measured)


def _roofline(device: Device, call: LinearCall, rows: float, bandwidth: float) -> float:
    profile, (out_features, in_features) = device.profile, call.shape
    moved = call.weight_bits / 8 + rows * (in_features + out_features) * ACTIVATION_BYTES
    operations = 2 * rows * out_features * in_features
    reached = bandwidth * profile.bandwidth_share.value
    return max(moved / reached, operations / profile.peaks[call.arithmetic].value) + profile.kernel_seconds.value


def picoseconds(seconds: float) -> int:
    """Whole picoseconds that are no less than a time.

    Raises:
        InvalidRequestError: a million seconds or more, which the sums of a plan have no room for.
    """
    found = math.ceil(seconds * PICOSECONDS) if seconds < _MOST_SECONDS else None
    if found is None:
        msg = f"a layer would take {seconds:.3g} s on this device: look at its figures, batch and tokens"
        raise InvalidRequestError(msg)
    return found


_MOST_SECONDS: Final = 10.0**6
"""A few of these fill 63 bits of picoseconds: tables check the sum of their greatest times too."""


def latency_table(
    device: Device,
    layers: Sequence[Layer],
    formats: Sequence[CandidateFormat],
    runtime: RuntimeProfile,
    *,
    phase: Phase,
    batch: int = 1,
    tokens: int = 0,
    pool: str | None = None,
) -> NDArray[np.int64]:
    """Time of each layer in each format, int64 (layers, formats), in picoseconds, each rounded up.

    Layers of one kind, shape and active fraction are computed once. A format that the runtime refuses a layer has 0 there.

    Args:
        device: what computes.
        layers: planned layers.
        formats: candidate formats.
        runtime: the engine: it packs the weights, and its kernels quantize activations or leave them.
        phase: decode or prefill.
        batch: sequences at once.
        tokens: in the cache of each (decode), or of each prompt (prefill).
        pool: memory pool of the weights; by default the device's first.

    Raises:
        InvalidRequestError: no such pool, a workload without rows, or a time beyond all bounds.
    """
    workload = Workload(phase, batch, tokens)
    rows: dict[tuple[str, Shape, float], list[int]] = {}
    for layer in layers:
        key = (layer.kind, layer.shape, layer.active_fraction)
        if key not in rows:
            calls = [_call(device, layer, fmt, runtime, workload) for fmt in formats]
            rows[key] = [0 if call is None else picoseconds(layer_seconds(device, call, pool)) for call in calls]
    table = [rows[layer.kind, layer.shape, layer.active_fraction] for layer in layers]
    return np.array(table, dtype=np.int64).reshape(len(layers), len(formats))


def _call(device: Device, layer: Layer, fmt: CandidateFormat, runtime: RuntimeProfile, workload: Workload) -> LinearCall | None:
    if runtime.refusal(fmt, layer) is not None:
        return None
    arithmetic = arithmetic_of(fmt, device, quantized_activations=runtime.quantizes_activations(fmt))
    bits = runtime.size_bits(fmt, layer.shape)
    return LinearCall(layer.shape, fmt.name, bits, arithmetic, workload.rows(layer.kind), layer.active_fraction)


def measured_entries(
    device: Device,
    layers: Sequence[Layer],
    formats: Sequence[CandidateFormat],
) -> NDArray[np.bool_]:
    """Which entries of ``latency_table`` come from measurements, bool (layers, formats); the others are the roofline's."""
    known = {(entry.shape, entry.format) for entry in device.table.entries}
    table = [[(layer.shape, fmt.name) in known for fmt in formats] for layer in layers]
    return np.array(table, dtype=bool).reshape(len(layers), len(formats))


def kv_picoseconds(device: Device, bits: NDArray[np.int64], *, pool: str | None = None) -> NDArray[np.int64]:
    """Time of reading so many bits of K and V cache once, as each decoded token does; elementwise, picoseconds, rounded up.

    Raises:
        InvalidRequestError: the device has no such pool, or a time beyond all bounds.
    """
    reached = device.profile.pool(pool).bandwidth.value * device.profile.bandwidth_share.value
    seconds = np.asarray(bits, dtype=np.float64) / 8 / reached
    picoseconds(float(seconds.max(initial=0.0)))
    return np.ceil(seconds * PICOSECONDS).astype(np.int64)
