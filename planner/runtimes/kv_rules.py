"""What an engine's KV cache may be stored in. Data, no torch."""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sensitivity.formats.kv_cache import CachedTensor

UNQUANTIZED: Final = frozenset({"BF16", "FP16"})
"""Every engine keeps an unquantized cache."""


class KVTie(StrEnum):
    """Which caches share a format."""

    FREE = "free"
    LAYER = "layer"
    TENSOR = "tensor"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class KVRules:
    """What an engine accepts.

    Attributes:
        tie: ``free``: every layer's keys and values for themselves; ``layer``: keys and values of a layer share one format;
            ``tensor``: all keys share one, and all values; ``all``: everything shares one.
        formats: names of the formats without the tensor (``FP8``, ``INT4``); ``None`` for every one.
    """

    tie: KVTie = KVTie.FREE
    formats: frozenset[str] | None = None

    def refusal(self, name: str, runtime: str) -> str | None:
        """Why the engine cannot keep a cache in a format, or ``None`` if it can."""
        if self.formats is None or name in self.formats | UNQUANTIZED:
            return None
        return f"{runtime} keeps caches in {', '.join(sorted(self.formats | UNQUANTIZED))} only, not in {name}"

    def group_key(self, block: int | None, tensor: CachedTensor) -> Hashable:
        """What the caches that share a format have in common."""
        return {
            KVTie.FREE: (block, tensor),
            KVTie.LAYER: block,
            KVTie.TENSOR: tensor,
            KVTie.ALL: None,
        }[self.tie]


ANY_KV: Final = KVRules()
"""Every cache for itself, in any format."""
UNQUANTIZED_KV: Final = KVRules(formats=frozenset())
"""16 bits an element: of an engine that nothing more is known of."""
