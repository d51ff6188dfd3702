"""Formats of the K and V caches, apart from those of weights. No torch here.

A format is of keys or of values (``K_INT4``, ``V_INT4``): a fused query-key-value projection has cells of both, and a plan may
choose them apart. What each stores, for one layer with ``heads`` key-value heads:

- ``BF16``, ``FP16``: the elements themselves.
- ``FP8``: E4M3, saturating, under the scale 1 of an engine whose cache was not calibrated (vLLM's ``kv_cache_dtype="fp8"``);
  one float32 scale a layer.
- ``INT8``, ``INT4``, ``INT2``: asymmetric integers with a float16 scale and a float16 minimum for each token and head
  (LMDeploy's ``quant_policy`` 8 and 4).
- ``…_G32``: the same for every 32 elements of a token and head (the values of KIVI, arXiv 2402.02750).
- ``…_CHANNEL``, keys only: a scale and a minimum for each channel over 32 tokens that follow each other (the keys of KIVI: rotary
  keys have channels that are large for all tokens, which per-token scales have to cover).
- ``Q8_0``, ``Q4_0``: symmetric integers with a float16 scale for every 32 elements of a token and head, as ggml's blocks
  (llama.cpp's ``--cache-type-k`` and ``--cache-type-v``).
- ``NVFP4``: E2M1 elements with an E4M3 scale for every 16 elements of a token and head and a float32 scale a layer.

Keys are as the cache has them: after rotary embedding and norms. A last group of fewer elements is padded, as a weight's is.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from enum import StrEnum
from functools import cache
from typing import final

from sensitivity.checkpoint.families import FAMILIES
from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.abstract import AbstractFormat
from sensitivity.formats.candidate import ElementType


class CachedTensor(StrEnum):
    """Which of the two caches."""

    KEYS = "K"
    VALUES = "V"


class CacheStrategy(StrEnum):
    """Which elements share a scale."""

    UNQUANTIZED = "unquantized"
    TENSOR = "tensor"
    TOKEN = "token"  # noqa: S105  (of text)
    CHANNEL = "channel"


@final
@dataclass(frozen=True, slots=True)
class KVCacheFormat(AbstractFormat):
    """One way to store the keys, or the values, of an attention layer.

    Attributes:
        name: registry key: tensor, elements, groups (``V_INT2_G32``).
        num_bits: bits of one stored element.
        tensor: keys or values.
        type: element type.
        strategy: which elements share a scale: all, those of one token and head, or those of one channel.
        group_size: how many of those share one: elements of a head, or tokens of a channel; ``None`` for all of a head.
        element_dtype: torch's name of the elements; ``None`` for elements that torch does not have.
        scale_bits: stored bits of one scale.
        minimum_bits: stored bits of one minimum.
        tensor_bits: extras stored once a layer.
    """

    name: str
    num_bits: int
    tensor: CachedTensor
    type: ElementType
    strategy: CacheStrategy
    group_size: int | None = None
    element_dtype: str | None = None
    scale_bits: int = 0
    minimum_bits: int = 0
    tensor_bits: int = 0

    @property
    def identity(self) -> str:
        """SHA-256 over every field."""
        return hashlib.sha256(repr(astuple(self)).encode()).hexdigest()

    def refusal(self, shape: tuple[int, int]) -> str | None:
        """Why the output of a (out, in) projection cannot be kept in this format, or ``None`` if it can."""
        return f"{self.name} cannot store the output of an empty matrix of shape {shape}" if min(shape) < 1 else None

    def concerns(self, kind: str) -> bool:
        """Whether the output of layers of this kind goes to this cache."""
        return kind in _cached_kinds()[self.tensor]

    def size_bits(self, *, tokens: int, heads: int, head_dim: int) -> int:
        """Exact stored bits of a layer's keys (or values): elements, padding of last groups, scales, minima, extras.

        Args:
            tokens: in the cache.
            heads: key-value heads.
            head_dim: elements of a token and head.

        Raises:
            UnsupportedShapeError: a size below 1.
        """
        if min(tokens, heads, head_dim) < 1:
            msg = f"{self.name} cannot store {tokens} tokens × {heads} heads × {head_dim}: all must be at least 1"
            raise UnsupportedShapeError(msg)
        if self.strategy in (CacheStrategy.UNQUANTIZED, CacheStrategy.TENSOR):
            return tokens * heads * head_dim * self.num_bits + self.tensor_bits
        rows, length = (heads * head_dim, tokens) if self.strategy is CacheStrategy.CHANNEL else (tokens * heads, head_dim)
        width = self.group_size or length
        groups = rows * -(-length // width)
        return groups * (width * self.num_bits + self.scale_bits + self.minimum_bits) + self.tensor_bits

    def effective_bits(self, head_dim: int) -> float:
        """Stored bits of an element in a long cache, where what is stored once a layer does not count.

        Raises:
            UnsupportedShapeError: ``head_dim`` is below 1.
        """
        tokens = self.group_size if self.strategy is CacheStrategy.CHANNEL and self.group_size else 1
        return (self.size_bits(tokens=tokens, heads=1, head_dim=head_dim) - self.tensor_bits) / (tokens * head_dim)


def _formats_of(tensor: CachedTensor) -> tuple[KVCacheFormat, ...]:
    floats, whole, token = ElementType.FLOAT, CacheStrategy.UNQUANTIZED, CacheStrategy.TOKEN
    return (
        KVCacheFormat(f"{tensor}_BF16", 16, tensor, floats, whole, element_dtype="bfloat16"),
        KVCacheFormat(f"{tensor}_FP16", 16, tensor, floats, whole, element_dtype="float16"),
        KVCacheFormat(f"{tensor}_FP8", 8, tensor, floats, CacheStrategy.TENSOR, element_dtype="float8_e4m3fn", tensor_bits=32),
        KVCacheFormat(f"{tensor}_NVFP4", 4, tensor, floats, token, group_size=16, scale_bits=8, tensor_bits=32),
        *(_integers(tensor, num_bits, "", token, None) for num_bits in (8, 4, 2)),
        *(_integers(tensor, num_bits, "_G32", token, 32) for num_bits in (8, 4, 2)),
        *(
            KVCacheFormat(f"{tensor}_Q{num_bits}_0", num_bits, tensor, ElementType.INT, token, group_size=32, scale_bits=16)
            for num_bits in (8, 4)
        ),
    )


def _integers(tensor: CachedTensor, num_bits: int, groups: str, strategy: CacheStrategy, group_size: int | None) -> KVCacheFormat:
    return KVCacheFormat(
        f"{tensor}_INT{num_bits}{groups}",
        num_bits,
        tensor,
        ElementType.INT,
        strategy,
        group_size=group_size,
        scale_bits=16,
        minimum_bits=16,
    )


KV_CACHE_FORMATS = (
    *_formats_of(CachedTensor.KEYS),
    *(_integers(CachedTensor.KEYS, num_bits, "_CHANNEL", CacheStrategy.CHANNEL, 32) for num_bits in (8, 4, 2)),
    *_formats_of(CachedTensor.VALUES),
)


def without_tensor(name: str) -> str:
    """What a format's name says of either cache: ``INT8`` of ``K_INT8``; a name that says no more is returned as it is."""
    tensor, _, rest = name.partition("_")
    return rest if tensor in tuple(CachedTensor) else name


def kv_cache_formats() -> tuple[KVCacheFormat, ...]:
    """Every format of both caches, sorted by bits of an element, then by name."""
    return tuple(sorted(KV_CACHE_FORMATS, key=lambda fmt: (fmt.num_bits, fmt.name)))


@cache
def _cached_kinds() -> Mapping[CachedTensor, frozenset[str]]:
    """Kinds of the layers whose outputs go to each cache; a fused projection goes to both."""
    roles = [family.key_value for family in FAMILIES.values()]
    return {
        CachedTensor.KEYS: frozenset(role[0].rsplit(".", 1)[1] for role in roles),
        CachedTensor.VALUES: frozenset(role[-1].rsplit(".", 1)[1] for role in roles),
    }
