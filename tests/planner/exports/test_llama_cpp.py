"""llama.cpp: tensor-type files that its own rules of matching resolve to the plan, and each trap of those rules."""

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import ExportError
from planner.exports import ExportedModel, get_exporter
from planner.exports.llama_cpp_names import ARCHITECTURES, EMBEDDING, tensor_names
from planner.exports.llama_cpp_reader import DEMOTIONS, parse, read_assignment, resolve
from planner.exports.target import Json, file_text
from planner.runtimes import get_runtime
from sensitivity.checkpoint.description import Layer
from sensitivity.checkpoint.families import FAMILIES
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.gguf import FORMATS
from sensitivity.formats.registry import all_formats, get_format
from tests.planner.exports.example import example_model, mixture_model

RUNTIME = get_runtime("llama.cpp")
LEGAL = [*FORMATS, *map(get_format, ("MXFP4", "BF16", "FP16"))]
COMMAND = "llama-quantize --pure --tensor-type-file tensor-types.txt model-bf16.gguf model.gguf q8_0"


def wide_model(blocks: int = 2, *, architecture: str = "llama") -> ExportedModel:
    """Columns that every block divides."""
    layers = [
        Layer(f"model.layers.{block}.{path}", path.rpartition(".")[2], block, None, 256, 512)
        for block in range(blocks)
        for path in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")
    ]
    head = Layer("lm_head", "lm_head", None, None, 300, 256)
    return ExportedModel("f" * 64, "a/model", architecture, "bfloat16", (*layers, head))


def exported(plan: dict[str, CandidateFormat], model: ExportedModel) -> Json:
    return get_exporter("llama.cpp").export(plan, model, RUNTIME)


def lines(document: Json) -> list[str]:
    return file_text(document).splitlines()


def refused(text: str, rule: str, *, command: str = COMMAND, model: ExportedModel | None = None) -> str:
    with pytest.raises(ExportError) as caught:
        read_assignment(text, command, model or wide_model(1))
    assert caught.value.fields["rule"] == rule
    return str(caught.value)


def good_text(model: ExportedModel) -> str:
    return file_text(exported({model.layers[0].name: get_format("Q4_K")}, model))


def test_every_tensor_has_one_anchored_pattern() -> None:
    model = wide_model()
    document = exported({"model.layers.1.self_attn.v_proj": get_format("Q6_K"), "lm_head": get_format("Q4_K")}, model)
    found = lines(document)
    assert found[0] == r"^token_embd\.weight$=bf16"
    assert r"^blk\.1\.attn_v\.weight$=q6_k" in found
    assert r"^blk\.0\.attn_v\.weight$=bf16" in found
    assert found[-1] == r"^output\.weight$=q4_k"
    assert len(found) == len(model.layers) + 1
    assert document["command"] == COMMAND


def test_the_file_has_no_comments() -> None:
    assert "#" not in good_text(wide_model())
    assert "malformed" in refused("# planned\n" + good_text(wide_model(1)), "malformed")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_random_legal_plans_are_read_back(data: st.DataObject) -> None:
    model = wide_model(12)
    names = [layer.name for layer in model.layers]
    plan = data.draw(st.dictionaries(st.sampled_from(names), st.sampled_from(LEGAL), min_size=1))
    if not any(fmt.is_quantized for fmt in plan.values()):
        return
    document = exported(plan, model)
    bf16 = get_format("BF16")
    assert read_assignment(file_text(document), str(document["command"]), model) == {name: plan.get(name, bf16) for name in names}


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(all_formats()), st.integers(1, 40))
def test_illegal_formats_are_refused_with_the_layer(fmt: CandidateFormat, columns: int) -> None:
    layer = Layer("model.layers.0.mlp.up_proj", "up_proj", 0, None, 4, columns * 16)
    model = ExportedModel("f" * 64, "a/model", "llama", "bfloat16", (layer,))
    if fmt in LEGAL and (fmt.group_size is None or layer.in_features % fmt.group_size == 0):
        assert RUNTIME.refusal(fmt, layer) is None
        return
    with pytest.raises(ExportError, match=r"model\.layers\.0\.mlp\.up_proj cannot be loaded by llama\.cpp") as caught:
        exported({layer.name: fmt}, model)
    assert caught.value.fields["layers"] == [layer.name]


def test_trap_the_pattern_of_block_1_does_not_match_blocks_10_and_11() -> None:
    model = wide_model(12)
    plan = {"model.layers.1.self_attn.q_proj": get_format("Q2_K"), "model.layers.10.self_attn.q_proj": get_format("Q6_K")}
    document = exported(plan, model)
    found = read_assignment(file_text(document), COMMAND, model)
    assert [found[f"model.layers.{block}.self_attn.q_proj"].name for block in (1, 10, 11)] == ["Q2_K", "Q6_K", "BF16"]


def test_trap_patterns_are_searched_and_the_first_match_wins() -> None:
    columns = {"blk.1.attn_v.weight": 256, "blk.10.attn_v.weight": 256, "blk.0.attn_qkv.weight": 256}
    types = resolve(parse(r"blk\.1=q2_K attn_(q|v)=q8_0 .*=q4_0"), columns | {"output.weight": 256})
    assert list(types.values()) == ["q2_k", "q2_k", "q8_0", "q4_0"]


def test_trap_patterns_are_put_in_lower_case() -> None:
    assert resolve(parse("ATTN_Q=Q8_0"), {"blk.0.attn_q.weight": 64}) == {"blk.0.attn_q.weight": "q8_0"}


def test_trap_an_unescaped_dot_matches_any_character() -> None:
    text = good_text(wide_model())
    assert all(line.count(r"\.") == line.count(".") for line in text.splitlines())
    columns = {"blk.1.attn_q": 32, "blk.11.attn_q": 32}
    assert resolve(parse("blk.1.=q8_0"), columns) == dict.fromkeys(columns, "q8_0")


def test_trap_types_that_do_not_fit_the_columns_are_demoted_by_the_tool_and_refused_here() -> None:
    """As run with 896 columns: q4_K → q5_0, q6_K → q8_0, iq4_xs → iq4_nl, in the study's words."""
    for type_name, instead in (("q4_K", "q5_0"), ("q6_K", "q8_0"), ("iq4_xs", "iq4_nl"), ("Q2_K", "q4_0"), ("q5_k", "q5_1")):
        with pytest.raises(ExportError, match=f"rows of 896, no multiple of {type_name.lower()}'s 256.* store {instead} instead"):
            resolve(parse(f"attn_q={type_name}"), {"blk.0.attn_q.weight": 896})
    with pytest.raises(ExportError, match="would store f16 instead"):
        resolve(parse("attn_q=q4_k"), {"blk.0.attn_q.weight": 100})
    assert set(DEMOTIONS) == {fmt.name.lower() for fmt in FORMATS if fmt.group_size == 256}


def test_trap_names_of_ftypes_are_no_types() -> None:
    assert "no type of ggml" in refused("attn=q4_K_M", "unknown-type")


@pytest.mark.parametrize("name", ["q8_1", "Q8_K"])
def test_trap_internal_types_abort_the_tool(name: str) -> None:
    assert "aborts" in refused(f"attn={name}", "internal-type")


@pytest.mark.parametrize("base", ["f16", "BF16", "f32", "copy"])
def test_trap_a_base_type_that_is_not_quantized_switches_the_file_off(base: str) -> None:
    model = wide_model(1)
    assert "passes over all tensor types" in refused(good_text(model), "base-type", command=COMMAND.replace("q8_0", base))


def test_trap_without_pure_the_tool_mixes_types_itself() -> None:
    refused(good_text(wide_model(1)), "pure", command=COMMAND.replace("--pure ", ""))


def test_trap_a_pattern_that_matches_nothing_is_passed_over_without_a_word() -> None:
    model = wide_model(1)
    assert "decides no tensor" in refused(good_text(model) + r"^blk\.7\.attn_q\.weight$=q4_0", "unmatched-pattern")
    assert "decides no tensor" in refused(good_text(model) + r"^blk\.0\.attn_q\.weight$=q4_0", "unmatched-pattern")


def test_trap_a_tensor_without_a_pattern_gets_the_base_type() -> None:
    text = good_text(wide_model(1))
    assert "base type" in refused("\n".join(text.splitlines()[:-1]), "unmatched-tensor")
    assert EMBEDDING in refused("\n".join(text.splitlines()[1:]), "unmatched-tensor")


def test_trap_the_embedding_is_quantized_unless_it_has_a_pattern_of_its_own() -> None:
    text = good_text(wide_model(1)).replace("token_embd\\.weight$=bf16", "token_embd\\.weight$=q8_0")
    assert "embedding" in refused(text, "embedding")


@pytest.mark.parametrize("entry", ["attn", "=q4_0", "attn="])
def test_trap_malformed_entries_stop_the_tool(entry: str) -> None:
    refused(entry, "malformed")


def test_trap_a_bad_pattern_stops_the_tool() -> None:
    refused("attn_(q=q4_0", "pattern")


def test_types_that_are_no_candidates_are_named() -> None:
    model = wide_model(1)
    text = good_text(model).replace("attn_q\\.weight$=q4_k", "attn_q\\.weight$=iq2_xs")
    assert "iq2_xs, which is no candidate format" in refused(text, "unknown-format", model=model)


def test_trap_the_experts_of_a_projection_are_one_tensor() -> None:
    model = mixture_model()
    plan = {layer.name: get_format("Q8_0" if layer.kind == "down_proj" else "Q4_0") for layer in model.layers}
    document = exported(plan, model)
    assert lines(document)[1:] == [
        r"^blk\.0\.ffn_gate_exps\.weight$=q4_0",
        r"^blk\.0\.ffn_up_exps\.weight$=q4_0",
        r"^blk\.0\.ffn_down_exps\.weight$=q8_0",
    ]
    assert read_assignment(file_text(document), COMMAND, model) == plan
    plan[model.layers[0].name] = get_format("Q8_0")
    with pytest.raises(ExportError, match="must share one format"):
        exported(plan, model)
    unplanned = {name: fmt for name, fmt in plan.items() if name != model.layers[0].name}
    unplanned[model.layers[3].name] = get_format("FP16")
    with pytest.raises(ExportError) as caught:
        exported(unplanned, model)
    assert caught.value.fields["rule"] == "one-type-per-tensor"


def test_experts_share_a_type_for_each_projection() -> None:
    groups = [[mixture_model().layers[i].kind for i in group] for group in RUNTIME.groups(mixture_model().layers)]
    assert groups == [["gate_proj"] * 2, ["up_proj"] * 2, ["down_proj"] * 2]


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_layer_of_every_architecture_has_a_name_of_its_own(architecture: str) -> None:
    """Names are those of the library's table of the architecture that the converter writes."""
    family = FAMILIES[architecture]
    paths = [*family.attention, *(() if family.experts else family.mlp)]
    layers = [Layer(f"{family.blocks}.1.{path}", path.rpartition(".")[2], 1, None, 64, 64) for path in paths]
    if family.experts is not None:
        layers += [Layer(f"{family.blocks}.1.{path}", path.rpartition(".")[2], 1, None, 64, 64) for path in family.experts.shared]
        layers += [
            Layer(f"{family.blocks}.1.{family.experts.path}.{expert}.{kind}", kind, 1, expert, 64, 64)
            for expert in (0, 11)
            for kind in family.experts.projections
        ]
    if not family.tied:
        layers.append(Layer(family.head, "lm_head", None, None, 64, 64))
    found = tensor_names(ExportedModel("f" * 64, "a/model", architecture, "bfloat16", tuple(layers)))
    stacks = [name for name in found.values() if name.endswith("_exps.weight")]
    assert len(set(found.values())) == len(found) - len(stacks) // 2
    assert family.tied or found[family.head] == "output.weight"
    known = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}[ARCHITECTURES[architecture]]
    patterns = {gguf.TENSOR_NAMES[tensor].format(bid=1) + ".weight" for tensor in gguf.MODEL_TENSORS[known]}
    assert set(found.values()) <= patterns | {"output.weight"}


def test_architectures_that_llama_cpp_does_not_have_are_refused_by_name() -> None:
    with pytest.raises(ExportError, match=r"opt is not among the architectures whose names in llama\.cpp are known"):
        exported({"model.layers.0.self_attn.q_proj": get_format("Q4_K")}, wide_model(architecture="opt"))


def test_a_layer_without_a_tensor_is_refused() -> None:
    layer = Layer("model.layers.0.self_attn.x_proj", "x_proj", 0, None, 256, 256)
    with pytest.raises(ExportError, match=r"no tensor for .*x_proj"):
        exported({layer.name: get_format("Q4_K")}, ExportedModel("f" * 64, "a/model", "llama", "bfloat16", (layer,)))


def test_a_mixture_with_a_dense_block_is_refused_as_llama_cpp_has_experts_in_every_block() -> None:
    layer = Layer("model.layers.0.mlp.gate_proj", "gate_proj", 0, None, 256, 256)
    with pytest.raises(ExportError, match=r"no tensor for .*gate_proj"):
        exported({layer.name: get_format("Q4_K")}, ExportedModel("f" * 64, "a/model", "qwen3_moe", "bfloat16", (layer,)))


def test_a_plan_without_a_quantized_layer_is_refused() -> None:
    with pytest.raises(ExportError, match="nothing to export"):
        exported({"lm_head": get_format("BF16")}, wide_model())


def test_models_keep_their_dtype_where_nothing_is_planned() -> None:
    model = example_model(dtype="float16")
    document = exported({"model.layers.0.mlp.up_proj": get_format("Q4_0")}, model)
    assert lines(document)[0] == r"^token_embd\.weight$=f16"
    assert r"^output\.weight$=f16" in lines(document)
    assert "model-f16.gguf" in str(document["command"])


def test_smollm2_takes_no_k_quants_and_says_so() -> None:
    layer = Layer("model.layers.0.self_attn.q_proj", "q_proj", 0, None, 576, 576)
    legal = {fmt.name for fmt in all_formats() if RUNTIME.refusal(fmt, layer) is None}
    assert legal == {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "MXFP4", "BF16", "FP16"}
    assert RUNTIME.refusal(get_format("Q4_K"), layer) == "Q4_K stores blocks of 256 inputs, which do not divide 576"
    assert RUNTIME.refusal(get_format("INT4_G64"), layer) == "llama.cpp has no INT4_G64"
