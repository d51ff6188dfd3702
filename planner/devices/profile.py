"""A device: the memory that weights are read from, the rates of its arithmetic, and where each figure comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from planner.errors import InvalidRequestError


class Arithmetic(StrEnum):
    """What a matrix product is computed in, whatever the weights are stored in."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    FP4 = "fp4"
    INT4 = "int4"


class Trust(StrEnum):
    """How far to trust a figure."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    MEASURED = "measured"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of a device.

    Attributes:
        value: in the unit of the field that holds it.
        source: where it comes from.
        status: ``verified`` if a source states it, ``measured`` if bitplan measured it on the device, else ``unverified``.
    """

    value: float
    source: str = ""
    status: Trust = Trust.UNVERIFIED


@dataclass(frozen=True, slots=True)
class MemoryPool:
    """Memory that weights or caches can lie in.

    Attributes:
        name: ``vram``, ``ram``, …
        bandwidth: bytes a second at which the device's arithmetic reads it; over the link, if there is one between.
        size: bytes; ``None`` where it depends on the machine.
    """

    name: str
    bandwidth: Figure
    size: Figure | None = None


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """What the roofline needs to know of a device.

    Attributes:
        name: what it is called.
        description: one line for people.
        pools: memory pools; the first is where weights and caches lie unless it is said.
        peaks: operations a second, dense, by arithmetic; a multiplication and its addition are two. An arithmetic without a
            peak is one that the device does not accelerate: weights are dequantized there.
        kernel_seconds: overhead of one kernel.
        bandwidth_share: share of a pool's bandwidth that kernels reach, above 0 and at most 1.
    """

    name: str
    description: str
    pools: tuple[MemoryPool, ...]
    peaks: Mapping[Arithmetic, Figure]
    kernel_seconds: Figure
    bandwidth_share: Figure

    @property
    def dequantized(self) -> Arithmetic:
        """What weights are dequantized to where a kernel leaves the activations as they are."""
        return next(arithmetic for arithmetic in _DEQUANTIZED if arithmetic in self.peaks)

    def pool(self, name: str | None = None) -> MemoryPool:
        """A memory pool; the first one unless it is named.

        Raises:
            InvalidRequestError: the device has no pool of that name.
        """
        for pool in self.pools:
            if name in (None, pool.name):
                return pool
        names = [pool.name for pool in self.pools]
        msg = f"the device {self.name} has no memory pool {name!r}: use one of {', '.join(names)}"
        raise InvalidRequestError(msg, pools=names)


_DEQUANTIZED: Final = (Arithmetic.BF16, Arithmetic.FP16, Arithmetic.FP32)
PLAIN: Final = frozenset(_DEQUANTIZED)
"""Arithmetic of unquantized numbers; a device has a peak of one of these at least."""
