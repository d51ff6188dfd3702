"""Assignments measured on held-out text: the fake-quantized model beside the reference, next token by next token.

Perplexity is that of whole sequences without a stride: every token but the first of each sequence is predicted from all
tokens before it in that sequence.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from sensitivity.errors import CalibrationError, CheckpointError, NonFiniteError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.layer_rounding import LayerRounding
from sensitivity.loading import LoadedModel
from sensitivity.next_token import next_token_logits, positions_at_once
from sensitivity.probes.block_walk import BlockWalk
from sensitivity.router_choices import flip_shares, recorded_choices, routers_of
from sensitivity.statistics import Statistics, mean_and_error, observe


class Metric(IntEnum):
    """What is measured of an assignment: second axis of the statistics. All are means over the tokens of a sequence."""

    KL = 0
    NLL = 1
    TOP1_AGREEMENT = 2
    REFERENCE_NLL = 3
    ROUTER_FLIPS = 4


OF_LOGITS: Final = (Metric.KL, Metric.NLL, Metric.TOP1_AGREEMENT, Metric.REFERENCE_NLL)
"""Metrics that are read off the logits: the first ones."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One assignment on held-out text; errors are standard errors over sequences, ``None`` with a single sequence.

    Attributes:
        sequences: sequences measured.
        kl: KL(reference ‖ quantized) of the next token, nats per token, full vocabulary.
        kl_error: its standard error.
        perplexity: exp(mean NLL) of the quantized model.
        perplexity_error: by the delta method: perplexity × standard error of the mean NLL.
        top1_agreement: share of positions where both models put the same token first.
        top1_error: its standard error.
        reference_perplexity: exp(mean NLL) of the reference.
        reference_perplexity_error: by the delta method.
        router_flips: share of (token, router) pairs for which another set of experts is chosen than in the reference; ``None``
            for a model without routers.
        router_flips_error: its standard error.
    """

    sequences: int
    kl: float
    kl_error: float | None
    perplexity: float
    perplexity_error: float | None
    top1_agreement: float
    top1_error: float | None
    reference_perplexity: float
    reference_perplexity_error: float | None
    router_flips: float | None = None
    router_flips_error: float | None = None


@torch.no_grad()
def evaluate(
    model: LoadedModel,
    assignments: Sequence[Mapping[str, CandidateFormat]],
    tokens: Tensor,
    *,
    rounding: str | LayerRounding = "rtn",
) -> Statistics:
    """Measure assignments beside the reference.

    The bodies of the reference and of all assignments go block by block, so that one block is rounded for one assignment at a
    time, and a streamed model reads each block once; then every position goes through the head once for each model, so that
    the reference costs one pass whatever the number of assignments. Memory: hidden states of all tokens, A + 1 times.
    Log-probabilities are float32 and their sums over positions float64: within 1e-7 nats per token of float64 throughout
    at a vocabulary of 49,152, and five times faster.

    Args:
        model: the reference; it is the same bits afterwards, also after an exception.
        assignments: A maps of layer name to candidate format; layers not named keep their weights.
        tokens: int64 held-out tokens (sequences, length), at least two a sequence.
        rounding: rounding method by name, or the assignments' cells with the data that their method needs.

    Returns:
        Statistics (A, metrics, 3), a sample a sequence; merge chunks of sequences by addition. The flips of a model without
        routers have count 0.

    Raises:
        CalibrationError: no sequence, or sequences of a single token; or a rounding method by name that runs on text.
        NonFiniteError: the reference or an assignment has logits that are NaN or infinite.
        CheckpointError: a layer that the model does not have.
        FormatError: a format that cannot store a layer, or an unknown rounding method.
    """
    if tokens.ndim != 2 or tokens.shape[0] < 1 or tokens.shape[1] < 2:
        msg = f"evaluation needs sequences of at least two tokens, got {tuple(tokens.shape)}; give it longer held-out text"
        raise CalibrationError(msg)
    _check_layers(model, assignments)
    if isinstance(rounding, str):
        rounding = LayerRounding.of_assignments(model, rounding, assignments)
    (reference, *quantized), flips = _last_hidden(model, assignments, tokens, rounding)
    heads = [_rounded(model, assignment, None, rounding) for assignment in assignments]
    samples = [
        _compare_sequence(model.module, sequence, reference[i], [hidden[i] for hidden in quantized], heads)
        for i, sequence in enumerate(tokens)
    ]
    found = observe(np.concatenate([np.stack(samples), flips[:, :, None]], axis=-1))
    if not routers_of(model.module):
        found[:, Metric.ROUTER_FLIPS] = 0.0
    return found


def summarise(statistics: Statistics) -> Summary:
    """What the statistics of one assignment (metrics, 3) say."""
    mean, error = mean_and_error(statistics)
    perplexity, reference = np.exp(mean[Metric.NLL]), np.exp(mean[Metric.REFERENCE_NLL])
    return Summary(
        sequences=int(statistics[Metric.KL, 0]),
        kl=float(mean[Metric.KL]),
        kl_error=_known(error[Metric.KL]),
        perplexity=float(perplexity),
        perplexity_error=_known(perplexity * error[Metric.NLL]),
        top1_agreement=float(mean[Metric.TOP1_AGREEMENT]),
        top1_error=_known(error[Metric.TOP1_AGREEMENT]),
        reference_perplexity=float(reference),
        reference_perplexity_error=_known(reference * error[Metric.REFERENCE_NLL]),
        router_flips=_known(mean[Metric.ROUTER_FLIPS]),
        router_flips_error=_known(error[Metric.ROUTER_FLIPS]),
    )


@contextlib.contextmanager
def replaced_weights(weights: Mapping[nn.Linear, Tensor]) -> Iterator[None]:
    """Give linears other weights for a while. The tensors are exchanged, not copied, so what comes back is bit-identical."""
    originals = {linear: linear.weight.data for linear in weights}
    try:
        for linear, weight in weights.items():
            linear.weight.data = weight
        yield
    finally:
        for linear, weight in originals.items():
            linear.weight.data = weight


def _check_layers(model: LoadedModel, assignments: Sequence[Mapping[str, CandidateFormat]]) -> None:
    unknown = [name for assignment in assignments for name in assignment if name not in model.linears]
    if unknown:
        msg = f"the model has no layer {', '.join(unknown[:5])}; name layers of its description"
        raise CheckpointError(msg)


def _last_hidden(
    model: LoadedModel, assignments: Sequence[Mapping[str, CandidateFormat]], tokens: Tensor, rounding: LayerRounding
) -> tuple[list[Tensor], np.ndarray]:
    """Last hidden states of the reference, then of each assignment, and router flips.

    Returns:
        Float32 (sequences, length, hidden) of each, and float64 (sequences, A): share of each sequence's choices of experts, over
        all routers, that are others than the reference's; 0 without routers.
    """
    quantized = [BlockWalk(model, tokens) for _ in assignments]
    reference = BlockWalk(model, tokens)
    flips = torch.zeros((len(tokens), len(assignments)), dtype=torch.float64)
    for block in range(len(model.blocks)):
        chosen = []
        for walk, assignment in zip(quantized, assignments, strict=True):
            weights = _rounded(model, assignment, block, rounding)
            model.block(block)  # rounding with data may have gone elsewhere
            with replaced_weights(weights):
                chosen.append(_choices(walk, block))
        expected = _choices(reference, block)
        for i, choices in enumerate(chosen):
            for routed, found in choices.items():
                flips[:, i] += flip_shares(expected[routed], found)
    ends = [_ends(walk) for walk in (reference, *quantized)]
    return ends, (flips / max(1, routers_of(model.module))).numpy()


def _choices(walk: BlockWalk, block: int) -> dict[nn.Module, Tensor]:
    """Cross a block; what its routers chose, int64 (sequences, length, k)."""
    found: dict[nn.Module, list[Tensor]] = {}
    walk.cross(block, lambda scope, part: recorded_choices(scope, part.stop - part.start, found))
    return {routed: torch.cat(parts) for routed, parts in found.items()}


def _ends(walk: BlockWalk) -> Tensor:
    parts: list[Tensor] = []
    walk.leave(_unwatched, lambda hidden, _: parts.append(hidden))
    return torch.cat(parts)


def _unwatched(_scope: nn.Module, _sequences: slice) -> contextlib.AbstractContextManager[None]:
    return contextlib.nullcontext()


def _rounded(
    model: LoadedModel, assignment: Mapping[str, CandidateFormat], block: int | None, rounding: LayerRounding
) -> dict[nn.Linear, Tensor]:
    """The planned layers of a block, or those outside the blocks, in their formats."""
    planned = {name: fmt for name, fmt in assignment.items() if model.block_of(name) == block}
    return {model.linears[name]: rounding.fake_quantize(name, fmt) for name, fmt in planned.items()}


def _compare_sequence(
    module: nn.Module,
    sequence: Tensor,
    reference: Tensor,
    quantized: Sequence[Tensor],
    heads: Sequence[Mapping[nn.Linear, Tensor]],
) -> np.ndarray:
    """Means over the tokens of one sequence: float64 (assignments, metrics of logits)."""
    length = len(sequence)
    totals = torch.zeros((len(quantized), len(OF_LOGITS)), dtype=torch.float64)
    step = positions_at_once(module)
    for start in range(0, length, step):
        part = slice(start, min(start + step, length))
        following = sequence[part.start + 1 : part.stop + 1]
        expected = _log_probabilities(module, reference[part], "the reference")
        probabilities = expected.exp()
        for i, (hidden, head) in enumerate(zip(quantized, heads, strict=True)):
            with replaced_weights(head):
                found = _log_probabilities(module, hidden[part], f"assignment {i}")
            totals[i] += _compare(expected, probabilities, found, following)
    scale = torch.full((len(OF_LOGITS),), float(length), dtype=torch.float64)
    scale[[Metric.NLL, Metric.REFERENCE_NLL]] = length - 1
    return (totals / scale).numpy()


def _log_probabilities(module: nn.Module, hidden: Tensor, whose: str) -> Tensor:
    """Float32 (positions, vocabulary)."""
    found = torch.log_softmax(next_token_logits(module, hidden), dim=-1)
    if not found.sum(dim=-1).isfinite().all():
        advice = "leave out formats whose range the weights exceed (FP16), or fetch the model again"
        msg = f"the logits of {whose} are NaN or infinite; {advice}"
        raise NonFiniteError(msg)
    return found


def _compare(expected: Tensor, probabilities: Tensor, found: Tensor, following: Tensor) -> Tensor:
    """Sums over positions, float64 (metrics of logits,); the last position of a sequence has no following token."""
    rows = torch.arange(len(following))
    sums = {
        Metric.KL: (probabilities * (expected - found)).sum(dim=-1).double().sum(),
        Metric.NLL: -found[rows, following].double().sum(),
        Metric.TOP1_AGREEMENT: (expected.argmax(dim=-1) == found.argmax(dim=-1)).sum(),
        Metric.REFERENCE_NLL: -expected[rows, following].double().sum(),
    }
    return torch.stack([sums[metric].double() for metric in OF_LOGITS])


def _known(error: float) -> float | None:
    return float(error) if np.isfinite(error) else None
