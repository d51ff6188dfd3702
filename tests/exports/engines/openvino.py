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
COMPRESSED = frozenset({"i4", "u4", "i8", "u8", "f4e2m1"})
DECODING = frozenset({"Convert", "Multiply", "Subtract", "Reshape"})
"""Operations between the constants of a weight and the node that uses it."""


def load(directory: Path) -> Loaded:
    """Modules by the constants that their weights became: types, elements of a group, stored bits. Logits as OpenVINO computes.

    Every module with weights is among them, layer or not, and whatever else is compressed, by the name of its constant.
    """
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, local_files_only=True).eval()
    model.config.use_cache = False
    if hasattr(model.config, "num_experts_per_tok"):
        model.set_experts_implementation("batched_mm")
    inputs = _inputs()
    with torch.no_grad():
        converted = openvino.convert_model(model, example_input={name: torch.from_numpy(one) for name, one in inputs.items()})
    for one in json.loads((directory / "passes.json").read_text()):
        _compress(converted, one)
    modules = _modules(converted, {name for name, _ in model.named_modules()})
    logits = openvino.compile_model(converted, "CPU")(inputs)[0]
    return Loaded(modules, logits)


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
    scope = nncf.IgnoredScope(**arguments.pop("ignored_scope"))
    nncf.compress_weights(model, mode=nncf.CompressWeightsMode(arguments.pop("mode")), ignored_scope=scope, **arguments)


def _modules(model: Any, names: set[str]) -> dict[str, dict[str, Any]]:
    """What the constants of each module's weights are; nothing if they are plain numbers."""
    found: dict[str, dict[str, Any]] = {}
    claimed: set[str] = set()
    for node in model.get_ops():
        if node.get_type_name() in {"MatMul", "Gather"}:
            stored = [one for port in node.inputs() for one in _constants(port) or ()]
            claimed.update(one.get_friendly_name() for one in stored)
            if any("aten::" in node.get_friendly_name() and len(one.shape) > 1 for one in stored):
                module = _module_of(node, names)
                found[module] = found.get(module) or _weights(stored)
    for node in model.get_ops():
        name = node.get_friendly_name()
        if node.get_type_name() == "Constant" and _type(node) in COMPRESSED and name not in claimed:
            found[name] = {"elements": _type(node)}
    return found


def _module_of(node: Any, names: set[str]) -> str:
    name: str = node.get_friendly_name()
    found = name.removeprefix("__module.").partition("/aten::")[0]
    return found if found in names else found.removeprefix("model.")  # the converter's own module around the model


def _weights(constants: list[Any]) -> dict[str, Any]:
    parts = {one.get_friendly_name().rpartition("/")[2]: one for one in constants if _type(one) != "i64"}
    if "scale" not in parts:
        return {}
    (elements,) = (one for name, one in parts.items() if not name.endswith(("scale", "zero_point")))
    return {
        "elements": _type(elements),
        "scale": _type(parts["scale"]),
        "zero_point": "zero_point" in parts,
        "group_size": elements.shape[-1] if len(elements.shape) == 3 else None,
        "bits": sum(int(np.prod(one.shape)) * BITS[_type(one)] for one in parts.values()),
    }


def _type(constant: Any) -> str:
    found: str = constant.get_element_type().to_string()
    return found


def _constants(port: Any) -> list[Any] | None:
    """The constants that alone decide what comes in at a port; ``None`` if something else does, too."""
    node = port.get_source_output().get_node()
    if node.get_type_name() == "Constant":
        return [node]
    if node.get_type_name() not in DECODING:
        return None
    found = [_constants(one) for one in node.inputs()]
    return None if None in found else [one for some in found for one in some or ()]


if __name__ == "__main__":
    main(load, *LIBRARIES)
