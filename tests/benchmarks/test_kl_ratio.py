"""`kl` beside bare forward passes and beside `fisher`, and few cells in units of both kinds, in one run on SmolLM2-135M."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from sensitivity.calibration import CalibrationSpec, read_text
from sensitivity.checkpoint.reading import describe
from sensitivity.formats.registry import get_format
from sensitivity.loading import load_model
from sensitivity.probes.base import ProbeRun, Unit
from sensitivity.probes.fisher import Fisher
from sensitivity.probes.kl import ALL_BLOCKS, KLDivergence
from sensitivity.statistics import mean_and_error
from sensitivity.tokens import cut
from tests.benchmarks.timing import Turns

LIMIT = 0.6
BLOCKS = (1, 10, 19, 28)
"""On the average in the middle of 30 blocks, as the mean of all is."""
SEQUENCES, LENGTH, DRAWS = 2, 256, 16
FEW, FEW_LIMIT = 20, 0.5
"""Named cells, and what they may cost of what they cost block by block."""
FORMATS = [get_format(f"INT{bits}_G64") for bits in (2, 3, 4, 6)]


@pytest.mark.benchmark
@pytest.mark.real
@torch.no_grad()
def test_kl_costs_half_a_forward_pass_a_cell_and_agrees_with_fisher(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Processor seconds, because other work on the machine does not count there."""
    model = load_model(describe(str(smollm2)))
    spec = CalibrationSpec(sequences=SEQUENCES, sequence_length=LENGTH)
    tokens = cut(read_text("builtin")[0], model.tokenizer, spec).calibration
    layers = [name for name in model.linears if model.block_of(name) in BLOCKS]
    run = ProbeRun(model, layers, FORMATS, "rtn", tokens, seed=0)
    turns, merged = Turns(), run.no_statistics()
    model.module(input_ids=tokens, use_cache=False)
    for block in BLOCKS:
        with turns.timed("bare forward"):
            model.module(input_ids=tokens, use_cache=False)
        with turns.timed("kl"):
            merged += KLDivergence().run(run, Unit("", (block, *range(SEQUENCES))))
    with turns.timed("fisher"):
        estimated = Fisher(draws=DRAWS).run(run, Unit("", tuple(range(SEQUENCES))))
    block = BLOCKS[1]
    rounded, exact = (probe.run(run, Unit("", (block, 0))) for probe in (KLDivergence(), KLDivergence(arithmetic="float32")))
    found = exact[..., 0] > 0
    deviation = np.abs(rounded[..., 1][found] / exact[..., 1][found] - 1)
    ratio = turns.processor["kl"] / (len(layers) * len(FORMATS)) / (turns.processor["bare forward"] / len(BLOCKS))
    kl, fisher = (mean_and_error(statistics)[0] for statistics in (merged, estimated))
    lines = [f"kl, {len(layers)} layers of blocks {BLOCKS} × {len(FORMATS)} formats, {SEQUENCES} × {LENGTH} tokens"]
    lines += [f"{label:>22} {turns.processor[label]:7.1f} s processor" for label in turns.processor]
    lines += [f"{'a cell ÷ bare forward':>22} {ratio:7.2f}"]
    lines += [f"{'bfloat16 ÷ float32 − 1':>22} {deviation.max():7.4f} at most, {np.median(deviation):.4f} median"]
    for k, fmt in enumerate(FORMATS):
        rank, share = spearmanr(kl[:, k], fisher[:, k]).statistic, fisher[:, k].sum() / kl[:, k].sum()
        lines += [
            f"{fmt.name:>22} rank correlation with fisher {rank:.3f}, Σ fisher ÷ Σ kl {share:.2f}, Σ kl {kl[:, k].sum():.5f}"
        ]
    with capsys.disabled():
        print("\n".join(["", *lines]))  # noqa: T201
    assert ratio <= LIMIT
    assert deviation.max() <= 0.01


@pytest.mark.benchmark
@pytest.mark.real
def test_few_named_cells_share_the_reference_and_keep_their_bits(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A round of adaptive measuring: cells all over the model, on one sequence."""
    model = load_model(describe(str(smollm2)))
    spec = CalibrationSpec(sequences=2, sequence_length=LENGTH // 2)
    tokens = cut(read_text("builtin")[0], model.tokenizer, spec).calibration
    layers = [name for name in model.linears if model.block_of(name) is not None]
    random = np.random.default_rng(0)
    cells = {layers[i]: [FORMATS[random.integers(len(FORMATS))].name] for i in random.choice(len(layers), FEW, replace=False)}
    run = ProbeRun(model, layers, FORMATS, "rtn", tokens, seed=0, cells=cells)
    probe, turns, blocks = KLDivergence(), Turns(), len(model.blocks)
    probe.run(run, Unit("", (ALL_BLOCKS, 1)))  # rounds the weights
    with turns.timed("together"):
        together = probe.run(run, Unit("", (ALL_BLOCKS, 0)))
    run.cache.pop("walks")
    with turns.timed("block by block"):
        singly = sum((probe.run(run, Unit("", (block, 0))) for block in range(blocks + 1)), run.no_statistics())
    ratio = turns.processor["together"] / turns.processor["block by block"]
    with capsys.disabled():
        print(f"\nkl, {FEW} cells of {blocks} blocks on one sequence: together ÷ block by block {ratio:.2f} of the processor")  # noqa: T201
    assert np.array_equal(together, singly)
    assert ratio <= FEW_LIMIT
