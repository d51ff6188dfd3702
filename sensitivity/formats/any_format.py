"""The reserved column of probes whose number does not depend on a format (``kurtosis``, ``orthogonality``, …).

A name of its own keeps such a number from being repeated in every format, where it would pass for the price of one.
"""

import hashlib
from dataclasses import dataclass
from typing import Final, final

from sensitivity.formats.abstract import AbstractFormat


@final
@dataclass(frozen=True, slots=True)
class AnyFormat(AbstractFormat):
    """Whatever the layer will be stored in.

    Attributes:
        name: ``ANY``.
        num_bits: ``None``: nothing is stored.
    """

    name: str = "ANY"
    num_bits: None = None

    @property
    def identity(self) -> str:
        """SHA-256 of the name, which is all there is."""
        return hashlib.sha256(self.name.encode()).hexdigest()

    def refusal(self, shape: tuple[int, int]) -> str | None:
        """Every layer has this cell."""
        return None


ANY_FORMAT: Final = AnyFormat()
