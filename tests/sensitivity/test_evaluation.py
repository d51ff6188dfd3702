"""Evaluation against a dense float64 reference; the model comes back bit for bit."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from sensitivity.checkpoint.families import FAMILIES
from sensitivity.checkpoint.reading import describe
from sensitivity.errors import CalibrationError, CheckpointError, NonFiniteError
from sensitivity.evaluation import OF_LOGITS, Metric, evaluate, replaced_weights, summarise
from sensitivity.formats.registry import get_format
from sensitivity.layer_rounding import LayerRounding
from sensitivity.loading import LoadedModel, load_model
from sensitivity.next_token import hidden_states, next_token_logits
from sensitivity.rounding import fake_quantize
from sensitivity.statistics import mean_and_error
from tests.tiny_models import BUILDERS, build, tiny_llama

INT3, INT8, BF16, FP16 = (get_format(name) for name in ("INT3_G32", "INT8_G32", "BF16", "FP16"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(describe(str(tiny_llama(tmp_path_factory.mktemp("llama") / "model"))))


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    return torch.randint(0, 256, (5, 23), generator=torch.Generator().manual_seed(1))


def weights_of(model: LoadedModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.module.state_dict().items()}


def same_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name].view(torch.int32), second[name].view(torch.int32)) for name in first)


@torch.no_grad()
def dense_samples(model: LoadedModel, assignment: dict[str, str], tokens: torch.Tensor) -> np.ndarray:
    """A float64 copy of the model, all logits at once."""
    reference = copy.deepcopy(model.module).double()
    quantized = copy.deepcopy(model.module).double()
    for name, fmt in assignment.items():
        quantized.get_parameter(f"{name}.weight").copy_(fake_quantize(model.linears[name].weight, get_format(fmt)))
    p = reference(tokens, use_cache=False).logits.log_softmax(-1)
    q = quantized(tokens, use_cache=False).logits.log_softmax(-1)
    kl = (p.exp() * (p - q)).sum(-1).mean(-1)
    agreement = (p.argmax(-1) == q.argmax(-1)).double().mean(-1)
    following = tokens[:, 1:, None]
    nll, reference_nll = (-x[:, :-1].gather(-1, following).squeeze(-1).mean(-1) for x in (q, p))
    return torch.stack([kl, nll, agreement, reference_nll], dim=-1).numpy()


@pytest.mark.parametrize("fmt", ["INT3_G32", "INT8_G32"])
def test_all_metrics_equal_a_dense_float64_reference(model: LoadedModel, tokens: torch.Tensor, fmt: str) -> None:
    names = [name for name in model.linears if name != "lm_head"]
    found = evaluate(model, [dict.fromkeys(names, get_format(fmt))], tokens)
    samples = dense_samples(model, dict.fromkeys(names, fmt), tokens)
    mean, error = mean_and_error(found)
    np.testing.assert_allclose(mean[0, OF_LOGITS], samples.mean(0), rtol=1e-4)
    np.testing.assert_allclose(error[0, OF_LOGITS], samples.std(0, ddof=1) / np.sqrt(len(samples)), rtol=1e-3)


def test_a_quantized_head_is_used_for_the_quantized_model_only(model: LoadedModel, tokens: torch.Tensor) -> None:
    found = evaluate(model, [{"lm_head": INT3}, {}], tokens)
    samples = dense_samples(model, {"lm_head": "INT3_G32"}, tokens)
    np.testing.assert_allclose(mean_and_error(found)[0][0, OF_LOGITS], samples.mean(0), rtol=1e-4)
    assert found[1, Metric.KL, 1] == 0.0


def test_the_same_weights_have_no_divergence(model: LoadedModel, tokens: torch.Tensor) -> None:
    found = evaluate(model, [dict.fromkeys(model.linears, BF16)], tokens)
    mean, _ = mean_and_error(found[0])
    assert mean[Metric.KL] == 0.0
    assert mean[Metric.TOP1_AGREEMENT] == 1.0
    assert mean[Metric.NLL] == mean[Metric.REFERENCE_NLL]


def test_chunks_of_sequences_merge_to_the_whole(model: LoadedModel, tokens: torch.Tensor) -> None:
    assignments = [dict.fromkeys(model.linears, fmt) for fmt in (INT3, INT8)]
    whole = evaluate(model, assignments, tokens)
    parts = evaluate(model, assignments, tokens[:2]) + evaluate(model, assignments, tokens[2:])
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-9)


def test_long_vocabularies_are_cut_into_positions(
    model: LoadedModel, tokens: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(model, [dict.fromkeys(model.linears, INT3)], tokens)
    monkeypatch.setattr("sensitivity.evaluation.positions_at_once", lambda _module: 4)
    np.testing.assert_allclose(evaluate(model, [dict.fromkeys(model.linears, INT3)], tokens), whole, rtol=1e-5)


def test_the_model_is_restored_bit_for_bit(model: LoadedModel, tokens: torch.Tensor) -> None:
    before = weights_of(model)
    evaluate(model, [dict.fromkeys(model.linears, INT3)], tokens)
    assert same_bits(before, weights_of(model))


def test_the_model_is_restored_after_an_exception(model: LoadedModel, tokens: torch.Tensor) -> None:
    before = weights_of(model)
    name, linear = next(iter(model.linears.items()))

    def interrupted() -> None:
        with replaced_weights({linear: torch.zeros_like(linear.weight)}):
            assert not linear.weight.any()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert same_bits(before, weights_of(model))
    with pytest.raises(CheckpointError, match=r"no layer model\.layers\.9"):
        evaluate(model, [{name: INT3}, {"model.layers.9": INT3}], tokens)
    assert same_bits(before, weights_of(model))


def test_a_result_that_is_not_finite_is_an_error(model: LoadedModel, tokens: torch.Tensor) -> None:
    name, linear = next(iter(model.linears.items()))
    large = linear.weight.clone()
    large[0, 0] = 1e6  # beyond the range of FP16
    with replaced_weights({linear: large}), pytest.raises(NonFiniteError, match="assignment 1"):
        evaluate(model, [{}, {name: FP16}], tokens)


@pytest.mark.parametrize("shape", [(0, 8), (3, 1)])
def test_too_little_text_is_refused(model: LoadedModel, shape: tuple[int, int]) -> None:
    with pytest.raises(CalibrationError, match="longer held-out text"):
        evaluate(model, [{}], torch.zeros(shape, dtype=torch.int64))


def test_a_summary_is_in_nats_perplexity_and_shares(model: LoadedModel, tokens: torch.Tensor) -> None:
    names = [name for name in model.linears if name != "lm_head"]
    found = summarise(evaluate(model, [dict.fromkeys(names, INT3)], tokens)[0])
    samples = dense_samples(model, dict.fromkeys(names, "INT3_G32"), tokens)
    perplexity = np.exp(samples[:, Metric.NLL].mean())
    assert found.sequences == 5
    assert found.kl == pytest.approx(samples[:, Metric.KL].mean(), rel=1e-4)
    assert found.perplexity == pytest.approx(perplexity, rel=1e-4)
    spread = samples[:, Metric.NLL].std(ddof=1) / np.sqrt(5)
    assert found.perplexity_error == pytest.approx(perplexity * spread, rel=1e-3)
    assert found.reference_perplexity == pytest.approx(np.exp(samples[:, Metric.REFERENCE_NLL].mean()), rel=1e-4)


def test_one_sequence_has_no_standard_error(model: LoadedModel, tokens: torch.Tensor) -> None:
    found = summarise(evaluate(model, [dict.fromkeys(model.linears, INT3)], tokens[:1])[0])
    assert found.kl_error is None
    assert found.perplexity_error is None


@pytest.mark.parametrize("family", sorted(FAMILIES))
@torch.no_grad()
def test_body_and_head_are_the_whole_model(family: str, tmp_path: Path, tokens: torch.Tensor) -> None:
    module = load_model(describe(str(build(family, tmp_path / family)))).module
    whole = module(tokens, use_cache=False).logits
    torch.testing.assert_close(next_token_logits(module, hidden_states(module, tokens)), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rounding", ["rtn", "gptq"])
def test_a_streamed_model_gives_the_same_bits(tmp_path: Path, rounding: str) -> None:
    """A mixture, so that fused experts are read apart; its head is quantized too."""
    description = describe(str(BUILDERS["qwen2_moe"](tmp_path / "model")))
    text = torch.randint(0, 256, (4, 12), generator=torch.Generator().manual_seed(3))
    int3, int4 = get_format("INT3_G32"), get_format("INT4_G32")
    found = []
    for streamed in (False, True):
        model = load_model(description, streamed=streamed)
        plans = [dict.fromkeys(model.linears, int4), dict.fromkeys(list(model.linears)[::2], int3)]
        cells = LayerRounding.of_assignments(model, rounding, plans, tokens=text)
        found.append(evaluate(model, plans, text, rounding=cells))
        again = evaluate(model, plans, text, rounding=cells)
        assert np.array_equal(found[-1], again)
    assert np.array_equal(found[0], found[1])
