"""Nasty weight matrices, every one 256 columns wide."""

import torch
from torch import Tensor

from sensitivity.formats.candidate import CandidateFormat, Strategy


def nasty_matrices() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    plain = torch.randn(12, 256, generator=generator) * 0.02
    zero_rows, outlier, mixed = plain.clone(), plain.clone(), plain.clone()
    zero_rows[::3] = 0.0
    outlier[5, 77] = 1e4
    mixed[:, ::2] *= 2.0 ** torch.randint(-30, 30, (12, 128), generator=generator)
    ladder = torch.arange(-128, 128, dtype=torch.float32).repeat(4, 1) / 16
    return {
        "random": plain,
        "bfloat16": plain.bfloat16(),
        "float16": plain.half(),
        "zero rows": zero_rows,
        "all zero": torch.zeros(4, 256),
        "all equal": torch.full((4, 256), 0.3),
        "one outlier": outlier,
        "wide range": mixed,
        "negative only": -plain.abs() - 0.01,
        "positive only": plain.abs() + 0.01,
        "tiny": plain * 1e-28,
        "denormal": plain * 1e-38,
        "huge": plain * 50 * 5e37,
        "ties": ladder,
        "powers of two": torch.ldexp(torch.ones(64, 256), torch.arange(-140, 116, 4)[:, None]) * plain[0].sign(),
        "one row": plain[:1],
    }


def matrices_for(fmt: CandidateFormat) -> dict[str, Tensor]:
    """All of them; in one tall matrix where rows do not touch each other, which is many times faster."""
    found = nasty_matrices()
    if fmt.strategy in (Strategy.TENSOR, Strategy.TENSOR_GROUP):
        return found
    tall = torch.cat([matrix.float() for matrix in found.values()])
    return {"tall": tall, "bfloat16": found["bfloat16"], "one row": found["one row"]}
