"""A small mixture of experts that knows some English: the second architecture of the sensitivity report, without any hub.

A Qwen3-MoE is trained in minutes on the larger part of the built-in text; the rest of the text lies beside the checkpoint, for
calibration and evaluation. The built-in text repeats itself (a fifth of it are paragraphs that stood before), so each paragraph
is kept once before the text is divided: what is held out was seen neither by the training nor by the tokenizer. On one machine
with one number of threads the same recipe gives the same bits.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    get_cosine_schedule_with_warmup,
)
from transformers.utils import logging

from sensitivity.calibration import BUILTIN, read_text

HELD_OUT: Final = "held_out.txt"
"""Name of the file in the checkpoint's directory with the text that was not trained on."""

_TRAINED_SHARE: Final = 0.8
_WARM_UP: Final = 0.05
_LARGEST_GRADIENT: Final = 1.0
_PARAGRAPHS: Final = "\n\n"


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """What the checkpoint follows from, together with the text.

    Attributes:
        hidden: width of the residual stream, and of all heads together.
        blocks: transformer blocks; the feed-forward part of each is a mixture.
        heads: query heads; a key or value head serves two of them.
        experts: routed experts of a block.
        experts_per_token: how many of them a token is sent to.
        expert_hidden: width inside an expert.
        vocabulary: tokens of the byte-level BPE, at least 256.
        steps: updates of AdamW, with a warm-up and a cosine to zero.
        sequences: random windows of the text in an update.
        sequence_length: tokens of each of them.
        learning_rate: its greatest value.
        balance: weight of the loss that keeps the experts equally busy.
        seed: of the first weights and of the windows.
    """

    hidden: int = 256
    blocks: int = 4
    heads: int = 4
    experts: int = 8
    experts_per_token: int = 2
    expert_hidden: int = 128
    vocabulary: int = 2048
    steps: int = 400
    sequences: int = 4
    sequence_length: int = 256
    learning_rate: float = 2e-3
    balance: float = 0.01
    seed: int = 0

    def key(self, text: str) -> str:
        """SHA-256 over every number and the text."""
        return hashlib.sha256(json.dumps([asdict(self), text]).encode()).hexdigest()


def trained_mixture(directory: Path, recipe: Recipe | None = None) -> Path:
    """The checkpoint of a recipe: trained once, then found in the directory.

    Args:
        directory: where checkpoints are kept, each in a directory of its own that appears only whole.
        recipe: by default four and a half million weights that learn for two minutes.

    Returns:
        A directory with configuration, safetensors (bfloat16), tokenizer and ``HELD_OUT``.
    """
    recipe = recipe or Recipe()
    target = directory / f"mixture-{recipe.key(read_text(BUILTIN)[0])[:16]}"
    if not target.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory, prefix="training-") as folder:
            _make(Path(folder) / target.name, recipe).rename(target)
    return target


def divided_text() -> tuple[str, str]:
    """The built-in text, each paragraph once: the part to train on, and the part that training never sees."""
    paragraphs = list(dict.fromkeys(read_text(BUILTIN)[0].split(_PARAGRAPHS)))
    ends = np.cumsum([len(paragraph) for paragraph in paragraphs])
    border = int(np.searchsorted(ends, _TRAINED_SHARE * ends[-1]))
    return _PARAGRAPHS.join(paragraphs[:border]), _PARAGRAPHS.join(paragraphs[border:])


def unigram_perplexity(checkpoint: Path) -> float:
    """Perplexity of the held-out text by the counts of the training text's tokens (one more of each): what no context reaches."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(checkpoint)
    trained, held_out = (_tokens(tokenizer, text) for text in divided_text())
    counts = np.bincount(trained, minlength=len(tokenizer)) + 1
    return float(np.exp(-np.log(counts / counts.sum())[held_out].mean()))


def _make(directory: Path, recipe: Recipe) -> Path:
    trained, held_out = divided_text()
    tokenizer = _tokenizer(trained, recipe.vocabulary)
    model = _train(recipe, _tokens(tokenizer, trained), vocabulary=len(tokenizer))
    logging.disable_progress_bar()
    model.to(torch.bfloat16).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    (directory / HELD_OUT).write_text(held_out, encoding="utf-8")
    return directory


def _tokenizer(text: str, vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE without special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def _tokens(tokenizer: PreTrainedTokenizerFast, text: str) -> NDArray[np.int64]:
    return np.asarray(tokenizer.encode(text, add_special_tokens=False), dtype=np.int64)


def _train(recipe: Recipe, tokens: NDArray[np.int64], *, vocabulary: int) -> Qwen3MoeForCausalLM:
    model = _untrained(recipe, vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)
    warm_up = round(_WARM_UP * recipe.steps)
    schedule = get_cosine_schedule_with_warmup(optimizer, num_warmup_steps=warm_up, num_training_steps=recipe.steps)
    for batch in _batches(recipe, tokens):
        model(input_ids=batch, labels=batch, use_cache=False, output_router_logits=True).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _LARGEST_GRADIENT)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model


def _untrained(recipe: Recipe, vocabulary: int) -> Qwen3MoeForCausalLM:
    config = Qwen3MoeConfig(
        hidden_size=recipe.hidden,
        intermediate_size=2 * recipe.hidden,
        num_hidden_layers=recipe.blocks,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads // 2,
        head_dim=recipe.hidden // recipe.heads,
        num_experts=recipe.experts,
        num_experts_per_tok=recipe.experts_per_token,
        moe_intermediate_size=recipe.expert_hidden,
        norm_topk_prob=True,
        router_aux_loss_coef=recipe.balance,
        vocab_size=vocabulary,
        max_position_embeddings=2 * recipe.sequence_length,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()


def _batches(recipe: Recipe, tokens: NDArray[np.int64]) -> Iterator[torch.Tensor]:
    """A batch an update, int64 (sequences, sequence_length): windows from anywhere in the text."""
    generator = np.random.default_rng(recipe.seed)
    window = np.arange(recipe.sequence_length)
    for _ in range(recipe.steps):
        starts = generator.integers(len(tokens) - recipe.sequence_length, size=recipe.sequences)
        yield torch.from_numpy(tokens[starts[:, None] + window])
