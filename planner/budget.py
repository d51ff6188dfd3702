"""Budgets: an upper limit in the words of the user, turned into whole bits for the planned layers."""

import math
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from planner.errors import InvalidRequestError

KV_ELEMENT_BYTES = 2
DTYPE_BITS = {"bfloat16": 16, "float16": 16, "float32": 32, "float64": 64}


class BudgetKind(StrEnum):
    """What the limit is a limit of."""

    EFFECTIVE_BITS = "effective_bits"
    FILE_BYTES = "file_bytes"
    RESIDENT_BYTES = "resident_bytes"


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a model holds beside the layers that are planned.

    Attributes:
        parameters: weights of the planned layers.
        fixed_bytes: unquantized tensors and ignored layers, in bytes.
        kv_elements_per_token: elements one token adds to the K and V caches.
    """

    parameters: int
    fixed_bytes: int
    kv_elements_per_token: int


@dataclass(frozen=True, slots=True)
class Budget:
    """An upper limit.

    Attributes:
        kind: what is limited.
        value: bits per planned weight, or bytes.
        context: tokens in the KV cache of one sequence (resident bytes only).
        batch: sequences served at once (resident bytes only).
        workspace_bytes: activations and buffers to leave free (resident bytes only).
    """

    kind: BudgetKind
    value: float
    context: int = 0
    batch: int = 1
    workspace_bytes: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.value < float("inf"):
            msg = f"a budget must be a positive number, not {self.value}"
            raise InvalidRequestError(msg)
        if min(self.context, self.workspace_bytes) < 0 or self.batch < 1:
            msg = "context and workspace_bytes must not be negative, and batch must be at least 1"
            raise InvalidRequestError(msg)
        if self.kind is not BudgetKind.RESIDENT_BYTES and (self.context or self.workspace_bytes or self.batch != 1):
            msg = f"context, batch and workspace_bytes belong to a resident_bytes budget, not to {self.kind}"
            raise InvalidRequestError(msg)

    def kv_bytes(self, footprint: Footprint) -> int:
        """Bytes of the KV cache at this context and batch, 16 bits an element."""
        return footprint.kv_elements_per_token * self.context * self.batch * KV_ELEMENT_BYTES

    def layer_bits(self, footprint: Footprint) -> int:
        """Whole bits that the planned layers may take; negative when the rest alone is over the budget."""
        limit = Fraction(str(self.value))
        if self.kind is BudgetKind.EFFECTIVE_BITS:
            return int(limit * footprint.parameters)
        rest = footprint.fixed_bytes
        if self.kind is BudgetKind.RESIDENT_BYTES:
            rest += self.kv_bytes(footprint) + self.workspace_bytes
        return 8 * (int(limit) - rest)

    def of_layer_bits(self, bits: int, footprint: Footprint) -> float:
        """The budget, in its own unit, that is just large enough for ``bits`` bits of planned layers."""
        if self.kind is BudgetKind.EFFECTIVE_BITS:
            return _least_quotient(bits, footprint.parameters) if footprint.parameters else 0.0
        rest = footprint.fixed_bytes
        if self.kind is BudgetKind.RESIDENT_BYTES:
            rest += self.kv_bytes(footprint) + self.workspace_bytes
        return rest + -(-bits // 8)


def _least_quotient(bits: int, parameters: int) -> float:
    """Least number that, as it is printed and read again, times ``parameters`` is no less than ``bits``."""
    quotient = bits / parameters
    while Fraction(str(quotient)) * parameters < bits:
        quotient = math.nextafter(quotient, math.inf)
    return quotient
