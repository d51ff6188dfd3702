"""Formats of other tools that imported measurements are about. They can be planned with; nothing here rounds or packs them.

Each is known by its name alone, which says everything that its size and its identity depend on:

- ``MLX_AFFINE4_G64``: MLX's affine mode, codes with a scale and a bias of 16 bits a group along the inputs.
- ``AUTOROUND_MXFP4_A4``: the weights of a format of ours, measured by AutoRound together with quantized activations.
- ``EXL2_A07_54804480_13369344``: option 7 of exllamav2 for an attention module (``M``: for an MLP): a mixture of bit widths
  within and between its matrices, of so many stored bits for so many weights. A layer's share is in proportion to its weights,
  rounded up, so that the shares of a module exceed it by less than a bit a layer.
- ``EXL3_K3``: the trellis of exllamav3, so many bits a weight, with a sign vector of 16 bits an element along each side.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, final

from sensitivity.formats.candidate import CandidateFormat, ElementType, Strategy

MLX_BITS: Final = (2, 3, 4, 5, 6, 8)
MLX_GROUP_SIZES: Final = (32, 64, 128)
_MLX: Final = re.compile(r"MLX_AFFINE(\d)_G(\d{2,3})")
_AUTOROUND: Final = re.compile(r"AUTOROUND_(\w+)_A(\d{1,2})")
EXL3_BITS: Final = range(1, 9)
_EXL3: Final = re.compile(r"EXL3_K([1-8])")
_EXL2: Final = re.compile(r"EXL2_([AM])(\d{2})_([1-9]\d{0,14})_([1-9]\d{0,14})")


@final
@dataclass(frozen=True, slots=True)
class ModuleOption(CandidateFormat):
    """A way to store the matrices of one module together, of which only the whole is known.

    Attributes:
        module_bits: stored bits of the module.
        module_weights: weights of the module.
    """

    module_bits: int = 1
    module_weights: int = 1

    def size_bits(self, shape: tuple[int, int]) -> int:
        """A layer's share of the module's bits, in proportion to its weights, rounded up.

        Raises:
            UnsupportedShapeError: an empty matrix.
        """
        self._require_storable(shape)
        return -(-shape[0] * shape[1] * self.module_bits // self.module_weights)


@final
@dataclass(frozen=True, slots=True)
class TrellisFormat(CandidateFormat):
    """A matrix in exllamav3's trellis: what is stored beside the codes belongs to rows and columns."""

    def size_bits(self, shape: tuple[int, int]) -> int:
        """``num_bits`` a weight and 16 for each row and each column.

        Raises:
            UnsupportedShapeError: an empty matrix.
        """
        self._require_storable(shape)
        return shape[0] * shape[1] * self.num_bits + 16 * sum(shape)


def trellis(bits: int) -> CandidateFormat:
    """exllamav3's format of so many bits, one of ``EXL3_BITS``."""
    return TrellisFormat(f"EXL3_K{bits}", bits, ElementType.FOREIGN, Strategy.CHANNEL, scale_dtype="float16")


def mlx_affine(bits: int, group_size: int) -> CandidateFormat:
    """MLX's affine mode; bits and group size are those of ``MLX_BITS`` and ``MLX_GROUP_SIZES``."""
    return CandidateFormat(
        name=f"MLX_AFFINE{bits}_G{group_size}",
        num_bits=bits,
        type=ElementType.FOREIGN,
        strategy=Strategy.GROUP,
        group_size=group_size,
        symmetric=False,
        zero_point_bits=16,
    )


def with_activations(weights: CandidateFormat, activation_bits: int) -> CandidateFormat:
    """A format of ours that was measured together with activations of so many bits."""
    return replace(weights, name=f"AUTOROUND_{weights.name}_A{activation_bits}", type=ElementType.FOREIGN)


def module_option(kind: str, number: int, *, bits: int, weights: int) -> CandidateFormat:
    """An option of exllamav2.

    Args:
        kind: ``A`` for an attention module, ``M`` for an MLP.
        number: place of the option in the tool's list, below 100.
        bits: stored bits of the module.
        weights: weights of the module.
    """
    return ModuleOption(
        name=f"EXL2_{kind}{number:02d}_{bits}_{weights}",
        num_bits=bits // weights,
        type=ElementType.FOREIGN,
        strategy=Strategy.GROUP,
        symmetric=False,
        module_bits=bits,
        module_weights=weights,
    )


def foreign_format(name: str, own: Callable[[str], CandidateFormat | None]) -> CandidateFormat | None:
    """The format that a name of another tool's namespace stands for, or ``None`` if it is no such name.

    Args:
        name: in capital letters.
        own: candidate formats of ours by name.
    """
    if (match := _MLX.fullmatch(name)) is not None:
        bits, group_size = int(match[1]), int(match[2])
        return mlx_affine(bits, group_size) if bits in MLX_BITS and group_size in MLX_GROUP_SIZES else None
    if (match := _AUTOROUND.fullmatch(name)) is not None:
        weights, activations = own(match[1]), int(match[2])
        return with_activations(weights, activations) if weights is not None and activations < 16 else None
    if (match := _EXL3.fullmatch(name)) is not None:
        return trellis(int(match[1]))
    if (match := _EXL2.fullmatch(name)) is not None:
        return module_option(match[1], int(match[2]), bits=int(match[3]), weights=int(match[4]))
    return None
