"""A causal language model in two halves: the body up to the last hidden state, and the head from there to logits.

The halves are called apart so that the logits of all tokens (tokens × vocabulary) never exist at once.
"""

from typing import Final

import torch
from torch import Tensor, nn

_SCALED: Final = frozenset({"cohere", "cohere2"})
_DIVIDED: Final = frozenset({"granite"})


def hidden_states(module: nn.Module, tokens: Tensor) -> Tensor:
    """Last hidden states, shape (sequences, length, hidden), of int64 tokens (sequences, length): what the head is given.

    Cohere multiplies the head's output by a number and Granite divides it. Here the states are scaled instead, which is the same.
    """
    body = module.base_model
    states: Tensor = body(input_ids=tokens, use_cache=False).last_hidden_state  # type: ignore[operator]
    factor = logit_factor(module)
    return states if factor == 1.0 else states * factor


def logit_factor(module: nn.Module) -> float:
    """What the model multiplies its head's output by: 1 for most."""
    architecture = getattr(module.config, "model_type", None)
    if architecture in _SCALED:
        return float(module.config.logit_scale)  # type: ignore[union-attr, arg-type]
    return 1.0 / float(module.config.logits_scaling) if architecture in _DIVIDED else 1.0  # type: ignore[union-attr, arg-type]


def next_token_logits(module: nn.Module, hidden: Tensor) -> Tensor:
    """Logits of the next token, shape (..., vocabulary), from hidden states (..., hidden); soft-capped as Gemma 2 does it."""
    logits: Tensor = output_head(module)(hidden)
    return soft_capped(module, logits)


def soft_capped(module: nn.Module, logits: Tensor) -> Tensor:
    """What the model makes of its head's output."""
    cap = getattr(module.config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap


def output_head(module: nn.Module) -> nn.Module:
    """The module that maps hidden states to the vocabulary."""
    return module.get_output_embeddings()  # type: ignore[operator, no-any-return]


def positions_at_once(module: nn.Module) -> int:
    """How many positions' logits to hold at once: about 32 MiB of them in float32."""
    return max(1, (1 << 23) // int(module.config.vocab_size))  # type: ignore[union-attr, arg-type]


@torch.no_grad()
def next_token_loss(module: nn.Module, hidden: Tensor, tokens: Tensor) -> float:
    """Mean NLL in nats of all tokens but the first, each predicted from the position before it; summed in float64.

    Args:
        module: causal language model.
        hidden: last hidden states of one sequence, (length, hidden).
        tokens: int64 (length,), at least two.
    """
    step = positions_at_once(module)
    following = tokens[1:]
    total = 0.0
    for first in range(0, len(following), step):
        part = slice(first, min(first + step, len(following)))
        logits = next_token_logits(module, hidden[part])
        total += float(nn.functional.cross_entropy(logits, following[part], reduction="none").double().sum())
    return total / len(following)
