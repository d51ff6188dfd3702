"""`output_error` beside the bare forward pass over the same tokens, in one run, on SmolLM2-135M."""

from pathlib import Path

import pytest
import torch

from sensitivity.checkpoint.reading import describe
from sensitivity.formats.registry import get_format
from sensitivity.loading import load_model
from sensitivity.probes.base import ProbeRun
from sensitivity.probes.output_error import OutputError
from sensitivity.rounding import get_rounding
from tests.benchmarks.timing import Turns

LIMIT = 1.3
SEQUENCES, LENGTH, BATCH = 48, 256, 8
FORMATS = [get_format(f"INT{bits}_G64") for bits in (2, 3, 4, 5, 6, 8)]


@pytest.mark.benchmark
@pytest.mark.real
@torch.no_grad()
def test_output_error_costs_little_more_than_a_forward_pass(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The limit is for the forward pass over a text of usual length; rounding, which any probe must do, comes on top.

    What each format costs once (a product with itself) is as much as the products of 16 sequences.
    """
    model = load_model(describe(str(smollm2)))
    tokens = torch.randint(0, 49152, (SEQUENCES, LENGTH), generator=torch.Generator().manual_seed(0))
    run = ProbeRun(model, list(model.linears), FORMATS, "rtn", tokens, seed=0)
    turns = Turns()
    probe = OutputError()
    units = probe.units(blocks=len(model.blocks), sequences=SEQUENCES)
    batches = dict(zip(units[:: len(units) * BATCH // SEQUENCES], torch.split(tokens, BATCH), strict=False))
    for unit in units:
        if unit in batches:
            with turns.timed("bare forward"):
                model.module(input_ids=batches.pop(unit), use_cache=False)
        with turns.timed("output_error"):
            probe.run(run, unit)
        with turns.timed("rounding"):
            for _, name in run.layers_of_block(unit.indices[0]):
                for rounded in get_rounding("rtn").fake_quantize_each(model.linears[name].weight, FORMATS):
                    rounded.sub_(model.linears[name].weight)
    assert not batches
    with capsys.disabled():
        title = f"output_error, {len(run.layers)} layers × {len(FORMATS)} formats, {SEQUENCES} × {LENGTH} tokens"
        print(turns.report(title, "output_error", bare="bare forward"))  # noqa: T201
    assert turns.processor["output_error"] - turns.processor["rounding"] <= LIMIT * turns.processor["bare forward"]
