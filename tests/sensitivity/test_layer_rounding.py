"""Every probe and the evaluation with every rounding method; the order of asking does not matter."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sensitivity.checkpoint.reading import describe
from sensitivity.errors import CalibrationError, FormatError
from sensitivity.evaluation import Metric, evaluate
from sensitivity.formats.registry import get_format
from sensitivity.inputs.moments import InputMoments
from sensitivity.layer_rounding import LayerRounding
from sensitivity.loading import LoadedModel, load_model
from sensitivity.probe_facts import get_facts
from sensitivity.probes.base import ProbeRun
from sensitivity.probes.registry import get_probe, probes
from sensitivity.rounding import decode, get_rounding
from sensitivity.rounding_facts import all_rounding_facts
from sensitivity.statistics import mean_and_error
from tests.sensitivity.inputs.test_watching import plain_moments
from tests.sensitivity.probes.dense import run_all
from tests.tiny_models import tiny_llama, tiny_mixtral

FORMATS = [get_format(name) for name in ("INT3_G32", "INT4_G32", "BF16")]
METHODS = [facts.name for facts in all_rounding_facts()]
WITH_DATA = [facts.name for facts in all_rounding_facts() if facts.needs_inputs]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(describe(str(tiny_llama(tmp_path_factory.mktemp("llama") / "model", hidden=32, ffn=64))))


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.randint(0, 256, (6, 24), generator=torch.Generator().manual_seed(2))


def make_run(model: LoadedModel, rounding: str, tokens: Tensor | None) -> ProbeRun:
    return ProbeRun(model=model, layers=list(model.linears), formats=FORMATS, rounding=rounding, tokens=tokens, seed=0)


@pytest.mark.parametrize("rounding", WITH_DATA)
def test_each_layer_is_rounded_with_the_moments_of_its_own_inputs(llama: LoadedModel, tokens: Tensor, rounding: str) -> None:
    found = LayerRounding.of(make_run(llama, rounding, tokens))
    reference = plain_moments(llama, tokens)
    method = get_rounding(rounding)
    for name, linear in llama.linears.items():
        expected = method.encode(linear.weight, FORMATS[1], InputMoments(reference[name], tokens.numel()))
        same = (found.encode(name, FORMATS[1]).codes == expected.codes).float().mean()
        assert float(same) > 0.995, name  # sums in another order: a tie may fall the other way


@pytest.mark.parametrize("rounding", WITH_DATA)
def test_any_order_of_asking_gives_the_same_codes(llama: LoadedModel, tokens: Tensor, rounding: str) -> None:
    forwards, backwards = (LayerRounding.of(make_run(llama, rounding, tokens)) for _ in range(2))
    backwards_codes = {name: backwards.encode(name, FORMATS[0]).codes for name in reversed(llama.linears)}
    for name in llama.linears:
        assert torch.equal(forwards.encode(name, FORMATS[0]).codes, backwards_codes[name]), name
        assert torch.equal(forwards.fake_quantize(name, FORMATS[1]), decode(backwards.encode(name, FORMATS[1]))), name


@pytest.mark.parametrize("rounding", METHODS)
def test_every_probe_runs_with_every_method(llama: LoadedModel, tokens: Tensor, rounding: str) -> None:
    before = {name: linear.weight.clone() for name, linear in llama.linears.items()}
    for probe in (name for name in probes() if get_facts(name).prices_weights):
        run = make_run(llama, rounding, tokens)
        one = get_probe(probe)
        merged = one.merge([one.run(run, unit) for unit in one.units(blocks=len(llama.blocks), sequences=len(tokens))])
        found = one.completed(merged, sequences=len(tokens))
        loss, _ = mean_and_error(found)
        assert (loss[:, 0] > loss[:, 1]).mean() > 0.9, probe
        assert (loss[:, 2] == 0).all(), probe
    assert all(torch.equal(linear.weight, before[name]) for name, linear in llama.linears.items())


def test_outputs_and_predictions_are_better_the_more_a_method_knows(llama: LoadedModel, tokens: Tensor) -> None:
    total = {}
    for rounding in METHODS:
        loss, _ = mean_and_error(run_all(get_probe("output_error"), make_run(llama, rounding, tokens)))
        total[rounding] = loss[:, 0].sum()
    assert total["gptq"] < total["rtn_diagonal"] < total["rtn_clip"] < total["rtn"]


def test_units_in_any_order_give_the_same_cells(llama: LoadedModel, tokens: Tensor) -> None:
    probe = get_probe("output_error")
    units = probe.units(blocks=len(llama.blocks), sequences=len(tokens))
    forwards, backwards = (make_run(llama, "gptq", tokens) for _ in range(2))
    found = {unit.key: probe.run(backwards, unit) for unit in reversed(units)}
    for unit in units:
        assert (probe.run(forwards, unit) == found[unit.key]).all()


def test_experts_without_a_token_are_rounded_to_nearest(tmp_path: Path, tokens: Tensor) -> None:
    model = load_model(describe(str(tiny_mixtral(tmp_path / "mixtral", experts=5))))
    with torch.no_grad():
        for block in model.blocks:
            router = block.get_parameter("mlp.gate.weight")
            router[1], router[3], router[4] = -router[0], -router[2], 0.0
    found = LayerRounding.of(make_run(model, "gptq", tokens))
    lonely = [name for name in model.linears if ".experts.4." in name]
    assert lonely
    for name in lonely:
        expected = get_rounding("rtn_clip").encode(model.linears[name].weight, FORMATS[0])
        assert torch.equal(found.encode(name, FORMATS[0]).codes, expected.codes)


@pytest.mark.parametrize("rounding", WITH_DATA)
def test_a_method_without_its_data_is_an_error(llama: LoadedModel, tokens: Tensor, rounding: str) -> None:
    with pytest.raises(CalibrationError, match=rounding):
        run_all(get_probe("weight_error"), make_run(llama, rounding, None))
    with pytest.raises(CalibrationError, match=rounding):
        evaluate(llama, [dict.fromkeys(llama.linears, FORMATS[0])], tokens, rounding=rounding)


def test_an_unknown_method_is_named(llama: LoadedModel) -> None:
    with pytest.raises(FormatError, match="coin"):
        LayerRounding(llama, "coin", {})


@pytest.mark.parametrize("rounding", METHODS)
def test_assignments_are_evaluated_with_the_codes_of_the_curves(llama: LoadedModel, tokens: Tensor, rounding: str) -> None:
    held_out = torch.randint(0, 256, (3, 20), generator=torch.Generator().manual_seed(9))
    names = list(llama.linears)
    assignments = [dict.fromkeys(names, FORMATS[1]), {names[3]: FORMATS[0]}]
    rounded = LayerRounding.of_assignments(llama, rounding, assignments, tokens=tokens)
    found = evaluate(llama, assignments, held_out, rounding=rounded)
    curves = LayerRounding.of(make_run(llama, rounding, tokens))
    weights = {name: curves.fake_quantize(name, FORMATS[1]) for name in names}
    module = load_model(llama.description)
    with torch.no_grad():
        reference = module.module(held_out, use_cache=False).logits.log_softmax(-1)
        for name, weight in weights.items():
            module.linears[name].weight.copy_(weight)
        quantized = module.module(held_out, use_cache=False).logits.log_softmax(-1)
    expected = (reference.exp() * (reference - quantized)).sum(-1).mean()
    assert float(mean_and_error(found)[0][0, Metric.KL]) == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("rounding", METHODS)
def test_cells_that_are_evaluated_again_are_rounded_once_unless_that_is_cheap(
    llama: LoadedModel, tokens: Tensor, rounding: str
) -> None:
    rounded = LayerRounding.of_assignments(llama, rounding, [dict.fromkeys(llama.linears, FORMATS[0])], tokens=tokens)
    for name in llama.linears:
        first, second = rounded.encode(name, FORMATS[0]), rounded.encode(name, FORMATS[0])
        assert (first is second) == (rounding != "rtn")
        assert torch.equal(rounded.fake_quantize(name, FORMATS[0]), decode(first))


@pytest.mark.parametrize("rounding", METHODS)
def test_blocks_of_gguf_are_rounded_once_by_every_method(llama: LoadedModel, tokens: Tensor, rounding: str) -> None:
    name, fmt = "model.layers.0.self_attn.q_proj", get_format("IQ4_NL")
    rounded = LayerRounding.of_assignments(llama, rounding, [{name: fmt}], tokens=tokens)
    assert rounded.encode(name, fmt) is rounded.encode(name, fmt)
    assert torch.equal(rounded.fake_quantize(name, fmt), decode(rounded.encode(name, fmt)))


@pytest.mark.parametrize("rounding", METHODS)
def test_layers_that_engines_fuse_are_one_matrix_of_nvfp4_in_assignments(
    llama: LoadedModel, tokens: Tensor, rounding: str
) -> None:
    """vLLM takes one global scale for q, k and v: with one of its own, a shard would be decoded by a wrong factor."""
    nvfp4, fp8 = get_format("NVFP4"), get_format("FP8_TENSOR")
    plan = dict.fromkeys(llama.linears, nvfp4) | {"lm_head": fp8}
    found = LayerRounding.of_assignments(llama, rounding, [plan], tokens=tokens)
    moments = plain_moments(llama, tokens)
    for parent, kinds in (
        ("self_attn", ("q_proj", "k_proj", "v_proj")),
        ("mlp", ("gate_proj", "up_proj")),
        ("mlp", ("down_proj",)),
    ):
        names = [f"model.layers.1.{parent}.{kind}" for kind in kinds]
        whole = torch.cat([llama.linears[name].weight for name in names])
        expected = get_rounding(rounding).encode(whole, nvfp4, InputMoments(moments[names[0]], tokens.numel()))
        shards = [found.encode(name, nvfp4) for name in reversed(names)][::-1]
        assert expected.scaling is not None
        assert expected.scaling.global_scale is not None
        assert torch.equal(torch.cat([shard.codes for shard in shards]), expected.codes)
        for shard in shards:
            assert shard.scaling is not None
            assert shard.scaling.global_scale is not None
            assert torch.equal(shard.scaling.global_scale, expected.scaling.global_scale)
        assert torch.equal(torch.cat([found.fake_quantize(name, nvfp4) for name in names]), decode(expected))
    alone = get_rounding(rounding).encode(llama.linears["lm_head"].weight, fp8, InputMoments(moments["lm_head"], tokens.numel()))
    assert torch.equal(found.encode("lm_head", fp8).codes, alone.codes)


def test_cells_are_of_layers_alone(llama: LoadedModel) -> None:
    nvfp4, name = get_format("NVFP4"), "model.layers.0.self_attn.k_proj"
    found = LayerRounding(llama, "rtn", {name: [nvfp4]})
    expected = get_rounding("rtn").encode(llama.linears[name].weight, nvfp4)
    assert torch.equal(decode(found.encode(name, nvfp4)), decode(expected))
