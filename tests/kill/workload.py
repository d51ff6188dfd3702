"""The job that is disturbed: a real probe on a tiny model, in as many units as asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sensitivity.probes.fisher import UNIT_SEQUENCES
from tests.tiny_models import tiny_llama

NAME = "victim"
FORMATS = ("INT3_G32", "INT4_G32", "INT6_G32", "INT8_G32")
_WORDS = ("one", "lease", "two", "units", "three", "workers", "seven", "tables", "nine", "clocks")


@dataclass(frozen=True, slots=True)
class Workload:
    """``fisher`` over so many chunks of sequences.

    Attributes:
        model: folder of a checkpoint.
        units: of the job.
        tokens: of each sequence.
    """

    model: Path
    units: int
    tokens: int

    @classmethod
    def create(cls, folder: Path, *, units: int, heavy: bool) -> Self:
        """A model is written into a new folder: units take milliseconds, or, if heavy, a sixth of a second of a processor."""
        if heavy:
            return cls(tiny_llama(folder, blocks=2, hidden=128, ffn=256), units, tokens=256)
        return cls(tiny_llama(folder, blocks=1), units, tokens=16)

    def registration(self) -> dict[str, Any]:
        """Body of ``POST /v1/models``."""
        return {"source": str(self.model), "name": NAME}

    def calibration(self) -> dict[str, Any]:
        """Body of ``POST /v1/calibrations``: a text of exactly as many bytes, which are the tokens, as are needed and some."""
        sequences = self.units * UNIT_SEQUENCES
        count = 0
        parts: list[str] = []
        while count < sequences * self.tokens + 64:
            number = len(parts)
            parts.append(f"{_WORDS[number * number % 10]} {_WORDS[number // 7 % 10]} {number}. ")
            count += len(parts[-1])
        return {
            "text": "".join(parts),
            "sequences": sequences,
            "sequence_length": self.tokens,
            "held_out_sequences": 1,
            "held_out_length": 8,
        }

    def job(self, calibration: str) -> dict[str, Any]:
        """Body of ``POST /v1/jobs``."""
        return {"model": NAME, "probe": "fisher", "formats": list(FORMATS), "calibration": calibration, "seed": 7}
