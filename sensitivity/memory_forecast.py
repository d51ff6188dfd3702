"""How much memory a probe run will take, from the sizes of the model and of the run alone. No torch here.

An estimate of the process's peak (``VmHWM``): tensors are counted from the code that makes them, the interpreter and its
libraries are a constant. Measured against the truth in ``tests/benchmarks/test_streaming_memory.py``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sensitivity.checkpoint.description import Layer
from sensitivity.rounding_facts import get_rounding_facts

PROGRAM_BYTES: Final = 400 << 20
"""The interpreter with torch and transformers."""

BATCH_TOKENS: Final = 2048
"""Tokens of a pass, unless a single sequence is longer (``sensitivity.probes.block_walk``)."""

KEPT_BYTES: Final = 4 << 30
"""The most that rounding errors are kept for (``sensitivity.probes.rounding_errors``)."""

VARIANT_BYTES: Final = 1 << 30
"""The most that the states of variants take (``sensitivity.probes.single_changes``)."""

VARIANT_SEQUENCES: Final = 4
"""Sequences whose variants are in memory together (``sensitivity.probes.kl``)."""

LOGIT_BYTES: Final = 1 << 25
"""Logits that exist at once (``sensitivity.next_token``); about five tensors of this size do."""

STREAMED_SEQUENCES: Final = 32
"""The most sequences of a unit of a streamed model."""

_FLOAT32: Final = 4
_ROUNDING: Final = 24
"""Bytes for each weight of the layer that is being rounded: its copy, the error, and the error's square in float64."""


@dataclass(frozen=True, slots=True)
class Work:
    """A probe run.

    Attributes:
        probe: its name.
        rounding: name of the rounding method.
        formats: candidate formats measured together.
        sequences: sequences of the calibration set, 0 without one.
        sequence_length: tokens of each.
        draws: label draws, noise levels: what the probe holds several of.
        element_bytes: bytes of an element of ΔW: 2 in bfloat16, 4 in float32.
    """

    probe: str
    rounding: str
    formats: int
    sequences: int
    sequence_length: int
    draws: int = 1
    element_bytes: int = 2


@dataclass(frozen=True, slots=True)
class MemoryForecast:
    """Bytes by what they are for.

    Attributes:
        whole: with the whole model in memory. Pages of the checkpoint's files, which the system takes back when it needs them,
            are not counted.
        streamed: with one block in memory at a time.
    """

    whole: Mapping[str, int]
    streamed: Mapping[str, int]

    @property
    def whole_bytes(self) -> int:
        """All with the whole model."""
        return sum(self.whole.values())

    @property
    def streamed_bytes(self) -> int:
        """All with one block."""
        return sum(self.streamed.values())


def forecast(layers: Sequence[Layer], *, parameters: int, vocab_size: int, work: Work) -> MemoryForecast:
    """The forecast of a run.

    Args:
        layers: all layers of the model.
        parameters: all its parameters, tied tensors once.
        vocab_size: size of the vocabulary.
        work: what is run.
    """
    model = _Sizes.of(layers, parameters=parameters, vocab_size=vocab_size)
    shared = {
        "program": PROGRAM_BYTES,
        "hidden states": 2 * _FLOAT32 * work.sequences * work.sequence_length * model.hidden,
        "activations": _activations(model, work),
        "logits": 5 * min(LOGIT_BYTES, _FLOAT32 * work.sequence_length * vocab_size) if work.sequences else 0,
        "rounding": _ROUNDING * model.largest + _moments(model, work),
    }
    statistics = _STATISTICS.get(work.probe, _plain)
    whole = {"weights": _FLOAT32 * parameters, "statistics": statistics(model, work, model.in_blocks)}
    block = {
        "outside the blocks": _FLOAT32 * (parameters - model.in_blocks),
        "one block": _FLOAT32 * model.block + _FLOAT32 * model.largest,
        "statistics": statistics(model, work, model.block),
    }
    return MemoryForecast(whole={**shared, **whole}, streamed={**shared, **block})


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Elements of a model.

    Attributes:
        in_blocks: weights of all layers in blocks.
        block: weights of the layers of the largest block.
        layers: how many layers it has.
        largest: weights of the largest layer.
        hidden: width of the hidden states.
        widths: inputs and outputs of a token in that block, an expert's as far as the token reaches it.
        squares: squared input widths of that block's layers.
        shapes: weights of the different shapes of its layers, each once.
        vocab_size: size of the vocabulary.
    """

    in_blocks: int
    block: int
    layers: int
    largest: int
    hidden: int
    widths: float
    squares: int
    shapes: int
    vocab_size: int

    @classmethod
    def of(cls, layers: Sequence[Layer], *, parameters: int, vocab_size: int) -> "_Sizes":
        blocks: dict[int, list[Layer]] = {}
        for layer in layers:
            if layer.block is not None:
                blocks.setdefault(layer.block, []).append(layer)
        sizes = {index: sum(layer.parameters for layer in found) for index, found in blocks.items()}
        largest = blocks[max(sizes, key=sizes.__getitem__)] if sizes else []
        return cls(
            in_blocks=min(parameters, sum(sizes.values())),
            block=max(sizes.values(), default=0),
            layers=len(largest),
            largest=max((layer.parameters for layer in layers), default=0),
            hidden=layers[0].in_features if layers else 0,
            widths=sum(layer.active_fraction * (layer.in_features + layer.out_features) for layer in largest),
            squares=sum(layer.in_features**2 for layer in largest),
            shapes=sum(out_features * in_features for out_features, in_features in {layer.shape for layer in largest}),
            vocab_size=vocab_size,
        )


def _batch(work: Work) -> int:
    """Tokens of a pass."""
    longest = max(BATCH_TOKENS // max(1, work.sequence_length), 1) * work.sequence_length
    return min(longest, work.sequences * work.sequence_length)


def _activations(model: _Sizes, work: Work) -> int:
    """A forward pass frees what it has used; a graph for a backward pass keeps inputs and outputs of a block."""
    share = 1.5 if work.probe in _BACKWARD else 0.5
    return int(share * _FLOAT32 * _batch(work) * model.widths)


def _moments(model: _Sizes, work: Work) -> int:
    """Second moments of the inputs of a block's layers in float64, and as much again while one is factorised."""
    return 16 * model.squares if get_rounding_facts(work.rounding).needs_inputs else 0


def _plain(model: _Sizes, work: Work, rounded: int) -> int:
    """ΔW in all formats, of all layers or of a block, as far as they are kept, and of one layer beyond."""
    stack = work.formats * work.element_bytes
    return min(stack * rounded, KEPT_BYTES) + stack * model.largest


def _nothing(_model: _Sizes, _work: Work, _rounded: int) -> int:
    return 0


def _output_error(model: _Sizes, work: Work, _rounded: int) -> int:
    """W and ΔW of a block in all formats."""
    return (1 + work.formats) * work.element_bytes * (model.block + model.largest)


def _fisher(model: _Sizes, work: Work, rounded: int) -> int:
    """ΔW; the score matrices of a batch, one for each shape; gradients of all draws at a door."""
    sequences = _batch(work) // max(1, work.sequence_length)
    gradients = work.draws * min(work.sequences, STREAMED_SEQUENCES) * work.sequence_length * model.hidden
    return _plain(model, work, rounded) + sequences * work.element_bytes * model.shapes + _FLOAT32 * gradients


def _kl(model: _Sizes, work: Work, rounded: int) -> int:
    """ΔW; states of variants before and behind a block; a block's weights and the head once more for products of changes."""
    sequences = min(work.sequences, VARIANT_SEQUENCES)
    states = _FLOAT32 * sequences * work.formats * model.layers * work.sequence_length * model.hidden
    again = work.element_bytes * (model.block + model.vocab_size * model.hidden)
    return _plain(model, work, rounded) + 2 * min(states, VARIANT_BYTES) + again


def _linearity(model: _Sizes, work: Work, _rounded: int) -> int:
    """Noise of a block in place of ΔW."""
    return _kl(model, work, 0) + work.draws * work.element_bytes * model.block


_BACKWARD: Final = frozenset({"fisher", "fisher_interaction", "hessian_trace"})
_STATISTICS: Final[Mapping[str, Callable[[_Sizes, Work, int], int]]] = {
    "weight_error": _nothing,
    "hessian_trace": _nothing,
    "output_error": _output_error,
    "fisher": _fisher,
    "fisher_interaction": _fisher,
    "kl": _kl,
    "linearity": _linearity,
}
