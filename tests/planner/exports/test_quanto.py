"""The quanto export: exact names, groups by the inputs. optimum-quanto loads it in tests/exports."""

from dataclasses import replace
from typing import Any

import pytest

from planner.errors import ExportError
from planner.exports import ExportedModel, get_exporter
from planner.exports.quanto_reader import read_assignment
from planner.runtimes import get_runtime
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format
from tests.planner.exports.example import example_model, mixture_model

QUANTO = get_runtime("quanto")
MODEL = example_model(blocks=12)
WIDE = replace(MODEL, layers=tuple(replace(layer, in_features=576 if "down" in layer.name else 256) for layer in MODEL.layers))
Plan = dict[str, CandidateFormat]


def exported(plan: Plan, model: ExportedModel = WIDE) -> dict[str, Any]:
    return get_exporter("quanto").export(plan, model, QUANTO)


MIXED = {
    "model.layers.1.self_attn.q_proj": get_format("INT4_G128"),
    "model.layers.1.mlp.up_proj": get_format("INT2_G128"),
    "model.layers.1.mlp.down_proj": get_format("INT8_CHANNEL"),
    "model.layers.10.mlp.down_proj": get_format("FP8"),
    "model.layers.10.self_attn.q_proj": get_format("BF16"),
}


def test_the_document_is_the_map() -> None:
    assert exported(MIXED) == {
        "model.layers.1.self_attn.q_proj": {"weights": "qint4", "activations": "none"},
        "model.layers.1.mlp.up_proj": {"weights": "qint2", "activations": "none"},
        "model.layers.1.mlp.down_proj": {"weights": "qint8", "activations": "none"},
        "model.layers.10.mlp.down_proj": {"weights": "qfloat8_e4m3fn", "activations": "none"},
    }


def test_groups_are_those_that_quanto_chooses() -> None:
    """576 inputs get groups of 96, which no format of ours has; 128 or fewer have none."""
    four = {"weights": "qint4", "activations": "none"}
    with pytest.raises(ExportError, match="groups of G96"):
        read_assignment({"model.layers.1.mlp.down_proj": four}, WIDE)
    assert read_assignment({"model.layers.1.mlp.down_proj": four}, MODEL)["model.layers.1.mlp.down_proj"].name == "INT4_CHANNEL"
    with pytest.raises(ExportError, match=r"down_proj cannot be loaded by quanto: quanto stores 576 inputs in groups of 96"):
        exported({"model.layers.1.mlp.down_proj": get_format("INT4_G32")})


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("model.layers.1.*", {"weights": "qint4", "activations": "none"}, "passes over it"),
        ("lm_head", {"weights": "qint4", "activations": "qint8"}, "quantized activations"),
        ("lm_head", {"weights": "qfloat8_e5m2", "activations": "none"}, "no candidate format has qfloat8_e5m2"),
        ("lm_head", {"weights": "qint3", "activations": "none"}, "no candidate format has qint3"),
    ],
)
def test_entries_that_no_plan_says(name: str, entry: dict[str, str], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        read_assignment({**exported(MIXED), name: entry}, WIDE)


def test_what_quanto_does_not_quantize() -> None:
    model = mixture_model()
    plan = {layer.name: get_format("INT8_CHANNEL") for layer in model.layers}
    for runtime in (QUANTO, get_runtime("generic")):
        with pytest.raises(ExportError, match=r"experts\.0\.gate_proj cannot be .*linear modules alone"):
            get_exporter("quanto").export(plan, model, runtime)
    with pytest.raises(ExportError, match="Conv1D"):
        exported(MIXED, replace(WIDE, architecture="gpt2"))
    with pytest.raises(ExportError, match="nothing to export"):
        exported({"lm_head": get_format("BF16")})
