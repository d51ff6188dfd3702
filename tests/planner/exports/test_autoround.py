"""The AutoRound export: exact names, both configurations read back alike. AutoRound itself loads it in tests/exports."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import ExportError
from planner.exports import ExportedModel, get_exporter
from planner.exports.autoround_reader import read_assignment
from planner.runtimes import get_runtime
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format
from tests.planner.exports.example import example_model, mixture_model

GENERIC, RUNTIME = get_runtime("generic"), get_runtime("autoround")
FOUR, EIGHT, THREE = get_format("INT4_G64"), get_format("INT8_CHANNEL"), get_format("INT3_G32")
SIXTEEN = {"bits": 16}
Document = dict[str, dict[str, object]]


def exported(plan: Mapping[str, CandidateFormat], model: ExportedModel, runtime: str = "autoround") -> Document:
    found: Document = json.loads(json.dumps(get_exporter("autoround").export(plan, model, get_runtime(runtime))))
    return found


def of_block(number: int, fmt: CandidateFormat, model: ExportedModel) -> dict[str, CandidateFormat]:
    return {layer.name: fmt for layer in model.layers if layer.block == number}


def respelt(document: Document, in_file: Mapping[str, object], for_quantizer: Mapping[str, object]) -> Document:
    """The MLP of a one-block model by other entries, everything else by exact names."""
    kept = {name: words for name, words in document["layer_config"].items() if "mlp" not in name}
    return changed({**document, "layer_config": {**kept, **for_quantizer}}, extra_config=in_file)


def changed(document: Document, **changes: object) -> Document:
    return {**document, "quantization_config": {**document["quantization_config"], **changes}}


def test_the_document() -> None:
    model = example_model()
    plan = of_block(0, FOUR, model) | {"model.layers.1.mlp.down_proj": EIGHT}
    found = exported(plan, model)
    rest = [layer.name for layer in model.layers if layer.name not in plan]
    assert found["quantization_config"] == {
        "quant_method": "auto-round",
        "packing_format": "auto_round:auto_gptq",
        "data_type": "int",
        "sym": True,
        "bits": 4,
        "group_size": 64,
        "block_name_to_quantize": "model.layers",
        "extra_config": dict.fromkeys(rest, SIXTEEN) | {"model.layers.1.mlp.down_proj": {"bits": 8, "group_size": -1}},
    }
    assert list(found["layer_config"]) == [layer.name for layer in model.layers]
    assert found["layer_config"]["model.layers.0.self_attn.q_proj"] == {"bits": 4, "group_size": 64}
    assert found["layer_config"]["lm_head"] == SIXTEEN


def test_blocks_1_and_10_are_told_apart() -> None:
    model = example_model(blocks=12, head=False)
    plan = dict.fromkeys((layer.name for layer in model.layers), FOUR) | of_block(1, EIGHT, model)
    document = exported(plan, model)
    assert read_assignment(document, model) == plan
    prefix = changed(document, extra_config={"model.layers.1": {"bits": 8, "group_size": -1}})
    with pytest.raises(ExportError, match=r"model\.layers\.10\.self_attn\.q_proj is read as INT8_CHANNEL from the checkpoint"):
        read_assignment(prefix, model)


def test_v_proj_is_found_inside_qkv_proj_so_names_are_exact() -> None:
    layers = tuple(Layer(f"model.layers.0.self_attn.{kind}", kind, 0, None, 64, 64) for kind in ("qkv_proj", "v_proj", "o_proj"))
    model = ExportedModel("c" * 64, "a/model", "llama", "bfloat16", layers)
    plan = {"model.layers.0.self_attn.v_proj": EIGHT, "model.layers.0.self_attn.qkv_proj": FOUR}
    document = exported(plan, model, "generic")
    assert read_assignment(document, model)["model.layers.0.self_attn.qkv_proj"] == FOUR
    document = changed(document, extra_config={"v_proj": {"bits": 8, "group_size": -1}, "o_proj": SIXTEEN})
    with pytest.raises(ExportError, match=r"qkv_proj is read as INT8_CHANNEL"):
        read_assignment(document, model)


def test_escaped_dots_never_match_for_the_quantizer_and_do_in_a_checkpoint() -> None:
    model = example_model(blocks=1, head=False)
    document = exported(of_block(0, FOUR, model), model)
    eight = {"bits": 8, "group_size": -1}
    pattern = r"model\.layers\.0\.mlp\.(gate|up)_proj$"
    bare, down = "model.layers.0.mlp.(gate|up)_proj$", {"model.layers.0.mlp.down_proj": {"bits": 4}}
    with pytest.raises(ExportError, match="matches no layer"):
        read_assignment(respelt(document, {pattern: eight}, {pattern: eight, **down}), model)
    both = respelt(document, {pattern: eight}, {bare: eight, **down})
    assert read_assignment(both, model)["model.layers.0.mlp.up_proj"] == EIGHT
    assert read_assignment(both, model)["model.layers.0.mlp.down_proj"] == FOUR


def test_patterns_without_anchors_are_open_at_both_ends() -> None:
    model = example_model(blocks=1, head=False)
    document = exported(of_block(0, FOUR, model), model)
    eight = {"bits": 8, "group_size": -1}
    down = {"model.layers.0.mlp.down_proj": {"bits": 4}}
    both = respelt(document, {r".*mlp\.(gate|up).*": eight}, {"mlp.(gate|up)": eight, **down})
    assert {name for name, fmt in read_assignment(both, model).items() if fmt == EIGHT} == {
        "model.layers.0.mlp.gate_proj",
        "model.layers.0.mlp.up_proj",
    }


def test_an_exact_name_goes_before_a_pattern_and_the_first_pattern_before_the_next() -> None:
    model = example_model(blocks=1, head=False)
    document = exported(of_block(0, FOUR, model), model)
    eight, three = {"bits": 8, "group_size": -1}, {"bits": 3, "group_size": 32}
    exact = {"model.layers.0.mlp.down_proj": three}
    both = respelt(document, {r".*mlp\..*": eight, r".*up_proj$": three} | exact, {"mlp": eight, "up_proj$": three} | exact)
    found = read_assignment(both, model)
    assert [found[f"model.layers.0.mlp.{kind}"] for kind in ("gate_proj", "up_proj", "down_proj")] == [EIGHT, EIGHT, THREE]


def test_routers_are_the_one_pattern() -> None:
    model = mixture_model()
    plan = {layer.name: get_format("INT4_G32") for layer in model.layers}
    extra = exported(plan, model)["quantization_config"]["extra_config"]
    assert extra == {r".*\.(gate|router|shared_expert_gate)$": SIXTEEN}


def test_mixtrals_experts_have_the_engines_names() -> None:
    layer = Layer("model.layers.0.block_sparse_moe.experts.0.w1", "w1", 0, 0, 64, 64)
    model = ExportedModel("b" * 64, "a/mixtral", "mixtral", "bfloat16", (layer,))
    document = exported({layer.name: FOUR}, model)
    assert list(document["layer_config"]) == ["model.layers.0.mlp.experts.0.gate_proj"]
    assert read_assignment(document, model) == {layer.name: FOUR}


def test_layers_outside_the_blocks_stay_as_they_are_unless_named() -> None:
    head = Layer("lm_head", "lm_head", None, None, 64, 64)
    found = example_model(blocks=1, head=False)
    model = ExportedModel(found.fingerprint, found.source, "llama", "bfloat16", (*found.layers, head))
    document = exported(of_block(0, FOUR, model), model)
    assert read_assignment(changed(document, extra_config={}), model)["lm_head"].name == "BF16"
    planned = exported(of_block(0, FOUR, model) | {"lm_head": FOUR}, model)
    assert planned["quantization_config"]["extra_config"] == {"lm_head": {"bits": 4, "group_size": 64}}


def test_what_autoround_refuses_or_only_warns_of_is_refused() -> None:
    model = example_model(blocks=1, head=False)
    document = exported(of_block(0, FOUR, model), model)
    first = model.layers[0].name
    bad: list[tuple[Document, str]] = [
        (changed(document, extra_config={first: {"bits": 8, "grp": 64}}), "sets grp; known are bits"),
        (changed(document, extra_config={"model.layers.7.x": {"bits": 8}}), "matches no layer"),
        (changed(document, extra_config={"*": {"bits": 8}}), "no regular expression"),
        (changed(document, extra_config={first: "W8A16"}), "not an object"),
        (changed(document, extra_config={first: {"bits": 8, "sym": False}}), "symmetric and asymmetric layers"),
        (changed(document, extra_config={first: {"data_type": "mx_fp"}}), "other than integers"),
        (changed(document, extra_config={first: {"group_size": 48}}), "no candidate format"),
        (changed(document, packing_format="auto_round"), "packing_format is 'auto_round'"),
        (changed(document, extra_config=None), "extra_config is None"),
        ({**document, "layer_config": {first: SIXTEEN}}, f"{first} is read as INT4_G64 from the checkpoint"),
        ({**document, "layer_config": {}}, f"{first} is read as INT4_G64 .*, but layer_config says {{}}"),
    ]
    for one, message in bad:
        with pytest.raises(ExportError, match=message):
            read_assignment(one, model)


def test_eight_bits_with_zero_points_are_refused() -> None:
    """AutoRound has no such kernel."""
    model = example_model(blocks=1, head=False)
    first = model.layers[0].name
    with pytest.raises(ExportError, match=f"{first} cannot be loaded by autoround: .*asymmetric"):
        exported({first: get_format("INT8_G64_ASYM")}, model)


def test_refusals_name_the_layer_and_the_rule() -> None:
    model = example_model()
    first = model.layers[0].name
    for plan, of, message in [
        ({first: get_format("FP8")}, model, f"{first} cannot be exported: .*integers"),
        ({first: FOUR, model.layers[3].name: get_format("FP16")}, model, "stay BF16, not FP16"),
        ({first: get_format("BF16")}, model, "nothing to export"),
        ({first: FOUR}, example_model(architecture="gpt2"), "Conv1D"),
    ]:
        with pytest.raises(ExportError, match=message):
            exported(plan, of, "generic")
    with pytest.raises(ExportError, match="R1"):
        exported({first: FOUR}, model)


NAMES = ["INT2_G32", "INT3_CHANNEL", "INT4_G64", "INT7_G32", "INT8_G32", "BF16"]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_legal_plan_is_read_back(data: st.DataObject) -> None:
    """Ties of the runtime or none; 12 blocks and a mixture."""
    model = data.draw(st.sampled_from([example_model(blocks=12), mixture_model()]))
    runtime = data.draw(st.sampled_from([GENERIC, RUNTIME]))
    plan: dict[str, CandidateFormat] = {model.layers[0].name: FOUR} if runtime is GENERIC else {}
    for group in runtime.groups(model.layers):
        choice = data.draw(st.sampled_from([None, *NAMES]))
        if choice is not None and model.layers[group[0]].kind != "lm_head":
            plan |= {model.layers[index].name: get_format(choice) for index in group}
    if not any(fmt.is_quantized for fmt in plan.values()):
        with pytest.raises(ExportError, match="nothing to export"):
            exported(plan, model, runtime.name)
        return
    found = read_assignment(exported(plan, model, runtime.name), model)
    assert {name: fmt.name for name, fmt in found.items()} == {
        layer.name: plan[layer.name].name if layer.name in plan else "BF16" for layer in model.layers
    }


def test_kernels_are_asked_for_in_words() -> None:
    assert [RUNTIME.kernel_needs(get_format(name)) == "" for name in ("BF16", "INT4_G64", "INT8_G32")] == [True] * 3
    assert "humming" in RUNTIME.kernel_needs(THREE)
