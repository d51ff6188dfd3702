"""Documents for tools that quantize by themselves: OpenVINO's passes, ExLlamaV3's overrides, EvoPress' configuration."""

from dataclasses import replace

import pytest
import yaml

from planner.errors import ExportError
from planner.exports import get_exporter
from planner.exports.target import ExportedModel, Json, file_text
from planner.runtimes import get_runtime
from planner.runtimes.exllamav3 import FORMATS
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.foreign import trellis
from sensitivity.formats.registry import get_format, resolve_format
from tests.planner.exports.every_runtime import MODELS, Plan

MODEL = MODELS["dense"]
Q, K, V, OUTPUT = (layer.name for layer in MODEL.layers[:4])


def exported(name: str, plan: Plan) -> Json:
    return get_exporter(name).export(plan, MODEL, get_runtime(name))


def test_evopress_has_a_line_for_each_quantized_layer_and_no_blank_one() -> None:
    plan = {Q: get_format("INT4_G128"), K: get_format("INT2_G128"), V: get_format("BF16")}
    document = exported("evopress", plan)
    assert file_text(document) == f"{Q}: 4\n{K}: 2\n"
    for text in (f"{Q}: 4\n\n{K}: 2\n", f"{Q}: 4\n{Q}: 2\n", f"{Q} : 4\n", f"{Q}: 9\n", f"{Q}: -1\n", f"{Q}\n"):
        with pytest.raises(ExportError):
            get_exporter("evopress").read({"text": text}, MODEL)


def in_trellis(model: ExportedModel, **bits: int) -> Plan:
    """Every layer of a block in 4 bits, but those whose kind is named."""
    return {layer.name: trellis(bits.get(layer.kind, 4)) for layer in model.layers if layer.block is not None}


def test_exllamav3_takes_every_layer_of_a_block_from_one_source() -> None:
    document = exported("exllamav3", in_trellis(MODEL, q_proj=3, k_proj=5))
    found = yaml.safe_load(file_text(document))
    assert found["sources"] == [{"id": f"k{bits}", "model_dir": f"exl3-{bits}.0bpw"} for bits in (3, 4, 5)]
    assert [one["key"] for one in found["overrides"]] == [f"{layer.name}.*" for layer in MODEL.layers[:-1]]
    assert [one["source"] for one in found["overrides"][:4]] == ["k3", "k5", "k4", "k4"]
    assert document["commands"] == [
        *(f"python convert.py -i original -o exl3-{bits}.0bpw -w work-{bits} -b {bits} -hb 16" for bits in (3, 4, 5)),
        "python util/recompile.py -i exl3-3.0bpw -o exl3-mixed -or overrides.yaml",
    ]


def test_exllamav3_gives_all_models_the_head_of_the_plan() -> None:
    document = exported("exllamav3", in_trellis(MODEL, q_proj=3) | {"lm_head": trellis(5)})
    commands = document["commands"]
    assert isinstance(commands, list)
    assert all(command.endswith("-hb 5") for command in commands[:-1])
    assert "lm_head" not in file_text(document)
    read = get_exporter("exllamav3").read
    assert read(document, MODEL)["lm_head"] == trellis(5)
    for wrong in (["-hb 6", "-hb 5"], ["", ""], ["-hb 9", "-hb 9"]):
        edited = [command.replace("-hb 5", words) for command, words in zip(commands, [*wrong, ""], strict=True)]
        if wrong == ["", ""]:  # the tool's own six bits
            assert read({**document, "commands": edited}, MODEL)["lm_head"] == trellis(6)
            continue
        with pytest.raises(ExportError, match="the head has") as caught:
            read({**document, "commands": edited}, MODEL)
        assert caught.value.fields["rule"] == "head"


def test_exllamav3_has_no_unquantized_layer_in_a_block() -> None:
    """The tool goes by the tensors of the base model, and an unquantized layer has others."""
    runtime, plan = get_runtime("exllamav3"), in_trellis(MODEL)
    assert runtime.refusal(get_format("BF16"), MODEL.layers[0]) is not None
    assert runtime.refusal(get_format("BF16"), MODEL.layers[-1]) is None
    for bad, rule in (
        ({**plan, Q: get_format("BF16")}, "runtime"),
        ({key: fmt for key, fmt in plan.items() if key != Q}, "format"),
    ):
        with pytest.raises(ExportError, match="every layer of a block is quantized") as caught:
            exported("exllamav3", bad)
        assert caught.value.fields == {"layers": [Q], "rule": rule}


def test_exllamav3_globs_that_take_more_than_a_layer_are_refused() -> None:
    """``layers.1*`` begins the names of block 10; a glob of one tensor leaves the others to the base model."""
    plan = {layer.name: trellis(2 + (layer.block or 0) % 3) for layer in MODEL.layers[:-1]}
    document = exported("exllamav3", plan)
    first, text = '"model.layers.1.self_attn.q_proj.*"', file_text(document)
    for glob in ('"model.layers.1*"', '"model.layers.1.self_attn.q_proj.trellis"', '"model.layers.1.self_attn.q_proj"'):
        with pytest.raises(ExportError, match=r"model\.layers\.1"):
            get_exporter("exllamav3").read({**document, "text": text.replace(first, glob)}, MODEL)
    with pytest.raises(ExportError, match="not a list of mappings"):
        get_exporter("exllamav3").read({**document, "text": text + "more\n"}, MODEL)
    with pytest.raises(ExportError, match="matches no layer of a block"):
        get_exporter("exllamav3").read({**document, "text": text + '  - {"key": "lm_head.*", "source": "k3"}\n'}, MODEL)


def test_exllamav3_bits_are_those_of_the_model_that_a_source_names() -> None:
    """An id is a word; what counts is which model's tensors it stands for."""
    document = exported("exllamav3", in_trellis(MODEL, q_proj=3, k_proj=5))
    text, commands = file_text(document), str(document["commands"][0])  # type: ignore[index]
    read = get_exporter("exllamav3").read
    assert read({**document, "text": text.replace("exl3-3.0bpw", "exl3-4.0bpw")}, MODEL)[Q] == trellis(4)
    assert read({**document, "text": text.replace('"k3"', '"low"')}, MODEL)[Q] == trellis(3)
    two = [commands.replace("-b 3", "-b 2"), *document["commands"][1:]]  # type: ignore[index]
    assert read({**document, "commands": two}, MODEL)[Q] == trellis(2)
    for other in ("exl3-3.5bpw", "exl3-9.0bpw", "some-model"):
        with pytest.raises(ExportError, match=f"'k3' is '{other}'") as caught:
            read({**document, "text": text.replace("exl3-3.0bpw", other)}, MODEL)
        assert caught.value.fields["rule"] == "unknown-source"
    with pytest.raises(ExportError, match="named twice"):
        read({**document, "text": text.replace('"k3"', '"k5"')}, MODEL)


def test_exllamav3_formats_have_their_own_names_and_sizes() -> None:
    assert [resolve_format(fmt.name) for fmt in FORMATS] == list(FORMATS)
    assert trellis(3).size_bits((256, 512)) == 3 * 256 * 512 + 16 * (256 + 512)
    assert trellis(3).identity != trellis(4).identity


def test_openvino_ignores_in_each_pass_what_has_another_format() -> None:
    plan = {Q: get_format("INT8_CHANNEL"), K: get_format("INT4_G64"), V: get_format("INT4_G64"), OUTPUT: get_format("BF16")}
    passes = exported("openvino", plan)["passes"]
    assert isinstance(passes, list)
    assert [set(one) for one in passes] == [
        {"mode", "ignored_scope"},
        {"mode", "ratio", "group_size", "all_layers", "ignored_scope"},
    ]
    assert f"__module.{Q}/aten::linear/MatMul" in passes[1]["ignored_scope"]["names"]
    assert [len(one["ignored_scope"]["names"]) for one in passes] == [len(MODEL.layers) - 1, len(MODEL.layers) - 2]
    assert [one["ignored_scope"]["types"] for one in passes] == [["Gather"]] * 2


INT4 = {"mode": "int4_sym", "ratio": 1.0, "group_size": 64, "all_layers": True}


def scope_of(model: ExportedModel) -> Json:
    """What the only pass of a plan ignores whose first layer alone is quantized."""
    runtime = get_runtime("openvino")
    passes = get_exporter("openvino").export({model.layers[0].name: get_format("INT4_G64")}, model, runtime)["passes"]
    assert isinstance(passes, list)
    found: Json = passes[0]["ignored_scope"]
    assert passes == [{**INT4, "ignored_scope": found}]
    return found


def test_openvino_passes_that_nncf_would_refuse_or_read_otherwise() -> None:
    names = [f"__module.{layer.name}/aten::linear/MatMul" for layer in MODEL.layers]
    good = {**INT4, "ignored_scope": {"names": names[1:], "types": ["Gather"]}}
    read = get_exporter("openvino").read
    assert read({"passes": [good]}, MODEL)[Q].name == "INT4_G64"
    for bad in (
        {**good, "ratio": 0.8},
        {**good, "all_layers": False},
        {**good, "group_size": 48},
        {**good, "mode": "int8_sym"},
        {"mode": "int4_sym", "ignored_scope": good["ignored_scope"]},
        {**good, "ignored_scope": names[1:]},
        {**good, "ignored_scope": {"names": names, "types": ["Gather"]}},
        {**good, "ignored_scope": {"names": [*names[1:], "lm_head"], "types": ["Gather"]}},
        {**good, "ignored_scope": {"names": [*names[1:], names[0].replace("q_proj", "x_proj")], "types": ["Gather"]}},
        {**good, "ignored_scope": {"names": names[1:], "types": ["Gather", "Convolution"]}},
        {**good, "ignored_scope": {"names": names[1:], "types": ["Gather"], "patterns": ["x"]}},
    ):
        with pytest.raises(ExportError):
            read({"passes": [bad]}, MODEL)
    with pytest.raises(ExportError, match="again"):
        read({"passes": [good, good]}, MODEL)
    with pytest.raises(ExportError, match="no passes"):
        read({}, MODEL)


def test_openvino_passes_that_reach_the_embedding_are_refused() -> None:
    scope = scope_of(MODEL)
    with pytest.raises(ExportError, match=r"compresses __module\.model\.embed_tokens/aten::embedding/Gather") as caught:
        get_exporter("openvino").read({"passes": [{**INT4, "ignored_scope": {"names": scope["names"]}}]}, MODEL)
    assert caught.value.fields["rule"] == "unplanned-node"


def test_openvino_ignores_routers_and_a_head_that_is_no_layer() -> None:
    model = MODELS["mixture"]
    tied = replace(model, layers=model.layers[:-1])
    for one in (model, tied):
        names = scope_of(one)["names"]
        assert isinstance(names, list)
        assert not any(".experts." in name for name in names)
        others = {f"__module.{name}/aten::linear/MatMul" for name in ("lm_head", *(f"model.layers.{i}.mlp.gate" for i in (0, 1)))}
        assert others <= set(names)
        for missing in others:
            without = {"names": [name for name in names if name != missing], "types": ["Gather"]}
            read = get_exporter("openvino").read
            if one is tied or "lm_head" not in missing:
                with pytest.raises(ExportError, match="only layers of the plan may be compressed"):
                    read({"passes": [{**INT4, "ignored_scope": without}]}, one)


def test_openvino_names_nodes_as_transformers_names_modules() -> None:
    """GPT-NeoX's head has another name, GPT-2's layers are another operation in a module of the converter's own."""
    neox = ExportedModel(
        "f" * 64, "a/neox", "gpt_neox", "float16", (_layer("gpt_neox.layers.0.attention.dense"), _layer("embed_out"))
    )
    gpt2 = ExportedModel(
        "f" * 64, "a/gpt2", "gpt2", "float32", (_layer("transformer.h.0.attn.c_attn"), _layer("transformer.h.0.mlp.c_fc"))
    )
    assert scope_of(neox)["names"] == ["__module.lm_head/aten::linear/MatMul"]
    assert scope_of(gpt2)["names"] == [
        "__module.model.transformer.h.0.mlp.c_fc/aten::addmm/MatMul",
        "__module.model.lm_head/aten::linear/MatMul",
    ]


def _layer(name: str) -> Layer:
    return Layer(name, name.rpartition(".")[2], 0, None, 64, 64)
