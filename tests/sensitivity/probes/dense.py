"""Float64 references that share nothing with the probes: whole logits, finite differences, plain autograd."""

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from sensitivity.formats.candidate import CandidateFormat, FormatT
from sensitivity.formats.registry import get_format
from sensitivity.loading import LoadedModel
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit
from sensitivity.rounding import fake_quantize
from sensitivity.statistics import Statistics

FORMATS = tuple(get_format(name) for name in ("INT3_G32", "INT4_G32", "BF16"))


class NarrowOnly(CandidateFormat):
    """A format that refuses matrices of more than 32 columns."""

    def refusal(self, shape: tuple[int, int]) -> str | None:
        return f"{self.name} stores at most 32 columns, not {shape[1]}" if shape[1] > 32 else None


NARROW_ONLY = NarrowOnly(**{field.name: getattr(FORMATS[0], field.name) for field in dataclasses.fields(FORMATS[0])})


def random_tokens(sequences: int, length: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (sequences, length), generator=torch.Generator().manual_seed(seed))


def make_run(
    model: LoadedModel,
    tokens: torch.Tensor | None,
    *,
    formats: Sequence[CandidateFormat] = FORMATS,
    layers: Sequence[str] | None = None,
    seed: int = 0,
) -> ProbeRun:
    return ProbeRun(model=model, layers=layers or list(model.linears), formats=formats, rounding="rtn", tokens=tokens, seed=seed)


def run_all(probe: AbstractProbe[FormatT], run: ProbeRun[FormatT]) -> Statistics:
    sequences = 0 if run.tokens is None else len(run.tokens)
    units = probe.units(blocks=len(run.model.blocks), sequences=sequences)
    return probe.completed(sum((probe.run(run, unit) for unit in units), run.no_statistics()), sequences=sequences)


def run_units(probe: AbstractProbe, run: ProbeRun, units: Sequence[Unit]) -> Statistics:
    return sum((probe.run(run, unit) for unit in units), run.no_statistics())


def run_grouped(probe: AbstractProbe, run: ProbeRun, groups: Sequence[tuple[int, ...]]) -> Statistics:
    assert run.tokens is not None
    merged = sum((probe.run(run, Unit(str(i), group)) for i, group in enumerate(groups)), run.no_statistics())
    return probe.completed(merged, sequences=len(run.tokens))


def doubled(model: LoadedModel) -> LoadedModel:
    """A float64 copy; its layers are found under the same names."""
    found = copy.deepcopy(model)
    found.module.double()
    return found


def rounding_error(model: LoadedModel, layer: str, fmt: CandidateFormat) -> torch.Tensor:
    weight = model.linears[layer].weight
    return fake_quantize(weight, fmt).double() - weight.double()


def log_probabilities(model: LoadedModel, tokens: torch.Tensor) -> torch.Tensor:
    return model.module(tokens, use_cache=False).logits.log_softmax(-1)  # type: ignore[no-any-return]


@torch.no_grad()
def exact_fisher(
    model: LoadedModel, tokens: torch.Tensor, *, layers: Sequence[str], formats: Sequence[CandidateFormat]
) -> np.ndarray:
    """``½ Σ_y p(y) (d log p(y) / dε)²`` over the whole vocabulary along ``W + ε ΔW``, mean per token: (layers, formats).

    The derivative is a central difference in float64.
    """
    reference = doubled(model)
    probabilities = log_probabilities(reference, tokens).exp()
    result = np.zeros((len(layers), len(formats)))
    step = 1e-5
    for i, layer in enumerate(layers):
        weight = reference.linears[layer].weight
        original = weight.clone()
        for k, fmt in enumerate(formats):
            error = rounding_error(model, layer, fmt)
            weight.copy_(original + step * error)
            above = log_probabilities(reference, tokens)
            weight.copy_(original - step * error)
            below = log_probabilities(reference, tokens)
            result[i, k] = 0.5 * float((probabilities * ((above - below) / (2 * step)).square()).sum(-1).mean())
        weight.copy_(original)
    return result


def label_products(model: LoadedModel, tokens: torch.Tensor, labels: torch.Tensor, run: ProbeRun) -> np.ndarray:
    """``⟨Σ_t ∇_W log p(y_t), ΔW⟩`` by plain float64 autograd, one sequence at a time: (sequences, layers, formats)."""
    reference = doubled(model)
    weights = [reference.linears[name].weight.requires_grad_() for name in run.layers]
    errors = [[rounding_error(model, name, fmt) for fmt in run.formats] for name in run.layers]
    result = np.zeros((len(tokens), len(run.layers), len(run.formats)))
    for s, sequence in enumerate(tokens):
        chosen = log_probabilities(reference, sequence[None]).gather(-1, labels[None, s, :, None])
        gradients = torch.autograd.grad(chosen.sum(), weights, allow_unused=True)
        for i, gradient in enumerate(gradients):
            if gradient is not None:
                result[s, i] = [float((gradient * error).sum()) for error in errors[i]]
    return result


@torch.no_grad()
def chosen_experts(module: torch.nn.Module, tokens: torch.Tensor) -> list[list[set[int]]]:
    """Experts of every router and token, from the routers' own answers."""
    found: list[list[set[int]]] = []
    routers = [child for name, child in module.named_modules() if name.endswith("mlp.gate")]
    handles = [
        router.register_forward_hook(lambda *call: found.append([set(row) for row in call[2][2].tolist()])) for router in routers
    ]
    module(tokens, use_cache=False)
    for handle in handles:
        handle.remove()
    assert len(found) == len(routers) > 0
    return found


def flips_between(reference: torch.nn.Module, changed: torch.nn.Module, tokens: torch.Tensor) -> np.ndarray:
    """Share of (router, token) pairs of each sequence whose set of experts differs: (sequences,)."""
    before, after = chosen_experts(reference, tokens), chosen_experts(changed, tokens)
    flips = np.array([[a != b for a, b in zip(*pair, strict=True)] for pair in zip(before, after, strict=True)])
    shares: np.ndarray = flips.reshape(len(before), *tokens.shape).mean(axis=(0, 2))
    return shares
