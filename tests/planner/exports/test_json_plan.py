"""The json export and the registry of targets."""

import json

import pytest

from planner.errors import ExportError
from planner.exports import check_ties, exporters, get_exporter
from planner.runtimes import RUNTIMES, get_runtime
from sensitivity.formats.registry import get_format
from tests.planner.exports.example import example_model, mixed_plan


def test_every_planned_layer_has_its_format_and_exact_size() -> None:
    model = example_model()
    plan = mixed_plan(model)
    found = json.loads(json.dumps(get_exporter("json").export(plan, model, get_runtime("generic"))))
    assert found["format_version"] == 1
    assert found["model"]["fingerprint"] == model.fingerprint
    assert list(found["layers"]) == [layer.name for layer in model.layers if layer.name in plan]
    assert found["ignore"] == ["lm_head"]
    for layer in model.layers:
        if layer.name in plan:
            assert found["layers"][layer.name]["size_bits"] == plan[layer.name].size_bits(layer.shape)
            assert get_format(found["layers"][layer.name]["format"]) == plan[layer.name]


def test_words_of_an_entry() -> None:
    model = example_model()
    layers = get_exporter("json").export(mixed_plan(model), model, get_runtime("vllm"))["layers"]
    assert isinstance(layers, dict)
    assert layers["model.layers.1.self_attn.q_proj"] == {
        "format": "INT3_G32_ASYM",
        "bits": 3,
        "group_size": 32,
        "sym": False,
        "type": "int",
        "strategy": "group",
        "scale_dtype": "bfloat16",
        "shape": [64, 64],
        "size_bits": 64 * 64 * 3 + 64 * 2 * 16 + 64 * 3 * 2 + 128,
    }
    assert layers["model.layers.0.self_attn.q_proj"]["group_size"] == -1
    assert layers["model.layers.1.mlp.down_proj"]["bits"] == 16


def test_unknown_targets_and_layers_are_refused() -> None:
    names = [exporter.name for exporter in exporters()]
    assert names[0] == "json"
    assert names[1:] == sorted(names[1:])
    with pytest.raises(ExportError, match=", ".join(names)):
        get_exporter("gguf?")
    model = example_model(blocks=1)
    for exporter in exporters():
        with pytest.raises(ExportError, match=r"model\.layers\.9\.x"):
            exporter.export({"model.layers.9.x": get_format("INT4_G64")}, model, get_runtime("generic"))


def test_every_target_of_every_runtime_exists() -> None:
    for runtime in RUNTIMES.values():
        for target in runtime.exports:
            assert get_exporter(target).name == target


def test_ties() -> None:
    four, eight, whole = get_format("INT4_G64"), get_format("INT8_G64"), get_format("BF16")
    check_ties({"q": four, "k": four, "o": eight}, [("q", "k"), ("o",)])
    check_ties({"q": whole}, [("q", "k")])  # both stay unquantized
    with pytest.raises(ExportError, match=r"rule R1.*q: INT4_G64, k: INT8_G64"):
        check_ties({"q": four, "k": eight}, [("q", "k")])
    with pytest.raises(ExportError, match="k: unquantized"):
        check_ties({"q": four}, [("q", "k")])


@pytest.mark.parametrize("target", ["json", "compressed-tensors"])
def test_what_the_runtime_cannot_load_is_not_exported(target: str) -> None:
    model = example_model()
    with pytest.raises(ExportError, match=r"model\.layers\.0\.self_attn\.q_proj cannot be loaded by vllm.*NF4"):
        get_exporter(target).export({model.layers[0].name: get_format("NF4_G64")}, model, get_runtime("vllm"))


@pytest.mark.parametrize("target", ["json", "compressed-tensors"])
def test_vllm_refuses_a_plan_that_splits_a_fused_projection(target: str) -> None:
    model = example_model()
    plan = {**mixed_plan(model), "model.layers.0.mlp.up_proj": get_format("INT8_G64")}
    get_exporter(target).export(plan, model, get_runtime("generic"))
    with pytest.raises(ExportError, match="R1") as caught:
        get_exporter(target).export(plan, model, get_runtime("vllm"))
    assert caught.value.fields["layers"] == ["model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up_proj"]
