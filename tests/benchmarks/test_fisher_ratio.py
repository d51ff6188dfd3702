"""`fisher` beside the bare forward + backward over the same tokens, on SmolLM2-135M: one draw of labels, and several."""

from pathlib import Path

import pytest
import torch

from sensitivity.checkpoint.reading import describe
from sensitivity.formats.registry import get_format
from sensitivity.loading import LoadedModel, load_model
from sensitivity.probes.base import ProbeRun, Unit
from sensitivity.probes.fisher import Fisher
from sensitivity.probes.rounding_errors import RoundingErrors
from tests.benchmarks.timing import Turns

LIMIT = 1.4
DRAWS, DRAWS_LIMIT = 4, 0.85
FEW = 4  # sequences that several draws are made on
SEQUENCES, LENGTH = 16, 256
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


@pytest.mark.benchmark
@pytest.mark.real
def test_several_draws_share_a_forward_pass(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four draws beside four bare forward + backward passes, and what a draw more costs beside a bare backward pass."""
    model = load_model(describe(str(smollm2)))
    tokens = torch.randint(0, 49152, (FEW, LENGTH), generator=torch.Generator().manual_seed(0))
    run = ProbeRun(model, list(model.linears), FORMATS, "rtn", tokens, seed=0)
    turns, unit = Turns(), Unit("000000", tuple(range(FEW)))
    for name in run.layers:
        RoundingErrors.of(run, "bfloat16").stack(name)
    bare_pass(model, tokens[:1])
    for _ in range(2):
        for _ in range(DRAWS):
            with turns.timed("bare passes"):
                bare_pass(model, tokens)
        with turns.timed("bare forward"), torch.no_grad():
            model.module(input_ids=tokens, labels=tokens, use_cache=False)
        for label, draws in (("fisher, 1 draw", 1), (f"fisher, {DRAWS} draws", DRAWS)):
            with turns.timed(label):
                Fisher(draws=draws).run(run, unit)
    more = (turns.processor[f"fisher, {DRAWS} draws"] - turns.processor["fisher, 1 draw"]) / (DRAWS - 1)
    backward = turns.processor["bare passes"] / DRAWS - turns.processor["bare forward"]
    with capsys.disabled():
        title = f"{DRAWS} draws beside {DRAWS} bare passes, {len(FORMATS)} formats, {FEW} × {LENGTH} tokens"
        print(turns.report(title, f"fisher, {DRAWS} draws", bare="bare passes"))  # noqa: T201
        print(f"{'a draw more':>22} {more / backward:7.2f} × a bare backward pass")  # noqa: T201
    assert turns.ratio(f"fisher, {DRAWS} draws", bare="bare passes") <= DRAWS_LIMIT
