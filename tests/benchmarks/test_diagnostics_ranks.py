"""How diagnostics rank the layers of SmolLM2-135M, beside the losses of `fisher` at three bits."""

from pathlib import Path
from typing import Any

import pytest
from scipy.stats import spearmanr

from sensitivity.calibration import CalibrationSpec, read_text
from sensitivity.checkpoint.reading import describe
from sensitivity.formats.abstract import FormatFamily
from sensitivity.formats.any_format import ANY_FORMAT
from sensitivity.formats.registry import get_format
from sensitivity.loading import load_model
from sensitivity.probe_facts import get_facts
from sensitivity.probes.base import ProbeRun
from sensitivity.probes.registry import get_probe
from sensitivity.statistics import mean_and_error
from sensitivity.tokens import cut
from tests.benchmarks.timing import Turns
from tests.sensitivity.probes.dense import run_all

DIAGNOSTICS = ("salience", "orthogonality", "perplexity_drop", "compactness", "energy_gain", "kurtosis")
SEQUENCES, LENGTH = 4, 256


@pytest.mark.benchmark
@pytest.mark.real
def test_ranks_beside_those_of_fisher(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is asserted of a ranking but that it is one: every layer has a number."""
    model = load_model(describe(str(smollm2)))
    spec = CalibrationSpec(sequences=SEQUENCES, sequence_length=LENGTH)
    tokens = cut(read_text("builtin")[0], model.tokenizer, spec).calibration
    layers = [name for name in model.linears if model.block_of(name) is not None]
    turns = Turns()
    ranks = {}
    for name in ("fisher", *DIAGNOSTICS):
        formats = [get_format("INT3_G64")] if get_facts(name).formats is FormatFamily.WEIGHTS else [ANY_FORMAT]
        run: ProbeRun[Any] = ProbeRun(model, layers, formats, "rtn", tokens, seed=0)
        with turns.timed(name):
            ranks[name] = mean_and_error(run_all(get_probe(name), run))[0][:, 0]
    lines = [f"{len(layers)} layers, {SEQUENCES} × {LENGTH} tokens; Spearman with fisher INT3_G64"]
    for name in DIAGNOSTICS:
        found = spearmanr(ranks[name], ranks["fisher"]).statistic
        lines += [f"{name:>22} {found:6.2f} {turns.processor[name]:7.1f} s processor (fisher {turns.processor['fisher']:.1f})"]
    with capsys.disabled():
        print("\n".join(["", *lines]))  # noqa: T201
    assert not any(spearmanr(found, found).statistic != 1 for found in ranks.values())
