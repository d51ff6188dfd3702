"""mlx-lm: the loaded model in float32, where MLX's processor kernels add exactly what the codes stand for.

In bfloat16 these kernels also add in bfloat16, which alone moves a product by some per cent; on Apple's GPU they do not.
"""

from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.utils import load_model

from tests.exports.engines.answer import Loaded, fixed_tokens, main

LIBRARIES = ("mlx", "mlx-lm")
LINEAR = ("Linear", "QuantizedLinear", "SwitchLinear", "QuantizedSwitchLinear")


def load(directory: Path) -> Loaded:
    """Linear modules by path: bits, group size and mode where they are quantized."""
    model, _ = load_model(directory)
    model.set_dtype(mx.float32)
    layers = {path: _scheme(module) for path, module in model.named_modules() if type(module).__name__ in LINEAR}
    logits = model(mx.array(fixed_tokens()))
    return Loaded(layers, np.array(logits.astype(mx.float32)))


def _scheme(module: object) -> dict[str, object]:
    return {key: getattr(module, key) for key in ("bits", "group_size", "mode") if hasattr(module, key)}


if __name__ == "__main__":
    main(load, *LIBRARIES)
