"""Experts stacked for engines that want them so."""

import itertools
import random

import pytest
import torch

from planner.exports.mlx import module_path
from planner.worker.checkpoint_writers.stacking import Place, StackedExperts
from planner.worker.checkpoint_writers.torchao import stacked_experts
from sensitivity.errors import CheckpointError
from tests.planner.exports.example import mixture_model

LAYERS = mixture_model().layers
PLACES = {layer.name: Place(module_path(layer), layer.expert or 0) for layer in LAYERS}
STACKS = StackedExperts(PLACES, stored_as="{}.{}".format)
MODULE = "model.layers.0.mlp.switch_mlp"


def test_experts_are_stacked_in_their_order_whatever_the_order_of_the_file() -> None:
    parts = list(itertools.product(LAYERS, ("weight", "scales")))
    random.Random(3).shuffle(parts)
    given = [(f"{layer.name}.{part}", torch.tensor([float(layer.expert or 0)])) for layer, part in parts]
    given.insert(4, ("model.norm.weight", torch.ones(3)))
    found = dict(STACKS.arranged(iter(given)))
    kinds = ("gate_proj", "up_proj", "down_proj")
    assert set(found) == {"model.norm.weight"} | {f"{MODULE}.{kind}.{part}" for kind in kinds for part in ("weight", "scales")}
    assert found[f"{MODULE}.up_proj.scales"].tolist() == [[0.0], [1.0]]


def test_a_missing_expert_is_an_error() -> None:
    given = [(f"{layer.name}.weight", torch.ones(1)) for layer in LAYERS[:-1]]
    with pytest.raises(CheckpointError, match=r"switch_mlp\.down_proj\.weight lacks experts"):
        list(STACKS.arranged(iter(given)))


def test_the_gate_lies_above_up_where_they_are_one_tensor() -> None:
    values = {"gate_proj": 1.0, "up_proj": 2.0, "down_proj": 3.0}
    given = [
        (f"{layer.name}._weight_qdata", torch.full((2, 1), values[layer.kind] + 10 * (layer.expert or 0)).to(torch.float8_e4m3fn))
        for layer in reversed(LAYERS)
    ]
    found = {name: tensor.float() for name, tensor in stacked_experts(LAYERS).arranged(iter(given))}
    parent = "model.layers.0.mlp.experts"
    assert found[f"{parent}._gate_up_proj_qdata"][..., 0].tolist() == [[1, 1, 2, 2], [11, 11, 12, 12]]
    assert found[f"{parent}._down_proj_qdata"][..., 0].tolist() == [[3, 3], [13, 13]]
