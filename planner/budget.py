"""Budgets: an upper limit in the words of the user, turned into whole units for the planned layers."""

import math
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache

from planner.errors import InvalidRequestError

KV_ELEMENT_BYTES = 2
DTYPE_BITS = {"bfloat16": 16, "float16": 16, "float32": 32, "float64": 64}


def unquantized_kv_bytes(elements_per_token: int, *, context: int, batch: int) -> int:
    """Bytes of the K and V caches of so many sequences, 16 bits an element."""
    return elements_per_token * context * batch * KV_ELEMENT_BYTES


class BudgetKind(StrEnum):
    """What the limit is a limit of."""

    EFFECTIVE_BITS = "effective_bits"
    FILE_BYTES = "file_bytes"
    RESIDENT_BYTES = "resident_bytes"
    DECODE_SECONDS = "decode_seconds"
    PREFILL_SECONDS = "prefill_seconds"
    BIT_OPERATIONS = "bit_operations"
    POOL_BYTES = "pool_bytes"
    MAX_LOSS = "max_loss"

    @property
    def counts_bits(self) -> bool:
        """The limit is one of stored bits, in some unit."""
        return self in (BudgetKind.EFFECTIVE_BITS, BudgetKind.FILE_BYTES, BudgetKind.RESIDENT_BYTES)

    @property
    def counts_seconds(self) -> bool:
        """The limit is one of time on a device."""
        return self in (BudgetKind.DECODE_SECONDS, BudgetKind.PREFILL_SECONDS)

    @property
    def needs_device(self) -> bool:
        """The limit is one of something that a device has."""
        return self.counts_seconds or self is BudgetKind.POOL_BYTES

    @property
    def counts_caches(self) -> bool:
        """K and V caches take of it."""
        return self in (BudgetKind.RESIDENT_BYTES, BudgetKind.DECODE_SECONDS, BudgetKind.POOL_BYTES)

    @property
    def depends_on_context(self) -> bool:
        """Context and batch may be given with it; with ``max_loss`` the smallest plan is the one of fewest resident bytes."""
        return self.counts_caches or self.counts_seconds or self is BudgetKind.MAX_LOSS


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a model holds beside the layers that are planned.

    Attributes:
        parameters: weights of the planned layers.
        fixed_bytes: unquantized tensors and ignored layers, in bytes.
        kv_elements_per_token: elements one token adds to the K and V caches.
        container_bytes: what the files of weights have beside tensors: headers, tokenizer, index. No memory of a device holds it.
            ``None`` where it is not known; then tensors alone are counted.
    """

    parameters: int
    fixed_bytes: int
    kv_elements_per_token: int
    container_bytes: int | None = None

    @property
    def fixed_file_bytes(self) -> int:
        """Bytes of the files of weights beside the planned layers."""
        return self.fixed_bytes + (self.container_bytes or 0)


@dataclass(frozen=True, slots=True)
class Meter:
    """How a limit counts: in whole units, of which something is taken beside what is planned.

    Attributes:
        units: whole units of one of the user's: 8 bits of a byte, 10^12 picoseconds of a second.
        fixed: whole units that are taken already, whatever is planned.
        whole: a part of one of the user's units counts as a whole one, as with bytes.
    """

    units: int
    fixed: int = 0
    whole: bool = False

    def room(self, value: float) -> int:
        """Whole units that what is planned may take under a limit; negative when the rest alone is over it."""
        numerator, denominator = Decimal(str(value)).as_integer_ratio()  # exact, and a fifth of the time of a Fraction
        units = numerator // denominator * self.units if self.whole else numerator * self.units // denominator
        return units - self.fixed

    def value(self, whole: int) -> float:
        """What ``whole`` units of what is planned, and the rest, come to in the user's unit."""
        total = self.fixed + whole
        if self.whole:
            return -(-total // self.units)
        return total / self.units if self.units else 0.0

    def least(self, whole: int) -> float:
        """The limit, in the user's unit, that has just room for ``whole`` units of what is planned."""
        if self.whole or not self.units:
            return self.value(whole)
        return _least_quotient(self.fixed + whole, self.units)


@dataclass(frozen=True, slots=True)
class Budget:
    """An upper limit.

    Attributes:
        kind: what is limited.
        value: bits per planned weight, bytes, seconds, bit-operations of a token, or loss in the curves' unit.
        context: tokens in the KV cache of one sequence; of a prefill, tokens of its prompt.
        batch: sequences served at once.
        workspace_bytes: activations and buffers to leave free (resident bytes only).
        device: name of the device whose seconds, or memory, these are.
        pool: name of the memory pool (pool bytes only).
    """

    kind: BudgetKind
    value: float
    context: int = 0
    batch: int = 1
    workspace_bytes: int = 0
    device: str | None = None
    pool: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.value < float("inf"):
            msg = f"a budget must be a positive number, not {self.value}"
            raise InvalidRequestError(msg)
        if min(self.context, self.workspace_bytes) < 0 or self.batch < 1:
            msg = "context and workspace_bytes must not be negative, and batch must be at least 1"
            raise InvalidRequestError(msg)
        if not self.kind.depends_on_context and (self.context or self.workspace_bytes or self.batch != 1):
            msg = f"context, batch and workspace_bytes are of resident_bytes, pool_bytes, seconds or max_loss, not of {self.kind}"
            raise InvalidRequestError(msg)

    def kv_bytes(self, footprint: Footprint) -> int:
        """Bytes of the KV cache at this context and batch, 16 bits an element."""
        return unquantized_kv_bytes(footprint.kv_elements_per_token, context=self.context, batch=self.batch)

    def meter(self, footprint: Footprint, *, caches_planned: bool = False) -> Meter:
        """How the limit counts stored bits.

        Args:
            footprint: what is beside the planned layers.
            caches_planned: the bits of the KV cache are counted with those of the layers; else it is fixed, at 16 bits.

        Raises:
            InvalidRequestError: it does not count bits.
        """
        if not self.kind.counts_bits:
            msg = f"{self.kind} is no limit of bits: give effective_bits, file_bytes or resident_bytes"
            raise InvalidRequestError(msg)
        if self.kind is BudgetKind.EFFECTIVE_BITS:
            return Meter(footprint.parameters)
        rest = footprint.fixed_file_bytes
        if self.kind is BudgetKind.RESIDENT_BYTES:
            rest = footprint.fixed_bytes + self.workspace_bytes + (0 if caches_planned else self.kv_bytes(footprint))
        return Meter(8, 8 * rest, whole=True)

    def layer_bits(self, footprint: Footprint) -> int:
        """Whole bits that the planned layers may take; negative when the rest alone is over the budget."""
        return self.meter(footprint).room(self.value)

    def of_layer_bits(self, bits: int, footprint: Footprint) -> float:
        """The budget, in its own unit, that is just large enough for ``bits`` bits of planned layers."""
        return self.meter(footprint).least(bits)


@lru_cache(maxsize=1024)
def _least_quotient(whole: int, units: int) -> float:
    """Least number that, as it is printed and read again, times ``units`` is no less than ``whole``."""
    quotient = whole / units
    while Fraction(str(quotient)) * units < whole:
        quotient = math.nextafter(quotient, math.inf)
    return quotient
