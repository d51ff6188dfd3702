"""What an mlx checkpoint has beside packed layers: stacked experts, and settings under mlx-lm's names."""

import itertools
import random

import pytest
import torch

from planner.worker.checkpoint_writers.mlx import StackedExperts
from planner.worker.checkpoint_writers.mlx_configuration import mlx_configuration
from sensitivity.errors import CheckpointError
from tests.planner.exports.example import mixture_model

LAYERS = mixture_model().layers
MODULE = "model.layers.0.mlp.switch_mlp"


def test_experts_are_stacked_in_their_order_whatever_the_order_of_the_file() -> None:
    parts = list(itertools.product(LAYERS, ("weight", "scales")))
    random.Random(3).shuffle(parts)
    given = [(f"{layer.name}.{part}", torch.tensor([float(layer.expert or 0)])) for layer, part in parts]
    given.insert(4, ("model.norm.weight", torch.ones(3)))
    found = dict(StackedExperts(LAYERS).stacked(iter(given)))
    kinds = ("gate_proj", "up_proj", "down_proj")
    assert set(found) == {"model.norm.weight"} | {f"{MODULE}.{kind}.{part}" for kind in kinds for part in ("weight", "scales")}
    assert found[f"{MODULE}.up_proj.scales"].tolist() == [[0.0], [1.0]]


def test_a_missing_expert_is_an_error() -> None:
    given = [(f"{layer.name}.weight", torch.ones(1)) for layer in LAYERS[:-1]]
    with pytest.raises(CheckpointError, match=r"switch_mlp\.down_proj\.weight lacks experts"):
        list(StackedExperts(LAYERS).stacked(iter(given)))


def test_rotary_settings_are_said_where_mlx_lm_looks() -> None:
    plain = {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5, "partial_rotary_factor": 0.5}}
    assert mlx_configuration(plain) == {**plain, "rope_theta": 5e5, "partial_rotary_factor": 0.5}
    llama = {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0}}
    scaling = {"type": "llama3", "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}
    assert mlx_configuration(llama) == {**llama, "rope_theta": 5e5, "rope_scaling": scaling}
    kinds = {
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        "sliding_attention": {"rope_theta": 1e4},
    }
    gemma = mlx_configuration({"rope_parameters": kinds})
    assert (gemma["rope_theta"], gemma["rope_local_base_freq"], gemma["rope_scaling"]["factor"]) == (1e6, 1e4, 8.0)


def test_what_a_configuration_says_is_kept() -> None:
    old = {"rope_theta": 1e4, "rope_scaling": None, "num_experts": 8, "num_local_experts": 8}
    assert mlx_configuration(old) == old
    assert mlx_configuration({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e6}})["rope_theta"] == 1e4
    assert mlx_configuration({"num_local_experts": 4})["num_experts"] == 4
