"""The GPTQModel export: each layer in one rule, read back by an independent reader. GPTQModel loads it in tests/exports."""

import json
import re
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import ExportError
from planner.exports import ExportedModel, get_exporter
from planner.exports.gptqmodel_reader import read_assignment
from planner.runtimes import get_runtime
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format
from tests.planner.exports.example import example_model, mixture_model

GENERIC, RUNTIME = get_runtime("generic"), get_runtime("gptqmodel")
FOUR, EIGHT, THREE = get_format("INT4_G64"), get_format("INT8_G32"), get_format("INT3_CHANNEL")
Config = dict[str, object]


def exported(plan: Mapping[str, CandidateFormat], model: ExportedModel, runtime: str = "gptqmodel") -> Config:
    found = get_exporter("gptqmodel").export(plan, model, get_runtime(runtime))
    config = json.loads(json.dumps(found))["quantization_config"]
    assert isinstance(config, dict)
    return config


def rules(config: Config) -> dict[str, Config]:
    found = config["dynamic"]
    assert isinstance(found, dict)
    return found


def of_block(number: int, fmt: CandidateFormat, model: ExportedModel) -> dict[str, CandidateFormat]:
    return {layer.name: fmt for layer in model.layers if layer.block == number}


def test_the_document() -> None:
    model = example_model()
    plan = of_block(0, FOUR, model) | {
        "model.layers.1.mlp.down_proj": EIGHT,
        "model.layers.1.self_attn.o_proj": get_format("BF16"),
    }
    assert exported(plan, model) == {
        "quant_method": "gptq",
        "checkpoint_format": "gptq",
        "bits": 4,
        "group_size": 64,
        "sym": True,
        "desc_act": False,
        "pack_dtype": "int32",
        "lm_head": False,
        "dynamic": {
            r"-:^model\.layers\.1\.self_attn\.(q|k|v|o|qkv)_proj$": {},
            r"-:^model\.layers\.1\.mlp\.(gate|up|gate_up)_proj$": {},
            r"-:^lm_head$": {},
            r"+:^model\.layers\.0\.self_attn\.(q|k|v|o|qkv)_proj$": {"bits": 4, "group_size": 64},
            r"+:^model\.layers\.0\.mlp\.(gate|up|down|gate_up)_proj$": {"bits": 4, "group_size": 64},
            r"+:^model\.layers\.1\.mlp\.down_proj$": {"bits": 8, "group_size": 32},
        },
    }


def test_rules_that_leave_layers_alone_come_first_as_vllm_keeps_the_order() -> None:
    model = example_model(blocks=3)
    signs = [rule[0] for rule in rules(exported(of_block(1, FOUR, model), model))]
    assert signs == sorted(signs, reverse=True)
    assert set(signs) == {"+", "-"}


def test_blocks_1_and_10_are_told_apart() -> None:
    model = example_model(blocks=12, head=False)
    plan = dict.fromkeys((layer.name for layer in model.layers), FOUR) | of_block(1, EIGHT, model)
    config = exported(plan, model)
    assert read_assignment(config, model) == plan
    del config["dynamic"]
    open_ended = {r"+:^model\.layers\.1": {"bits": 8, "group_size": 32}, r"+:^model\.layers\.(?!1\.)": {}}
    with pytest.raises(ExportError, match=r"model\.layers\.10\.self_attn\.q_proj is matched by .* and ") as caught:
        read_assignment(config | {"dynamic": open_ended}, model)
    assert caught.value.fields["rule"] == "one-rule-per-layer"


def test_fused_names_stand_beside_their_members() -> None:
    model = example_model(blocks=1, head=False)
    for rule in rules(exported(of_block(0, FOUR, model), model)):
        pattern = rule[2:]
        assert ("self_attn" in rule) == bool(re.match(pattern, "model.layers.0.self_attn.qkv_proj"))
        assert ("mlp" in rule) == bool(re.match(pattern, "model.layers.0.mlp.gate_up_proj"))


def test_rules_without_the_fused_names_are_refused_as_vllm_would_read_the_base() -> None:
    model = example_model(blocks=1, head=False)
    config = exported(of_block(0, FOUR, model), model)
    config["dynamic"] = {rule.replace("|qkv", "").replace("|gate_up", ""): words for rule, words in rules(config).items()}
    with pytest.raises(ExportError, match=r"by model\.layers\.0\.self_attn\.qkv_proj") as caught:
        read_assignment(config, model)
    assert caught.value.fields["rule"] == "R2"


def test_v_proj_is_not_found_inside_qkv_proj() -> None:
    """``.*v_proj`` and ``.*up_proj`` match the fused modules as well, whose members differ."""
    model = example_model(blocks=1, head=False)
    config = exported(of_block(0, FOUR, model), model) | {
        "dynamic": {r"+:.*v_proj": {"bits": 8}, r"+:.*\.(q|k|o|gate|up|down)_proj$": {}},
    }
    with pytest.raises(ExportError, match=r"qkv_proj, whose members are .*v_proj"):
        read_assignment(config, model)


def test_a_plan_that_splits_fused_modules_gets_no_fused_name() -> None:
    model = example_model(blocks=1, head=False)
    plan = of_block(0, FOUR, model) | {"model.layers.0.self_attn.v_proj": EIGHT}
    config = exported(plan, model, "generic")
    assert not any("qkv" in rule for rule in rules(config))
    with pytest.raises(ExportError, match="R1"):
        exported(plan, model)


def test_a_fused_module_with_a_missing_member_is_still_one() -> None:
    whole = example_model(blocks=1, head=False)
    model = ExportedModel("a" * 64, "a/model", "llama", "bfloat16", tuple(x for x in whole.layers if x.kind != "v_proj"))
    plan = of_block(0, FOUR, model)
    assert any("(q|k|o|qkv)" in rule for rule in rules(exported(plan, model)))


def test_dots_are_escaped() -> None:
    model = example_model(blocks=1)
    for rule in rules(exported(of_block(0, FOUR, model), model)):
        assert rule[2:].startswith("^")
        assert rule.endswith("$")
        assert "." not in rule.replace(r"\.", "")


@pytest.mark.parametrize(
    ("name", "layout"), [("INT5_G64", "gptq_p"), ("INT6_G64", "gptq_p"), ("INT7_G64", "gptq_p"), ("INT3_G64", "gptq")]
)
def test_one_layer_of_5_to_7_bits_makes_the_whole_file_planar(name: str, layout: str) -> None:
    model = example_model()
    plan = of_block(0, FOUR, model) | {"model.layers.1.mlp.down_proj": get_format(name)}
    config = exported(plan, model)
    assert config["checkpoint_format"] == layout
    other = {"gptq": "gptq_p", "gptq_p": "gptq"}[layout]
    with pytest.raises(ExportError, match=f"is read as {layout}, not as '{other}'"):
        read_assignment(config | {"checkpoint_format": other}, model)


def test_a_planned_head_is_loaded_only_if_the_file_says_so() -> None:
    model = example_model()
    head = Layer("lm_head", "lm_head", None, None, 64, 64)
    model = ExportedModel(model.fingerprint, model.source, "llama", "bfloat16", (*model.layers[:-1], head))
    plan = of_block(0, FOUR, model) | {"lm_head": EIGHT}
    config = exported(plan, model)
    assert config["lm_head"] is True
    assert rules(config)[r"+:^lm_head$"] == {"bits": 8, "group_size": 32}
    with pytest.raises(ExportError, match="only if lm_head is true"):
        read_assignment(config | {"lm_head": False}, model)


def test_experts_of_a_block_are_one_pattern_if_they_share_a_format() -> None:
    model = mixture_model()
    plan = {layer.name: get_format("INT4_G32") for layer in model.layers}
    assert list(rules(exported(plan, model))) == [r"+:^model\.layers\.0\.mlp\.experts(\.\d+\.(gate|up|down)_proj)?$"]
    mixed = plan | {layer.name: EIGHT for layer in model.layers if layer.expert == 1}
    assert list(rules(exported(mixed, model, "generic"))) == [
        rf"+:^model\.layers\.0\.mlp\.experts\.{expert}\.(gate|up|down)_proj$" for expert in (0, 1)
    ]


def test_a_rule_without_the_name_of_the_stacked_experts_is_refused_as_vllm_would_read_the_base() -> None:
    model = mixture_model()
    config = exported({layer.name: get_format("INT4_G32") for layer in model.layers}, model)
    plain: Config = {r"+:^model\.layers\.0\.mlp\.experts\.\d+\.(gate|up|down)_proj$": {}}
    with pytest.raises(ExportError, match=r"by model\.layers\.0\.mlp\.experts, whose members"):
        read_assignment(config | {"dynamic": plain}, model)


def test_mixtrals_experts_have_the_engines_names() -> None:
    kinds = ("w1", "w3", "w2")
    layers = [
        Layer(f"model.layers.{block}.block_sparse_moe.experts.{expert}.{kind}", kind, block, expert, 64, 64, 0.5)
        for block in range(2)
        for expert in range(2)
        for kind in kinds
    ]
    model = ExportedModel("b" * 64, "a/mixtral", "mixtral", "bfloat16", tuple(layers))
    plan = {layer.name: FOUR if layer.block else EIGHT for layer in layers}
    config = exported(plan, model)
    assert list(rules(config)) == [rf"+:^model\.layers\.{block}\.mlp\.experts(\.\d+\.(gate|up|down)_proj)?$" for block in (0, 1)]
    assert read_assignment(config, model) == plan


def test_the_head_of_a_gpt_neox_has_transformers_name() -> None:
    layers = (
        Layer("gpt_neox.layers.0.mlp.dense_h_to_4h", "dense_h_to_4h", 0, None, 64, 64),
        Layer("embed_out", "lm_head", None, None, 64, 64),
    )
    model = ExportedModel("d" * 64, "a/neox", "gpt_neox", "bfloat16", layers)
    plan = {layer.name: FOUR for layer in layers}
    config = exported(plan, model)
    assert list(rules(config)) == [r"+:^gpt_neox\.layers\.0\.mlp\.dense_h_to_4h$", r"+:^lm_head$"]
    assert read_assignment(config, model) == plan


def test_the_dense_mlp_of_a_mixture_cannot_be_quantized() -> None:
    dense = Layer("model.layers.1.mlp.up_proj", "up_proj", 1, None, 64, 64)
    shared = Layer("model.layers.0.mlp.shared_expert.up_proj", "up_proj", 0, None, 64, 64)
    found = mixture_model()
    model = ExportedModel(found.fingerprint, found.source, found.architecture, found.dtype, (*found.layers, shared, dense))
    plan = {layer.name: FOUR for layer in model.layers if layer is not dense}
    assert read_assignment(exported(plan, model), model)[dense.name].name == "BF16"
    with pytest.raises(ExportError, match=r"model\.layers\.1\.mlp\.up_proj cannot be exported.*Pin the layer to BF16") as caught:
        exported({**plan, dense.name: FOUR}, model)
    assert caught.value.fields["rule"] == "module-tree"


@pytest.mark.parametrize(("architecture", "reason"), [("gpt2", "Conv1D"), ("phi3", "gate_up_proj")])
def test_architectures_that_gptqmodel_cannot_load_are_refused(architecture: str, reason: str) -> None:
    model = example_model(architecture=architecture)
    with pytest.raises(ExportError, match=reason) as caught:
        exported(of_block(0, FOUR, model), model)
    assert caught.value.fields["rule"] == "architecture"


def test_gemma_2_is_loaded_up_to_42_blocks() -> None:
    for blocks in (42, 43):
        model = example_model(blocks=blocks, head=False, architecture="gemma2")
        plan = of_block(0, FOUR, model)
        if blocks == 42:
            assert exported(plan, model)["bits"] == 4
            continue
        with pytest.raises(ExportError, match="this one has 43"):
            exported(plan, model)


def test_refusals_name_the_layer_and_the_rule() -> None:
    model = example_model()
    first, second = model.layers[0].name, model.layers[3].name
    for plan, message in [
        ({first: get_format("INT4_G64_ASYM")}, f"{first} cannot be exported: .*asymmetric"),
        ({first: get_format("NVFP4")}, f"{first} cannot be exported: .*integers"),
        ({first: get_format("INT4_G128")}, f"{first} cannot be exported: .*divisible by 128"),
        ({first: FOUR, second: get_format("FP16")}, f"{second} cannot be exported: .*stay BF16, not FP16"),
        ({first: get_format("BF16")}, "nothing to export"),
    ]:
        with pytest.raises(ExportError, match=message):
            exported(plan, model, "generic")


def test_the_reader_refuses_what_gptqmodel_would_pass_over_in_silence() -> None:
    model = example_model(blocks=1, head=False)
    config = exported(of_block(0, FOUR, model), model)
    everything = r"+:^model\..*$"
    bad: list[tuple[Config, str]] = [
        ({"dynamic": {everything: {"grp": 64}}}, "overrides grp, which GPTQModel ignores silently"),
        ({"dynamic": {everything: False}}, "has False where GPTQModel needs an object"),
        ({"dynamic": {"+:^(": {}}}, "is no regular expression"),
        ({"dynamic": rules(config) | {r"+:^model\.layers\.7\.": {"bits": 8}}}, "matches no layer"),
        ({"dynamic": dict(list(rules(config).items())[:1])}, "is matched by no rule"),
        ({"dynamic": None}, "no dynamic rules"),
        ({"dynamic": {everything: {"bits": 4, "group_size": 48}}}, "no candidate format has 4 bits and group_size 48"),
        ({"desc_act": True}, "desc_act is True"),
        ({"sym": False}, "sym is False"),
        ({"quant_method": "awq"}, "quant_method is 'awq'"),
    ]
    for change, message in bad:
        with pytest.raises(ExportError, match=message):
            read_assignment(config | change, model)
    with pytest.raises(ExportError, match="quant_method is None"):
        get_exporter("gptqmodel").read({}, model)


NAMES = ["INT2_G32", "INT3_CHANNEL", "INT4_G64", "INT5_G32", "INT8_G32", "BF16"]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_legal_plan_is_read_back(data: st.DataObject) -> None:
    """Ties of the runtime or none; 12 blocks and a mixture."""
    model = data.draw(st.sampled_from([example_model(blocks=12), mixture_model()]))
    runtime = data.draw(st.sampled_from([GENERIC, RUNTIME]))
    plan: dict[str, CandidateFormat] = {}
    for group in runtime.groups(model.layers):
        choice = data.draw(st.sampled_from([None, *NAMES]))
        if choice is not None and model.layers[group[0]].kind != "lm_head":
            plan |= {model.layers[index].name: get_format(choice) for index in group}
    if not any(fmt.is_quantized for fmt in plan.values()):
        plan[model.layers[-2].name] = get_format("BF16")
        with pytest.raises(ExportError, match="nothing to export"):
            exported(plan, model, runtime.name)
        return
    found = read_assignment(exported(plan, model, runtime.name), model)
    assert {name: fmt.name for name, fmt in found.items()} == {
        layer.name: plan[layer.name].name if layer.name in plan else "BF16" for layer in model.layers
    }


def test_kernels_are_asked_for_in_words() -> None:
    assert [RUNTIME.kernel_needs(get_format(name)) == "" for name in ("BF16", "INT4_G64", "INT8_G32")] == [True] * 3
    assert "vLLM loads only 4 and 8" in RUNTIME.kernel_needs(THREE)
    assert "planar" in RUNTIME.kernel_needs(get_format("INT6_G64"))
