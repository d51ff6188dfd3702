"""The hqq export: settings of each module. The hqq library takes them in tests/exports."""

from dataclasses import replace
from typing import Any

import pytest

from planner.errors import ExportError
from planner.exports import ExportedModel, get_exporter
from planner.exports.hqq_reader import read_assignment
from planner.runtimes import get_runtime
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing_hqq import hqq_refusal
from sensitivity.formats.registry import all_formats, get_format
from tests.planner.exports.example import example_model, mixture_model

HQQ = get_runtime("hqq")
MODEL = example_model(blocks=12)
MIXED = {
    "model.layers.1.self_attn.q_proj": get_format("INT4_G64_ASYM"),
    "model.layers.10.self_attn.q_proj": get_format("INT3_CHANNEL_ASYM"),
    "model.layers.1.mlp.down_proj": get_format("BF16"),
}


def exported(plan: dict[str, CandidateFormat], model: ExportedModel = MODEL) -> dict[str, Any]:
    return get_exporter("hqq").export(plan, model, HQQ)


def test_words_of_the_document() -> None:
    assert exported(MIXED) == {
        "quant_method": "hqq",
        "format_version": 1,
        "layers": {
            "model.layers.1.self_attn.q_proj": {"nbits": 4, "group_size": 64, "axis": 1},
            "model.layers.10.self_attn.q_proj": {"nbits": 3, "group_size": None, "axis": 1},
        },
    }


@pytest.mark.parametrize("fmt", [fmt for fmt in all_formats() if fmt.is_quantized], ids=lambda fmt: fmt.name)
def test_every_format_is_read_back_or_refused(fmt: CandidateFormat) -> None:
    model = example_model(head=False)
    model = replace(model, layers=tuple(replace(layer, in_features=256) for layer in model.layers))
    plan = dict.fromkeys((layer.name for layer in model.layers), fmt)
    if hqq_refusal(fmt, model.layers[0].shape) is None:
        assert read_assignment(exported(plan, model), model) == plan
        return
    for runtime in (HQQ, get_runtime("generic")):
        with pytest.raises(ExportError, match=r"model\.layers\.0\.self_attn\.q_proj cannot be"):
            get_exporter("hqq").export(plan, model, runtime)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("self_attn.q_proj", {"nbits": 4, "group_size": 64, "axis": 1}, "no linear module"),  # HQQ's own name of all of them
        ("lm_head", {"nbits": 7, "group_size": 64, "axis": 1}, "no candidate format"),
        ("lm_head", {"nbits": 4, "group_size": 64, "axis": 0}, "no candidate format"),
        ("lm_head", {"nbits": 4, "group_size": 64}, "no candidate format"),
        ("lm_head", {"nbits": 4, "group_size": 48, "axis": 1}, "no candidate format"),
        ("lm_head", {"nbits": 4, "group_size": 128, "axis": 1}, "over the ends of its rows"),
    ],
)
def test_settings_that_no_plan_says(name: str, settings: dict[str, int], message: str) -> None:
    document = exported(MIXED)
    with pytest.raises(ExportError, match=message):
        read_assignment({**document, "layers": {**document["layers"], name: settings}}, MODEL)


def test_other_documents_are_refused() -> None:
    for document in ({}, {**exported(MIXED), "format_version": 2}):
        with pytest.raises(ExportError, match="format version 1"):
            read_assignment(document, MODEL)


def test_what_hqq_does_not_replace() -> None:
    model = mixture_model()
    plan = {layer.name: get_format("INT4_G64_ASYM") for layer in model.layers}
    for runtime in (HQQ, get_runtime("generic")):
        with pytest.raises(ExportError, match=r"experts\.0\.gate_proj cannot be .*linear modules alone"):
            get_exporter("hqq").export(plan, model, runtime)
    with pytest.raises(ExportError, match="Conv1D"):
        exported(MIXED, replace(MODEL, architecture="gpt2"))
    with pytest.raises(ExportError, match="nothing to export"):
        exported({"lm_head": get_format("BF16")})
