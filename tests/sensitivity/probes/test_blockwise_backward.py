"""Block-wise passes against one pass through the whole model."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sensitivity.errors import ScratchSpaceError
from sensitivity.loading import LoadedModel, load_model
from sensitivity.next_token import hidden_states
from sensitivity.probes import block_walk
from sensitivity.probes.blockwise_backward import backward_by_blocks
from tests.sensitivity.probes.dense import random_tokens

DRAWS = 2


@pytest.fixture
def three_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_walk, "BATCH_TOKENS", 24)


def gradients_at_end(hidden: Tensor, part: slice) -> Tensor:
    generator = torch.Generator().manual_seed(part.start)
    return torch.randn((DRAWS, *hidden.shape), generator=generator)


def whole(model: LoadedModel, tokens: Tensor, layer: str) -> Tensor:
    """Gradients at the output of a layer for each draw, (draws, sequences, length, out), by one graph for all blocks."""
    found: list[list[Tensor]] = [[] for _ in range(DRAWS)]
    for part in block_walk.batches_of(tokens):
        outputs: list[Tensor] = []
        embedding = model.module.get_input_embeddings()  # type: ignore[operator]
        handles = [
            embedding.register_forward_hook(lambda _module, _arguments, output: output.requires_grad_()),
            model.linears[layer].register_forward_hook(lambda _module, _arguments, output, kept=outputs: kept.append(output)),
        ]
        hidden = hidden_states(model.module, tokens[part])
        for handle in handles:
            handle.remove()
        for draw, gradient in enumerate(gradients_at_end(hidden, part)):
            found[draw] += torch.autograd.grad(hidden, outputs, gradient, retain_graph=True)
    return torch.stack([torch.cat(parts) for parts in found])


def blockwise(model: LoadedModel, tokens: Tensor, layer: str, *, down_to: int = 0) -> tuple[Tensor, list[int]]:
    """The same, and the blocks that were run with gradients."""
    result = torch.zeros((DRAWS, *tokens.shape, model.linears[layer].out_features))
    seen: list[int] = []

    @contextlib.contextmanager
    def watching(block: int, part: slice) -> Iterator[Callable[[int], None]]:
        seen.append(block)
        now: list[int] = []

        def note(_module: object, _arguments: object, output: Tensor) -> None:
            def keep(gradient: Tensor) -> None:
                result[now[-1], part] = gradient

            output.register_hook(keep)  # type: ignore[no-untyped-call]

        handle = model.linears[layer].register_forward_hook(note)
        yield now.append
        handle.remove()

    backward_by_blocks(model, tokens, down_to=down_to, at_end=gradients_at_end, watching=watching)
    return result, seen


@pytest.mark.usefixtures("three_a_batch")
@pytest.mark.parametrize("family", ["llama", "gemma2", "opt"])
def test_gradients_are_the_bits_of_one_graph(load_family: Callable[[str], LoadedModel], family: str) -> None:
    model = load_family(family)
    streamed = load_model(model.description, streamed=True)
    tokens = random_tokens(7, 8)
    layer = next(name for name in model.linears if model.block_of(name) == 0)
    found, seen = blockwise(streamed, tokens, layer)
    assert torch.equal(found, whole(model, tokens, layer))
    assert seen == [1, 1, 1, 0, 0, 0]
    assert streamed.stream is not None
    assert streamed.stream.reads == 3  # forward 0 and 1, back 1 (still there) and 0


def test_the_passes_end_at_the_first_block_that_is_needed(llama: LoadedModel) -> None:
    layer = "model.layers.1.mlp.up_proj"
    tokens = random_tokens(2, 8)
    found, seen = blockwise(llama, tokens, layer, down_to=1)
    assert seen == [1]
    assert torch.equal(found, whole(llama, tokens, layer))
    assert blockwise(llama, tokens, layer, down_to=2)[1] == []


def test_states_that_cannot_be_written(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("r+b", buffering=0)  # noqa: SIM115  (who asks for it closes it)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
    with pytest.raises(ScratchSpaceError, match="set TMPDIR"):
        blockwise(llama, random_tokens(1, 8), "model.layers.0.mlp.up_proj")
