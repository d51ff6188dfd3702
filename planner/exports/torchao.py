r"""torchao's ``FqnToConfig`` as ``quantization_config`` of ``config.json``: transformers' ``TorchAoConfig`` reads it.

A key is an exact module name, or ``re:`` and a pattern that has to match the whole name. Layers that an engine may fuse are one
pattern with the fused name among its alternatives (rule R2: vLLM looks for ``qkv_proj`` and ``gate_up_proj``, transformers for
the members); the experts of a block are the two parameters that transformers stacks them to. No two keys match one name, because
transformers sorts keys when it saves a configuration, and the first match would win. Layers that stay as they are have ``null``.
"""

import re
from typing import ClassVar, Final

from planner.errors import ExportError
from planner.exports.architectures import require_linear_modules
from planner.exports.expressible import require_expressible
from planner.exports.gptqmodel_patterns import alternatives
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.exports.torchao_reader import read_assignment
from planner.exports.transformers_names import engine_name
from planner.runtimes.fused import FUSED
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_torchao import FLOAT8, is_torchao_int8, torchao_refusal

ALTERNATIVES: Final = {kind: alternatives([*members, name]) for name, members in FUSED.items() for kind in members}
"""Kind of a layer that may be fused → the expression for all that it is fused with, and for what they become."""
STACKED: Final = {"gate_proj": "gate_up_proj", "up_proj": "gate_up_proj", "down_proj": "down_proj"}
"""Parameter that transformers stacks a projection of the experts into."""


class TorchaoExporter(AbstractExporter):
    """One key for each layer, for what is fused, and for the experts of a block."""

    name: ClassVar[str] = "torchao"
    description: ClassVar[str] = "quantization_config of a torchao checkpoint (FqnToConfig), for transformers"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """``{"quantization_config": …}``, ready to be merged into the checkpoint's ``config.json``."""
        require_linear_modules(model, "torchao")
        _require_loadable_experts(assignment, model)
        require_expressible(assignment, model, torchao_refusal)
        keys: dict[str, tuple[str, CandidateFormat | None]] = {}
        for layer in model.layers:
            fmt = assignment.get(layer.name)
            chosen = fmt if fmt is not None and fmt.is_quantized else None
            first, stored = keys.setdefault(_key(layer), (layer.name, chosen))
            if stored != chosen:
                msg = f"torchao's key {_key(layer)} stands for {first} and {layer.name}, which the plan gives two formats"
                raise ExportError(msg, layers=[first, layer.name], rule="R1")
        configs = {key: None if fmt is None else scheme(fmt) for key, (_, fmt) in keys.items()}
        return {
            "quantization_config": {
                "quant_method": "torchao",
                "quant_type": {"default": {"_type": "FqnToConfig", "_version": 1, "_data": {"fqn_to_config": configs}}},
            }
        }

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As torchao and transformers match names, and as vLLM would."""
        return read_assignment(document, model)


def parameter_name(layer: Layer) -> str:
    """The parameter of transformers' module that holds a layer's weight; experts of a block share two."""
    parent, _, kind = engine_name(layer.name).rpartition(".")
    if layer.expert is None:
        return f"{engine_name(layer.name)}.weight"
    return f"{parent.removesuffix(f'.{layer.expert}')}.{STACKED[kind]}"


def scheme(fmt: CandidateFormat) -> Json:
    """The configuration of a quantized format, as ``torchao.core.config`` writes it."""
    if fmt.name in FLOAT8:
        granularity = _typed("PerRow", dim=-1) if fmt.name == "FP8" else _typed("PerTensor")
        return _typed(
            "Float8WeightOnlyConfig",
            2,
            weight_dtype=_dtype("float8_e4m3fn"),
            set_inductor_config=True,
            granularity=granularity,
        )
    if is_torchao_int8(fmt):
        granularity = _typed("PerRow", dim=-1) if fmt.group_size is None else _typed("PerGroup", group_size=fmt.group_size)
        return _typed("Int8WeightOnlyConfig", 2, group_size=None, granularity=granularity, set_inductor_config=True)
    return _typed(
        "IntxWeightOnlyConfig",
        2,
        weight_dtype=_dtype(f"int{fmt.num_bits}"),
        granularity=_typed("PerAxis", axis=0) if fmt.group_size is None else _typed("PerGroup", group_size=fmt.group_size),
        mapping_type={"_type": "MappingType", "_data": "SYMMETRIC" if fmt.symmetric else "ASYMMETRIC"},
        scale_dtype=None,
        intx_packing_format={"_type": "IntxPackingFormat", "_data": "UNPACKED_TO_INT8"},
        intx_choose_qparams_algorithm={"_type": "IntxChooseQParamsAlgorithm", "_data": "AFFINE"},
    )


def _typed(name: str, version: int = 1, **data: object) -> Json:
    return {"_type": name, "_version": version, "_data": data}


def _dtype(name: str) -> Json:
    return {"_type": "torch.dtype", "_data": name}


def _key(layer: Layer) -> str:
    if layer.expert is not None:
        return rf"re:{re.escape(parameter_name(layer).rpartition('.')[0])}\.(gate_up_proj|down_proj)"
    name = engine_name(layer.name)
    parent, _, kind = name.rpartition(".")
    return rf"re:{re.escape(parent)}\.{ALTERNATIVES[kind]}" if kind in ALTERNATIVES else name


def _require_loadable_experts(assignment: Assignment, model: ExportedModel) -> None:
    for layer in model.layers:
        fmt = assignment.get(layer.name)
        if layer.expert is not None and fmt is not None and fmt.is_quantized and fmt.name != "FP8":
            msg = f"{layer.name} cannot be exported: torchao runs the stacked experts of a block in FP8 or unquantized"
            raise ExportError(f"{msg}, not in {fmt.name}. Pin the layer to one of these", layers=[layer.name], rule="format")


EXPORTER = TorchaoExporter()
