"""Nasty weight matrices, every one of shape (out, in) with ``in`` divisible by 128."""

import torch
from torch import Tensor


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
        "all zero": torch.zeros(4, 128),
        "all equal": torch.full((4, 128), 0.3),
        "one outlier": outlier,
        "wide range": mixed,
        "negative only": -plain.abs() - 0.01,
        "positive only": plain.abs() + 0.01,
        "tiny": plain * 1e-28,
        "denormal": plain * 1e-38,
        "huge": plain * 50 * 5e37,
        "ties": ladder,
        "powers of two": torch.ldexp(torch.ones(64, 128), torch.arange(-140, 116, 4)[:, None]) * plain[0, :128].sign(),
        "one row": plain[:1],
    }
