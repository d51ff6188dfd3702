"""Weights seen as groups that share a scale, and the extremes of each group."""

import torch
from torch import Tensor

from sensitivity.errors import CorruptCheckpointError, UnsupportedShapeError
from sensitivity.formats.candidate import CandidateFormat, Strategy

Extremes = tuple[Tensor, Tensor]
"""Lowest and highest element of each group."""


def require_matrix(weight: Tensor, fmt: CandidateFormat) -> None:
    """Check that the format can store this tensor.

    Raises:
        UnsupportedShapeError: not a matrix, or a shape that the format refuses.
    """
    if weight.dim() != 2:
        msg = f"{fmt.name} rounds matrices of shape (out, in), not {tuple(weight.shape)}; flatten or transpose the tensor first"
        raise UnsupportedShapeError(msg)
    reason = fmt.refusal((weight.shape[0], weight.shape[1]))
    if reason is not None:
        raise UnsupportedShapeError(reason)


def group_width(fmt: CandidateFormat, columns: int) -> int:
    """Elements of one row that share a scale."""
    return columns if fmt.group_size is None else fmt.group_size


def as_groups(matrix: Tensor, width: int) -> Tensor:
    """Shape (out, in) to (out, groups, width): a view, or a zero-padded copy where the last group is ragged."""
    missing = -matrix.shape[1] % width
    if missing:
        matrix = torch.nn.functional.pad(matrix, (0, missing))
    return matrix.reshape(matrix.shape[0], -1, width)


def extremes(weight: Tensor, width: int) -> Extremes:
    """Lowest (at most 0) and highest (at least 0) element of each group, float32 of shape (out, groups).

    Raises:
        CorruptCheckpointError: an element is NaN or infinite.
    """
    lowest, highest = torch.aminmax(as_groups(weight, width), dim=-1)
    if not bool((torch.isfinite(lowest) & torch.isfinite(highest)).all()):
        raise CorruptCheckpointError(_trouble(weight))
    return lowest.float().clamp_(max=0.0), highest.float().clamp_(min=0.0)


def per_scale(extreme: Extremes, strategy: Strategy) -> Extremes:
    """Extremes per row group, or of the whole tensor (shape (1, 1)) where one scale serves all."""
    if strategy is not Strategy.TENSOR:
        return extreme
    lowest, highest = extreme
    return lowest.amin().reshape(1, 1), highest.amax().reshape(1, 1)


def _trouble(weight: Tensor) -> str:
    bad = ~torch.isfinite(weight)
    row, column = (int(i) for i in bad.nonzero()[0])
    return (
        f"weights are not finite: {int(torch.isnan(weight).sum())} NaN and {int(torch.isinf(weight).sum())} infinite of "
        f"{weight.numel()}, the first at row {row}, column {column}; take another copy of the checkpoint"
    )
