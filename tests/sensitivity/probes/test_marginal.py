"""Changes from a plan against float64 derivatives of the KL at the plan."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import torch

from sensitivity.errors import CalibrationError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.loading import LoadedModel
from sensitivity.probes.base import ProbeRun, Unit
from sensitivity.probes.marginal import Marginal
from sensitivity.rounding import fake_quantize
from sensitivity.statistics import mean_and_error
from tests.sensitivity.probes.dense import FORMATS, NARROW_ONLY, doubled, log_probabilities, make_run, random_tokens

FLOAT32 = Marginal(arithmetic="float32", draws=1)


def around(model: LoadedModel, tokens: torch.Tensor | None, plan: Mapping[str, CandidateFormat], **options: object) -> ProbeRun:
    run = make_run(model, tokens, **options)  # type: ignore[arg-type]
    run.around = plan
    return run


def alternating(model: LoadedModel) -> dict[str, CandidateFormat]:
    """A plan of two formats that leaves the last layer as it is."""
    return {name: FORMATS[i % 2] for i, name in enumerate(list(model.linears)[:-1])}


class Dense:
    """KL(reference ‖ plan + change), per token and sequence, in float64."""

    def __init__(self, model: LoadedModel, tokens: torch.Tensor, plan: Mapping[str, CandidateFormat]) -> None:
        self.original, self.tokens, self.plan = model, tokens, plan
        self.reference, self.quantized = doubled(model), doubled(model)
        for name, fmt in plan.items():
            self.quantized.linears[name].weight.copy_(fake_quantize(model.linears[name].weight, fmt).double())
        self.expected = log_probabilities(self.reference, tokens)

    @torch.no_grad()
    def kl(self) -> np.ndarray:
        found = log_probabilities(self.quantized, self.tokens)
        return (self.expected.exp() * (self.expected - found)).sum(-1).mean(-1).numpy()

    @torch.no_grad()
    def change(self, layer: str, fmt: CandidateFormat) -> torch.Tensor:
        target = fake_quantize(self.original.linears[layer].weight, fmt).double()
        return target - self.quantized.linears[layer].weight

    @torch.no_grad()
    def along(self, layer: str, direction: torch.Tensor, step: float) -> tuple[np.ndarray, torch.Tensor]:
        """KL a step along the direction, and the log-probabilities there."""
        weight = self.quantized.linears[layer].weight
        weight += step * direction
        found = self.kl(), log_probabilities(self.quantized, self.tokens)
        weight -= step * direction
        return found

    def second_order(self, layer: str, fmt: CandidateFormat) -> np.ndarray:
        """Slope of the KL and half its Gauss-Newton curvature along the change, means over all tokens."""
        direction, step = self.change(layer, fmt), 1e-5
        (up, forward), (down, backward) = self.along(layer, direction, step), self.along(layer, direction, -step)
        here = log_probabilities(self.quantized, self.tokens).exp()
        scores = (forward - backward) / (2 * step)
        return np.array([((up - down) / (2 * step)).mean(), 0.5 * float((here * scores.square()).sum(-1).mean())])


def results(probe: Marginal, run: ProbeRun, *groups: Sequence[int]) -> np.ndarray:
    return probe.merge([probe.run(run, Unit(str(i), tuple(group))) for i, group in enumerate(groups)])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_changes_are_second_order_at_the_plan(load_family: Callable[[str], LoadedModel], family: str) -> None:
    """What is not the slope has the spread of as many χ² samples; the head is among the layers where it is one."""
    model = load_family(family)
    tokens, plan = random_tokens(4, 8), alternating(model)
    run = around(model, tokens, plan, formats=FORMATS[:2])
    probe = Marginal(arithmetic="float32", draws=48)
    merged = results(probe, run, range(4))
    mean, error = mean_and_error(probe.completed(merged, sequences=4))
    dense = Dense(model, tokens, plan)
    slope, curvature = np.array([[dense.second_order(name, fmt) for fmt in FORMATS[:2]] for name in run.layers]).transpose(
        2, 0, 1
    )
    off = (mean - slope - curvature) / (curvature + 1e-9)
    spread = (2 / (4 * 48)) ** 0.5
    assert np.abs(off).max() < 6 * spread
    assert abs((mean - slope).sum() / curvature.sum() - 1) < 2 * spread
    own = probe.point(merged)
    np.testing.assert_allclose(mean_and_error(own)[0], dense.kl().mean(), rtol=1e-5)
    for i, name in enumerate(run.layers):
        if name in plan:
            k = run.formats.index(plan[name])
            assert mean[i, k] == 0.0
            assert error[i, k] == 0.0


def test_the_slope_alone_is_exact(llama: LoadedModel) -> None:
    """Along a change of BF16 size nothing but the slope is left, and that draws no labels."""
    tokens, plan = random_tokens(4, 8), alternating(llama)
    run = around(llama, tokens, plan, formats=FORMATS)
    found = mean_and_error(FLOAT32.completed(results(FLOAT32, run, range(4)), sequences=4))[0]
    dense = Dense(llama, tokens, plan)
    last = run.layers[-1]
    assert last not in plan
    np.testing.assert_allclose(found[-1, 2], dense.second_order(last, FORMATS[2]).sum(), rtol=0.02)


def test_units_merge_in_any_grouping(load_family: Callable[[str], LoadedModel]) -> None:
    model = load_family("mixtral")
    run = around(model, random_tokens(6, 8), alternating(model), formats=FORMATS[:2])
    whole = FLOAT32.completed(results(FLOAT32, run, range(6)), sequences=6)
    parts = results(FLOAT32, run, (0, 1, 2), (3,), (4, 5))
    np.testing.assert_allclose(FLOAT32.completed(parts, sequences=6), whole, rtol=1e-4, atol=1e-6)
    assert FLOAT32.point(parts)[0] == 6
    assert set(np.unique(whole[..., 0])) <= {0.0, 6.0}


def test_what_a_format_cannot_store_keeps_no_sample_and_the_model_its_weights(llama: LoadedModel) -> None:
    before = {name: linear.weight.clone() for name, linear in llama.linears.items()}
    run = around(llama, random_tokens(2, 8), alternating(llama), formats=[*FORMATS[:2], NARROW_ONLY])
    found = FLOAT32.completed(results(FLOAT32, run, range(2)), sequences=2)
    stored = np.array([[k in run.storable(name) for k in range(3)] for name in run.layers])
    assert np.array_equal(found[..., 0] > 0, stored)
    assert all(torch.equal(linear.weight, before[name]) for name, linear in llama.linears.items())


def test_a_run_without_a_plan_says_so(llama: LoadedModel) -> None:
    with pytest.raises(CalibrationError, match="around a plan"):
        FLOAT32.run(make_run(llama, random_tokens(1, 8)), Unit("0", (0,)))
