"""Documents for tools that quantize by themselves: OpenVINO's passes, ExLlamaV3's overrides, EvoPress' configuration."""

import pytest
import yaml

from planner.errors import ExportError
from planner.exports import get_exporter
from planner.exports.target import Json, file_text
from planner.runtimes import get_runtime
from planner.runtimes.exllamav3 import FORMATS
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


def test_exllamav3_takes_every_layer_from_one_source() -> None:
    plan = {Q: trellis(3), K: trellis(5), V: get_format("BF16")}
    document = exported("exllamav3", plan)
    found = yaml.safe_load(file_text(document))
    assert found["sources"] == [
        {"id": "k3", "model_dir": "exl3-3.0bpw"},
        {"id": "k5", "model_dir": "exl3-5.0bpw"},
        {"id": "original", "model_dir": "original"},
    ]
    assert [one["key"] for one in found["overrides"]] == [f"{layer.name}.*" for layer in MODEL.layers]
    assert [one["source"] for one in found["overrides"][:4]] == ["k3", "k5", "original", "original"]
    assert document["commands"] == [
        "python convert.py -i original -o exl3-3.0bpw -w work-3 -b 3",
        "python convert.py -i original -o exl3-5.0bpw -w work-5 -b 5",
        "python util/recompile.py -i exl3-3.0bpw -o exl3-mixed -or overrides.yaml",
    ]


def test_exllamav3_globs_that_take_more_than_a_layer_are_refused() -> None:
    """``layers.1*`` begins the names of block 10; a glob of one tensor leaves the others to the base model."""
    text = file_text(exported("exllamav3", {layer.name: trellis(2 + (layer.block or 0) % 3) for layer in MODEL.layers[:-1]}))
    first = '"model.layers.1.self_attn.q_proj.*"'
    for glob in ('"model.layers.1*"', '"model.layers.1.self_attn.q_proj.trellis"', '"model.layers.1.self_attn.q_proj"'):
        with pytest.raises(ExportError, match=r"model\.layers\.1"):
            get_exporter("exllamav3").read({"text": text.replace(first, glob)}, MODEL)
    with pytest.raises(ExportError, match="not a list of mappings"):
        get_exporter("exllamav3").read({"text": text + "more\n"}, MODEL)


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
    assert f"__module.{Q}/aten::linear/MatMul" in passes[1]["ignored_scope"]
    assert [len(one["ignored_scope"]) for one in passes] == [len(MODEL.layers) - 1, len(MODEL.layers) - 2]


def test_openvino_passes_that_nncf_would_refuse_or_read_otherwise() -> None:
    names = [f"__module.{layer.name}/aten::linear/MatMul" for layer in MODEL.layers]
    good = {"mode": "int4_sym", "ratio": 1.0, "group_size": 64, "all_layers": True, "ignored_scope": names[1:]}
    read = get_exporter("openvino").read
    assert read({"passes": [good]}, MODEL)[Q].name == "INT4_G64"
    for bad in (
        {**good, "ratio": 0.8},
        {**good, "all_layers": False},
        {**good, "group_size": 48},
        {**good, "mode": "int8_sym"},
        {"mode": "int4_sym", "ignored_scope": names[1:]},
        {**good, "ignored_scope": names},
        {**good, "ignored_scope": [*names[1:], "lm_head"]},
        {**good, "ignored_scope": [*names[1:], names[0].replace("q_proj", "x_proj")]},
    ):
        with pytest.raises(ExportError):
            read({"passes": [bad]}, MODEL)
    with pytest.raises(ExportError, match="again"):
        read({"passes": [good, good]}, MODEL)
    with pytest.raises(ExportError, match="no passes"):
        read({}, MODEL)
