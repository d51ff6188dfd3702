"""OpenVINO: the model beside ``passes.json`` is converted, NNCF goes through the passes, and OpenVINO runs it on the CPU."""

import json
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino
import torch
from transformers import AutoModelForCausalLM

from tests.exports.engines.answer import Loaded, fixed_tokens, main

LIBRARIES = ("nncf", "openvino", "transformers")
BITS = {"i4": 4, "u4": 4, "i8": 8, "u8": 8, "f4e2m1": 4, "f8e4m3": 8, "f8e8m0": 8, "f16": 16, "f32": 32}


def load(directory: Path) -> Loaded:
    """Layers by the constants that their weights became: types, elements of a group, stored bits. Logits as OpenVINO computes."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, local_files_only=True).eval()
    model.config.use_cache = False
    inputs = _inputs()
    with torch.no_grad():
        converted = openvino.convert_model(model, example_input={name: torch.from_numpy(one) for name, one in inputs.items()})
    for one in json.loads((directory / "passes.json").read_text()):
        _compress(converted, one)
    linears = [node for node in converted.get_ops() if node.get_friendly_name().endswith("/aten::linear/MatMul")]
    layers = {_layer_of(node): _weights(node) for node in linears}
    logits = openvino.compile_model(converted, "CPU")(inputs)[0]
    return Loaded(layers, logits)


def _inputs() -> dict[str, Any]:
    """Tokens with the four-dimensional mask and the positions, which OpenVINO's converter cannot make by itself."""
    tokens = fixed_tokens()
    count, length = tokens.shape
    future = np.triu(np.ones((length, length), bool), 1)
    mask = np.where(future, np.finfo(np.float32).min, np.float32(0))
    return {
        "input_ids": tokens,
        "attention_mask": np.broadcast_to(mask, (count, 1, length, length)).copy(),
        "position_ids": np.broadcast_to(np.arange(length), (count, length)).copy(),
    }


def _compress(model: Any, one: dict[str, Any]) -> None:
    arguments = dict(one)
    scope = nncf.IgnoredScope(names=arguments.pop("ignored_scope"))
    nncf.compress_weights(model, mode=nncf.CompressWeightsMode(arguments.pop("mode")), ignored_scope=scope, **arguments)


def _layer_of(node: Any) -> str:
    name: str = node.get_friendly_name()
    return name.removeprefix("__module.").partition("/")[0]


def _weights(node: Any) -> dict[str, Any]:
    """What the constants of a layer's weights are; nothing if they are plain numbers."""
    stored = {one.get_friendly_name().rpartition(".weight")[2]: one for one in _constants(node.input(1)) if _is_of_weights(one)}
    elements = stored[""]
    if "/scale" not in stored:
        return {}
    return {
        "elements": elements.get_element_type().to_string(),
        "scale": stored["/scale"].get_element_type().to_string(),
        "zero_point": "/zero_point" in stored,
        "group_size": elements.shape[-1] if len(elements.shape) == 3 else None,
        "bits": sum(int(np.prod(one.shape)) * BITS[one.get_element_type().to_string()] for one in stored.values()),
    }


def _is_of_weights(constant: Any) -> bool:
    return ".weight" in constant.get_friendly_name()


def _constants(port: Any) -> list[Any]:
    node = port.get_source_output().get_node()
    if node.get_type_name() == "Constant":
        return [node]
    return [constant for one in node.inputs() for constant in _constants(one)]


if __name__ == "__main__":
    main(load, *LIBRARIES)
