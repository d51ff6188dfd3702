"""`kv_cache` beside bare forward passes over the same tokens, and what each cache format costs, on SmolLM2-135M."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sensitivity.calibration import CalibrationSpec, read_text
from sensitivity.checkpoint.reading import describe
from sensitivity.formats.kv_cache import KVCacheFormat, kv_cache_formats
from sensitivity.loading import load_model
from sensitivity.probes.base import ProbeRun, Unit
from sensitivity.probes.kv_cache import KVCache
from sensitivity.statistics import mean_and_error
from sensitivity.tokens import cut
from tests.benchmarks.timing import Turns

LIMIT = 0.6
BLOCKS = (1, 10, 19, 28)
"""On the average in the middle of 30 blocks, as the mean of all is."""
SEQUENCES, LENGTH = 4, 256


@pytest.mark.benchmark
@pytest.mark.real
@torch.no_grad()
def test_a_cell_costs_half_a_forward_pass(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Processor seconds, because other work on the machine does not count there."""
    model = load_model(describe(str(smollm2)))
    spec = CalibrationSpec(sequences=SEQUENCES, sequence_length=LENGTH)
    tokens = cut(read_text("builtin")[0], model.tokenizer, spec).calibration
    layers = [name for name in model.linears if model.block_of(name) in BLOCKS and name.endswith(("k_proj", "v_proj"))]
    run: ProbeRun[KVCacheFormat] = ProbeRun(model, layers, kv_cache_formats(), "rtn", tokens, seed=0)
    turns, merged = Turns(), run.no_statistics()
    model.module(input_ids=tokens, use_cache=False)
    for block in BLOCKS:
        with turns.timed("bare forward"):
            model.module(input_ids=tokens, use_cache=False)
        with turns.timed("kv_cache"):
            merged += KVCache().run(run, Unit("", (block, *range(SEQUENCES))))
    block = BLOCKS[1]
    rounded, exact = (probe.run(run, Unit("", (block, 0)))[..., 1] for probe in (KVCache(), KVCache(arithmetic="float32")))
    deviation = np.abs(rounded[exact > 0] / exact[exact > 0] - 1)
    cells = int((merged[..., 0] > 0).sum())
    ratio = turns.processor["kv_cache"] / cells / (turns.processor["bare forward"] / len(BLOCKS))
    loss, error = mean_and_error(merged)
    lines = [f"kv_cache, {cells} cells of blocks {BLOCKS}, {SEQUENCES} × {LENGTH} tokens"]
    lines += [f"{label:>22} {turns.processor[label]:7.1f} s processor" for label in turns.processor]
    lines += [f"{'a cell ÷ bare forward':>22} {ratio:7.2f}"]
    lines += [f"{'bfloat16 ÷ float32 − 1':>22} {deviation.max():7.4f} at most, {np.median(deviation):.4f} median"]
    lines += [f"{'nats per token':>22} {'bits':>6} " + " ".join(f"{f'block {block}':>18}" for block in BLOCKS)]
    for k, fmt in enumerate(run.formats):
        found = [f"{loss[i, k]:.2e} ± {error[i, k]:.0e}" for i in np.flatnonzero(merged[:, k, 0])]
        lines += [f"{fmt.name:>22} {fmt.effective_bits(64):6.2f} " + " ".join(f"{text:>18}" for text in found)]
    with capsys.disabled():
        print("\n".join(["", *lines]))  # noqa: T201
    assert ratio <= LIMIT
    assert deviation.max() <= 0.02
