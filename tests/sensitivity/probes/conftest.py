"""Tiny models that the probes' tests share."""

from collections.abc import Callable, Iterator

import pytest
import torch

from sensitivity.checkpoint.reading import describe
from sensitivity.loading import LoadedModel, load_model
from tests.tiny_models import build, tiny_llama, tiny_mixtral


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices of these sizes are slower on several threads, and much slower beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def load_family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LoadedModel]:
    """A fresh tiny model of a family."""

    def load(family: str) -> LoadedModel:
        return load_model(describe(str(build(family, tmp_path_factory.mktemp("models") / family))))

    return load


@pytest.fixture
def llama(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Two narrow blocks and an untied head."""
    directory = tiny_llama(tmp_path_factory.mktemp("models") / "llama", hidden=32, ffn=64)
    return load_model(describe(str(directory)))


@pytest.fixture
def mixture(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A Mixtral of five experts whose last expert no token chooses in any block.

    Two pairs of experts have opposite logits, so that exactly two are above the last one's zero.
    """
    directory = tiny_mixtral(tmp_path_factory.mktemp("models") / "mixtral", experts=5)
    model = load_model(describe(str(directory)))
    with torch.no_grad():
        for block in model.blocks:
            router = block.get_parameter("mlp.gate.weight")
            router[1], router[3], router[4] = -router[0], -router[2], 0.0
    return model
