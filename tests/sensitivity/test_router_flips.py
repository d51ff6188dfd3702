"""Router flips in an evaluation, against a float64 copy whose routers are asked one token at a time."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from sensitivity.checkpoint.reading import describe
from sensitivity.evaluation import Metric, evaluate, summarise
from sensitivity.formats.registry import get_format
from sensitivity.loading import LoadedModel, load_model
from sensitivity.rounding import fake_quantize
from sensitivity.statistics import mean_and_error
from tests.sensitivity.probes.dense import flips_between
from tests.tiny_models import BUILDERS

INT2, INT3 = get_format("INT2_G32"), get_format("INT3_G32")
SEQUENCES, LENGTH = 5, 17


@pytest.fixture(scope="module", params=["mixtral", "qwen2_moe"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("mixture") / "model"
    return load_model(describe(str(BUILDERS[request.param](folder))))


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    return torch.randint(0, 256, (SEQUENCES, LENGTH), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def dense_flips(model: LoadedModel, assignment: list[str], tokens: torch.Tensor) -> np.ndarray:
    """Share of flipped (router, token) pairs of each sequence."""
    reference, quantized = copy.deepcopy(model.module).double(), copy.deepcopy(model.module).double()
    for name in assignment:
        path = next(path for path, module in model.module.named_modules() if module is model.linears[name])
        quantized.get_parameter(f"{path}.weight").copy_(fake_quantize(model.linears[name].weight, INT2))
    return flips_between(reference, quantized, tokens)


def test_flips_equal_a_dense_reference(model: LoadedModel, tokens: torch.Tensor) -> None:
    names = [name for name in model.linears if name != "lm_head"]
    found = evaluate(model, [dict.fromkeys(names, INT2), dict.fromkeys(names[:1], INT2), {}], tokens)
    mean, error = mean_and_error(found[:, Metric.ROUTER_FLIPS])
    for i, assignment in enumerate((names, names[:1], [])):
        samples = dense_flips(model, assignment, tokens)
        assert mean[i] == pytest.approx(samples.mean(), abs=1e-12)
        assert error[i] == pytest.approx(samples.std(ddof=1) / np.sqrt(SEQUENCES), abs=1e-12)
    assert mean[0] > mean[1] > mean[2] == 0.0
    assert summarise(found[0]).router_flips == mean[0]


def test_layers_behind_the_last_router_flip_nothing(model: LoadedModel, tokens: torch.Tensor) -> None:
    last = [name for name in model.linears if name == "lm_head" or name.startswith(f"model.layers.{len(model.blocks) - 1}.")]
    behind = [name for name in last if "experts" in name or name == "lm_head"]
    found = summarise(evaluate(model, [dict.fromkeys(behind, INT2)], tokens)[0])
    assert found.router_flips == 0.0
    assert found.kl > 0


def test_chunks_of_sequences_add_up(model: LoadedModel, tokens: torch.Tensor) -> None:
    names = [dict.fromkeys(model.linears, INT3)]
    whole = evaluate(model, names, tokens)
    parts = evaluate(model, names, tokens[:2]) + evaluate(model, names, tokens[2:])
    np.testing.assert_allclose(parts[:, Metric.ROUTER_FLIPS], whole[:, Metric.ROUTER_FLIPS], rtol=1e-12)


def test_a_dense_model_has_no_routers_to_flip(tmp_path: Path, tokens: torch.Tensor) -> None:
    dense = load_model(describe(str(BUILDERS["llama"](tmp_path / "llama"))))
    found = evaluate(dense, [dict.fromkeys(dense.linears, INT2)], tokens)
    assert not found[:, Metric.ROUTER_FLIPS].any()
    assert summarise(found[0]).router_flips is summarise(found[0]).router_flips_error is None
