"""How much memory a probe run will take, from the sizes of the model and of the run alone. No torch here.

An estimate of the process's peak (``VmHWM``): tensors are counted from the code that makes them; the interpreter with its
libraries, and what the heap loses between tensors of many sizes, are measured constants. Checked against the truth in
``tests/sensitivity/test_memory_truth.py``, on a real model in ``tests/benchmarks/test_memory_forecast.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sensitivity.checkpoint.description import Layer
from sensitivity.memory_forecast.model_sizes import ModelSizes
from sensitivity.memory_forecast.probe_statistics import statistics_bytes
from sensitivity.memory_forecast.work import EVALUATION, FLOAT32, Work, batch_tokens, has_graph, is_walked
from sensitivity.rounding_facts import GPTQ, get_rounding_facts

PROGRAM_BYTES: Final = 470 << 20
"""A worker without a model: the interpreter with torch, transformers and the architecture's own modules."""

HEAP: Final = 1.3
"""Memory of the heap ÷ bytes of the tensors in it, where a graph of a whole model and ΔW are made in turn. With a threshold above
which glibc maps each tensor by itself it is 1.0, at a quarter more time of the processor."""

LOGIT_BYTES: Final = 1 << 25
"""Logits that exist at once (``sensitivity.next_token``)."""

TOKEN_BYTES: Final = 224
"""A token of the text while it is cut (``sensitivity.tokens``): what the tokenizer says of it, and its number."""

BYTE_VOCABULARY: Final = 1024
"""Up to this size a token is taken for a character, beyond for four."""

_LOGITS: Final = {"coverage": 8, "marginal": 8, "hessian_trace": 6}
_ROUNDING: Final = 24
"""Bytes for each weight of the layer that is being rounded: its copy, the error, and the error's square in float64."""


@dataclass(frozen=True, slots=True)
class MemoryForecast:
    """Bytes by what they are for, at the highest point of a job: when its model is read, its text is cut, or its probe runs.

    Attributes:
        whole: with the whole model in memory.
        streamed: with one block in memory at a time.
    """

    whole: Mapping[str, int]
    streamed: Mapping[str, int]

    @property
    def whole_bytes(self) -> int:
        """All with the whole model."""
        return _total(self.whole)

    @property
    def streamed_bytes(self) -> int:
        """All with one block."""
        return _total(self.streamed)


def forecast(layers: Sequence[Layer], *, parameters: int, vocab_size: int, work: Work) -> MemoryForecast:
    """The forecast of a run.

    Args:
        layers: all layers of the model.
        parameters: all its parameters, tied tensors once.
        vocab_size: size of the vocabulary.
        work: what is run.
    """
    model = ModelSizes.of(layers, parameters=parameters, vocab_size=vocab_size)
    whole, streamed = ({"program": PROGRAM_BYTES, **_weights(model, streamed=way)} for way in (False, True))
    reading = {"files": work.stored_bytes * parameters, "a tensor that is read": FLOAT32 * max(model.largest, model.head)}
    text = {"text": TOKEN_BYTES * work.characters // (1 if vocab_size <= BYTE_VOCABULARY else 4)}
    return MemoryForecast(
        whole=_highest(whole, reading, text, _running(model, work, streamed=False)),
        streamed=_highest(streamed, text, _running(model, work, streamed=True)),
    )


def _highest(always: Mapping[str, int], *phases: Mapping[str, int]) -> Mapping[str, int]:
    """What there is always, and the largest of what there is in turn."""
    highest = max(phases, key=_total)
    return {**always, **highest}


def _total(phase: Mapping[str, int]) -> int:
    return sum(phase.values())


def _weights(model: ModelSizes, *, streamed: bool) -> Mapping[str, int]:
    """In float32; a block beside the layer that is being converted."""
    if not streamed:
        return {"weights": FLOAT32 * model.parameters}
    return {
        "outside the blocks": FLOAT32 * (model.parameters - model.in_blocks),
        "one block": FLOAT32 * (model.block_weights + model.largest),
    }


def _running(model: ModelSizes, work: Work, *, streamed: bool) -> Mapping[str, int]:
    graph = _graph(model, work, streamed=streamed)
    kept, passing = statistics_bytes(model, work, streamed=streamed)
    heap = 1.0 if streamed else HEAP
    logits = _LOGITS.get(work.probe, 5) * min(LOGIT_BYTES, FLOAT32 * work.sequence_length * model.vocab_size)
    return {
        "hidden states": _hidden_states(model, work, streamed=streamed),
        "activations": int(heap * graph + FLOAT32 * batch_tokens(work, streamed=streamed) * model.of_block.through),
        "logits": logits if work.sequences else 0,
        "rounding": _ROUNDING * model.largest + _moments(model, work, streamed=streamed),
        "statistics": int(heap * kept + passing),
    }


def _graph(model: ModelSizes, work: Work, *, streamed: bool) -> float:
    """What a graph keeps of a batch, of all blocks or of one, with the inputs that the probe keeps for its products."""
    if not has_graph(work):
        return 0.0
    widths = model.of_block if streamed else model.of_blocks
    return batch_tokens(work, streamed=streamed) * (FLOAT32 * widths.saved + work.element_bytes * widths.inputs)


def _hidden_states(model: ModelSizes, work: Work, *, streamed: bool) -> int:
    """Of all sequences that wait at a door, before and behind a block; in an evaluation those of every assignment wait there."""
    waiting = work.sequences * work.sequence_length if is_walked(work) else batch_tokens(work, streamed=streamed, unit=True)
    others = work.formats if work.probe == EVALUATION else 0
    return FLOAT32 * (2 + others) * waiting * model.hidden


def _moments(model: ModelSizes, work: Work, *, streamed: bool) -> int:
    """Second moments of the inputs of a block's layers in float64, copies of the widest, and codes in memory.

    A symmetric matrix is made of its upper half beside that half; a factorisation has two copies, and the last factor in float32.
    """
    if not get_rounding_facts(work.rounding).needs_inputs:
        return 0
    copies = 20 if work.rounding == GPTQ.name else 8
    return 8 * model.squares + copies * model.widest**2 + (0 if streamed else work.formats * model.in_blocks)
