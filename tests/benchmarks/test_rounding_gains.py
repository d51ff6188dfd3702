"""What rounding methods gain on SmolLM2-135M: output errors and KL on held-out text, beside round-to-nearest."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from sensitivity.calibration import CalibrationSpec, read_text
from sensitivity.checkpoint.reading import describe
from sensitivity.evaluation import evaluate, summarise
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format
from sensitivity.inputs.watching import InputWatcher
from sensitivity.layer_rounding import LayerRounding
from sensitivity.loading import LoadedModel, load_model
from sensitivity.rounding_facts import all_rounding_facts
from sensitivity.tokens import cut

SPEC = CalibrationSpec(sequences=48, sequence_length=256, held_out_sequences=8, held_out_length=512)
UNIFORM = [get_format(name) for name in ("INT3_G64", "INT4_G64")]
COMPARED = [
    *(get_format(name) for name in ("INT2_G64", "INT3_G64", "INT4_G64", "INT6_G64", "INT8_G64", "INT4_G64_ASYM")),
    *(get_format(name) for name in ("INT4_CHANNEL", "NVFP4", "MXFP4", "NF4_G64", "FP8")),
]


@pytest.mark.benchmark
@pytest.mark.real
def test_what_each_method_gains(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model(describe(str(smollm2)))
    tokens = cut(read_text("builtin")[0], model.tokenizer, SPEC)
    layers = [name for name in model.linears if model.block_of(name) is not None]
    errors, divergences = {}, {}
    for facts in all_rounding_facts():
        rounding = LayerRounding(model, facts.name, dict.fromkeys(layers, COMPARED), tokens=tokens.calibration)
        rounding.prepare()
        errors[facts.name] = output_errors(model, rounding, layers, tokens.held_out)
        divergences[facts.name] = uniform_kl(model, rounding, layers, tokens.held_out)
    with capsys.disabled():
        print("\n".join(["", *error_table(errors), *divergence_table(divergences)]))  # noqa: T201
    for method in ("rtn_diagonal", "gptq"):
        assert (errors[method] <= errors["rtn"] * (1 + 1e-9)).all()
        assert all(kl < plain for (kl, _), (plain, _) in zip(divergences[method], divergences["rtn"], strict=True))


def output_errors(model: LoadedModel, rounding: LayerRounding, layers: Sequence[str], tokens: torch.Tensor) -> np.ndarray:
    """``Σ_layers tr(ΔW H ΔWᵀ) / tr(W H Wᵀ)`` on these tokens, (formats,)."""
    watcher = InputWatcher(model, tokens)
    total = np.zeros(len(COMPARED))
    for block in range(len(model.blocks)):
        names = [name for name in layers if model.block_of(name) == block]
        for name, moments in watcher.of_block(block, names).items():
            hessian, weight = moments.hessian.float(), model.linears[name].weight
            changes = [rounding.fake_quantize(name, fmt) - weight for fmt in COMPARED]
            energies = [float(((matrix @ hessian) * matrix).sum()) for matrix in (weight, *changes)]
            total += np.array(energies[1:]) / energies[0]
    return total


def uniform_kl(
    model: LoadedModel, rounding: LayerRounding, layers: Sequence[str], tokens: torch.Tensor
) -> list[tuple[float, float]]:
    """KL in nats per token and its standard error, all layers in one format."""
    assignments = [dict.fromkeys(layers, fmt) for fmt in UNIFORM]
    found = [summarise(statistics) for statistics in evaluate(model, assignments, tokens, rounding=rounding)]
    return [(summary.kl, summary.kl_error or 0.0) for summary in found]


def error_table(errors: Mapping[str, np.ndarray]) -> list[str]:
    def row(fmt: CandidateFormat, k: int) -> str:
        return f"{fmt.name:>14} " + " ".join(f"{found[k] / errors['rtn'][k]:12.3f}" for found in errors.values())

    head = f"{'':>14} " + " ".join(f"{name:>12}" for name in errors)
    return ["held-out output error, ratio to rtn", head, *(row(fmt, k) for k, fmt in enumerate(COMPARED))]


def divergence_table(divergences: Mapping[str, list[tuple[float, float]]]) -> list[str]:
    lines = ["held-out KL of uniform plans, nats per token ± standard error, ratio to rtn"]
    for k, fmt in enumerate(UNIFORM):
        plain = divergences["rtn"][k][0]
        cells = (f"{name} {kl[k][0]:.4f} ± {kl[k][1]:.4f} ({kl[k][0] / plain:.3f})" for name, kl in divergences.items())
        lines.append(f"{fmt.name:>14} " + ", ".join(cells))
    return lines
