"""A candidate format: one way to store a weight matrix, with its exact size. No torch here."""

import hashlib
from dataclasses import astuple, dataclass
from enum import StrEnum

from typing_extensions import TypeVar

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.abstract import AbstractFormat


class ElementType(StrEnum):
    """What one stored element is."""

    INT = "int"
    FLOAT = "float"
    NORMAL_FLOAT = "normal_float"
    BLOCK = "block"
    FOREIGN = "foreign"


class Strategy(StrEnum):
    """Which elements share a scale (compressed-tensors' words)."""

    TENSOR = "tensor"
    CHANNEL = "channel"
    GROUP = "group"
    TENSOR_GROUP = "tensor_group"
    UNQUANTIZED = "unquantized"


@dataclass(frozen=True, slots=True)
class CandidateFormat(AbstractFormat):
    """One way to store a matrix of shape (out, in).

    Attributes:
        name: registry key, the field's preset name (``INT4_G64``, ``FP8``, ``NVFP4``, ``BF16``).
        num_bits: bits of one stored element.
        type: element type.
        strategy: which elements share a scale.
        group_size: elements along the input dimension that share a scale; ``None`` unless grouped.
        symmetric: without a zero point.
        scale_dtype: dtype of a stored scale; ``None`` when there is none.
        scale_bits: stored bits of one scale.
        zero_point_bits: stored bits of one zero point.
        tensor_bits: extras stored once a tensor (NVFP4's float32 global scale).
    """

    name: str
    num_bits: int
    type: ElementType
    strategy: Strategy
    group_size: int | None = None
    symmetric: bool = True
    scale_dtype: str | None = "bfloat16"
    scale_bits: int = 16
    zero_point_bits: int = 0
    tensor_bits: int = 0

    @property
    def is_quantized(self) -> bool:
        """False for BF16 and FP16, which store the weights as they are."""
        return self.strategy is not Strategy.UNQUANTIZED

    @property
    def is_foreign(self) -> bool:
        """Another tool's format (``sensitivity.formats.foreign``): it has a size, but nothing here rounds or packs it."""
        return self.type is ElementType.FOREIGN

    @property
    def identity(self) -> str:
        """SHA-256 over every field: two formats of one name but other content are not the same cell."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()

    def refusal(self, shape: tuple[int, int]) -> str | None:
        """Why this format cannot store a (out, in) matrix, or ``None`` if it can."""
        out_features, in_features = shape
        if out_features < 1 or in_features < 1:
            return f"{self.name} cannot store an empty matrix of shape {shape}"
        return None

    def size_bits(self, shape: tuple[int, int]) -> int:
        """Exact stored bits of a (out, in) matrix: elements, padding of the last group, scales, zero points, extras.

        Raises:
            UnsupportedShapeError: the format cannot store this shape; nothing is replaced silently.
        """
        self._require_storable(shape)
        out_features, in_features = shape
        groups = self._scales(shape)
        padded = out_features * in_features
        if self.group_size is not None:
            padded = out_features * -(-in_features // self.group_size) * self.group_size
        return padded * self.num_bits + groups * (self.scale_bits + self.zero_point_bits) + self.tensor_bits

    def _require_storable(self, shape: tuple[int, int]) -> None:
        reason = self.refusal(shape)
        if reason is not None:
            raise UnsupportedShapeError(reason)

    def _scales(self, shape: tuple[int, int]) -> int:
        out_features, in_features = shape
        if self.strategy in (Strategy.GROUP, Strategy.TENSOR_GROUP):
            assert self.group_size is not None  # noqa: S101  (kept by the registry's own test)
            return out_features * -(-in_features // self.group_size)
        return {Strategy.TENSOR: 1, Strategy.CHANNEL: out_features}.get(self.strategy, 0)


FormatT = TypeVar("FormatT", bound=AbstractFormat, default=CandidateFormat)
"""Kind of the formats of a run or of curves: of weights, unless it is said."""
