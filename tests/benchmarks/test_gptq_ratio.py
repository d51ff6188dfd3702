"""`gptq` on SmolLM2-135M: what several formats cost beside one."""

from pathlib import Path

import pytest

from sensitivity.calibration import CalibrationSpec, read_text
from sensitivity.checkpoint.reading import describe
from sensitivity.formats.registry import get_format
from sensitivity.layer_rounding import LayerRounding
from sensitivity.loading import load_model
from sensitivity.tokens import cut
from tests.benchmarks.timing import Turns

LIMIT = 2.0
BLOCKS = 4
SPEC = CalibrationSpec(sequences=48, sequence_length=256, held_out_sequences=8, held_out_length=512)
SIX = [get_format(f"INT{bits}_G64") for bits in (2, 3, 4, 5, 6, 8)]


@pytest.mark.benchmark
@pytest.mark.real
def test_six_formats_cost_little_more_than_one(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything counts: the forward pass, the second moments, the factorisation, the scale search and the sweep."""
    model = load_model(describe(str(smollm2)))
    tokens = cut(read_text("builtin")[0], model.tokenizer, SPEC).calibration
    layers = [name for name in model.linears if (model.block_of(name) or 0) < BLOCKS]
    turns = Turns()
    for _ in range(2):
        for label, formats in (("one format", SIX[2:3]), ("six formats", SIX)):
            with turns.timed(f"gptq, {label}"):
                LayerRounding(model, "gptq", dict.fromkeys(layers, formats), tokens=tokens).prepare()
        for method in ("rtn", "rtn_clip"):
            rounding = LayerRounding(model, method, {})
            with turns.timed(f"{method}, six formats"):
                for name in layers:
                    for fmt in SIX:
                        rounding.fake_quantize(name, fmt)
    with capsys.disabled():
        title = f"{len(layers)} layers, {SPEC.sequences} × {SPEC.sequence_length} tokens"
        print(turns.report(title, "gptq, six formats", bare="gptq, one format"))  # noqa: T201
    assert turns.ratio("gptq, six formats", bare="gptq, one format") <= LIMIT
