"""The recipe of the small mixture: the same bits each time, nothing held out that was trained on, a checkpoint like any other."""

import dataclasses
from pathlib import Path

import pytest
import torch

from sensitivity.checkpoint.reading import describe
from sensitivity.loading import load_model
from tests.benchmarks.small_mixture import HELD_OUT, Recipe, divided_text, trained_mixture, unigram_perplexity

QUICK = Recipe(
    hidden=64, blocks=2, heads=2, experts=3, experts_per_token=2, expert_hidden=64, vocabulary=300, steps=2, sequence_length=16
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_mixture(tmp_path_factory.mktemp("mixture"), QUICK)


def test_the_checkpoint_is_one_like_any_other(checkpoint: Path) -> None:
    description = describe(str(checkpoint))
    assert (description.architecture, description.dtype, description.blocks) == ("qwen3_moe", "bfloat16", 2)
    experts = [layer for layer in description.layers if layer.expert is not None]
    assert len(experts) == 2 * 3 * 3
    assert {layer.active_fraction for layer in experts} == {2 / 3}
    assert all(layer.in_features % 64 == 0 for layer in description.layers)
    model = load_model(description)
    tokens = torch.tensor([model.tokenizer.encode("Statements are separated by newlines.", add_special_tokens=False)])
    assert model.module(tokens).logits.isfinite().all()


def test_the_same_recipe_gives_the_same_bits_and_another_another_model(checkpoint: Path, tmp_path: Path) -> None:
    again = trained_mixture(tmp_path, QUICK)
    other = trained_mixture(tmp_path, dataclasses.replace(QUICK, seed=1))
    assert again.name == checkpoint.name != other.name
    contents = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in (checkpoint, again, other)]
    assert contents[0] == contents[1]
    assert contents[0]["model.safetensors"] != contents[2]["model.safetensors"]


def test_a_checkpoint_is_trained_once_and_appears_only_whole(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise MemoryError

    monkeypatch.setattr("tests.benchmarks.small_mixture._train", fail)
    assert trained_mixture(checkpoint.parent, QUICK) == checkpoint
    with pytest.raises(MemoryError):
        trained_mixture(checkpoint.parent, dataclasses.replace(QUICK, seed=2))
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_no_paragraph_is_on_both_sides(checkpoint: Path) -> None:
    trained, held_out = divided_text()
    assert (checkpoint / HELD_OUT).read_text(encoding="utf-8") == held_out
    assert not set(trained.split("\n\n")) & set(held_out.split("\n\n"))
    assert 0.19 < len(held_out) / (len(trained) + len(held_out)) < 0.21


def test_counts_alone_are_worth_less_than_the_vocabulary(checkpoint: Path) -> None:
    assert 1 < unigram_perplexity(checkpoint) < QUICK.vocabulary
