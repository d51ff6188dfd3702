"""`fisher` beside the bare forward + backward over the same tokens, in one run, on SmolLM2-135M."""

from pathlib import Path

import pytest
import torch

from sensitivity.checkpoint.reading import describe
from sensitivity.formats.registry import get_format
from sensitivity.loading import LoadedModel, load_model
from sensitivity.probes.base import ProbeRun
from sensitivity.probes.fisher import Fisher
from sensitivity.probes.rounding_errors import RoundingErrors
from tests.benchmarks.timing import Turns

LIMIT = 1.5
SEQUENCES, LENGTH = 48, 256
FORMATS = [get_format(f"INT{bits}_G64") for bits in (2, 3, 4, 5, 6, 8)]


def bare_pass(model: LoadedModel, tokens: torch.Tensor) -> None:
    """What a user would run: float32, next-token loss, the gradient of every weight."""
    model.module.requires_grad_(requires_grad=True)
    with torch.enable_grad():
        model.module(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
    model.module.zero_grad(set_to_none=True)
    model.module.requires_grad_(requires_grad=False)


@pytest.mark.benchmark
@pytest.mark.real
@pytest.mark.parametrize("arithmetic", ["bfloat16", "float32"])
def test_fisher_costs_little_more_than_the_bare_passes(
    smollm2: Path, arithmetic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_model(describe(str(smollm2)))
    tokens = torch.randint(0, 49152, (SEQUENCES, LENGTH), generator=torch.Generator().manual_seed(0))
    run = ProbeRun(model, list(model.linears), FORMATS, "rtn", tokens, seed=0)
    probe = Fisher(arithmetic=arithmetic)
    turns = Turns()
    bare_pass(model, tokens[:1])
    with turns.timed("rounding, once"):
        for name in run.layers:
            RoundingErrors.of(run, arithmetic).stack(name)
    for unit in probe.units(blocks=len(model.blocks), sequences=SEQUENCES):
        with turns.timed("bare passes"):
            bare_pass(model, tokens[list(unit.indices)])
        with turns.timed("fisher"):
            probe.run(run, unit)
    with capsys.disabled():
        title = f"fisher ({arithmetic}), {len(run.layers)} layers × {len(FORMATS)} formats, {SEQUENCES} × {LENGTH} tokens"
        print(turns.report(title, "rounding, once", "fisher", bare="bare passes"))  # noqa: T201
    assert turns.ratio("rounding, once", "fisher", bare="bare passes") <= LIMIT
