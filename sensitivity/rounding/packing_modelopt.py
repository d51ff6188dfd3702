"""Encoded matrices as the tensors of a ModelOpt checkpoint: ``weight``, ``weight_scale`` and, under NVFP4, ``weight_scale_2``.

An NVFP4 weight is ``element·weight_scale·weight_scale_2``: ModelOpt stores the factor, compressed-tensors its inverse.
"""

import torch
from torch import Tensor

from sensitivity.errors import UnsupportedShapeError
from sensitivity.formats.packing_modelopt import modelopt_refusal
from sensitivity.rounding.codec import Encoded
from sensitivity.rounding.packing import pack_pairs


def modelopt(encoded: Encoded) -> dict[str, Tensor]:
    """Tensors of one layer by the last part of their names.

    Raises:
        UnsupportedShapeError: ModelOpt cannot store this matrix in this format.
    """
    reason = modelopt_refusal(encoded.format, encoded.shape)
    if reason is not None:
        raise UnsupportedShapeError(reason)
    scaling = encoded.scaling
    if scaling is None:
        return {"weight": encoded.codes}
    if scaling.global_scale is None:
        return {"weight": encoded.codes, "weight_scale": scaling.stored.flatten().to(torch.float32)}
    return {
        "weight": pack_pairs(encoded.codes),
        "weight_scale": scaling.stored,
        "weight_scale_2": (1.0 / scaling.global_scale).reshape(()),
    }
