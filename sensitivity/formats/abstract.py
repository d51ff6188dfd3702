"""The port of everything that a layer is measured in: what the second half of a cell's key stands for. No torch here."""

from abc import ABC, abstractmethod
from enum import StrEnum


class FormatFamily(StrEnum):
    """What a probe's formats are formats of. A name belongs to one family only."""

    WEIGHTS = "weights"
    KV_CACHE = "kv_cache"
    ANY = "any"


class AbstractFormat(ABC):
    """One column of the cells. Concrete formats are final and frozen.

    Attributes:
        name: registry key, unique over all families.
        num_bits: bits of one stored element; ``None`` where nothing is stored.
    """

    __slots__ = ()

    name: str
    num_bits: int | None

    @property
    @abstractmethod
    def identity(self) -> str:
        """SHA-256 of the content: two formats of one name but other content are not the same cell."""

    @abstractmethod
    def refusal(self, shape: tuple[int, int]) -> str | None:
        """Why a layer of shape (out, in) cannot be measured in this format, or ``None`` if it can."""

    def concerns(self, kind: str) -> bool:
        """Whether layers of this kind (``q_proj``, ``down_proj``, …) have a cell in this format at all."""
        return True
