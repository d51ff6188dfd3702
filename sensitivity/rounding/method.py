"""The port of every rounding method: how the weights of a matrix reach the grid of a format."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from sensitivity.errors import CalibrationError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.inputs.moments import InputMoments
from sensitivity.rounding.codec import Encoded
from sensitivity.rounding.nearest import decode
from sensitivity.rounding_facts import RoundingFacts


class AbstractRounding(ABC):
    """One rounding method. Concrete methods are final, frozen, hold only hyper-parameters, and are listed in ``METHODS``.

    A method that needs data is given the moments of the layer's inputs in the *unquantized* model: a cell is about one layer
    alone, and no error of earlier layers is carried forward (GPTQ's own scripts do that).

    Class attributes:
        facts: name, version and needs, as planning knows them.
    """

    facts: ClassVar[RoundingFacts]

    @property
    def name(self) -> str:
        """Registry key, part of a cell's identity."""
        return self.facts.name

    @property
    def version(self) -> int:
        """Raised whenever the numbers would change, also with a hyper-parameter's default; part of a cell's identity."""
        return self.facts.version

    def is_cheap(self, fmt: CandidateFormat) -> bool:
        """Whether rounding to a format anew costs no more than decoding kept codes."""
        return False

    @abstractmethod
    def encode_many(
        self, weight: Tensor, formats: Sequence[CandidateFormat], inputs: InputMoments | None = None
    ) -> list[Encoded]:
        """Codes and scales of one weight in several formats; what formats have in common is computed once.

        Args:
            weight: any float dtype, shape (out, in).
            formats: candidate formats.
            inputs: moments of the layer's inputs; needed where ``facts.needs_inputs`` says so.

        Raises:
            UnsupportedShapeError: a format cannot store this shape.
            CorruptCheckpointError: a weight is NaN or infinite.
            CalibrationError: the method needs inputs and has none.
        """

    def encode(self, weight: Tensor, fmt: CandidateFormat, inputs: InputMoments | None = None) -> Encoded:
        """``encode_many`` for one format."""
        return self.encode_many(weight, (fmt,), inputs)[0]

    @torch.no_grad()
    def fake_quantize(self, weight: Tensor, fmt: CandidateFormat, inputs: InputMoments | None = None) -> Tensor:
        """What the codes decode to: a new float32 tensor of shape (out, in). Raises as ``encode_many`` does."""
        return decode(self.encode(weight, fmt, inputs))

    def fake_quantize_each(self, weight: Tensor, formats: Sequence[CandidateFormat]) -> Iterator[Tensor]:
        """``fake_quantize`` in each format, one after the other: each is the caller's until the next is asked for."""
        return (self.fake_quantize(weight, fmt) for fmt in formats)

    def _required(self, inputs: InputMoments | None) -> InputMoments:
        if inputs is None:
            msg = f"rounding method {self.name!r} runs on text: give it a calibration set, or use rtn or rtn_clip"
            raise CalibrationError(msg)
        return inputs
