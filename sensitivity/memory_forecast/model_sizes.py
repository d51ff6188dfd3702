"""Elements of a model's weights and of what its layers see of a token, from the shapes of its layers alone. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sensitivity.checkpoint.description import Layer

SHARING: Final = frozenset({"k_proj", "v_proj", "up_proj", "w3"})
"""Kinds of layers that have the input of a layer before them."""

STRIP: Final = 192
"""Columns of a strip of a symmetric matrix (``sensitivity.probes.output_energies``)."""


def packed_size(features: int) -> int:
    """Elements of the strips of a symmetric matrix of this order."""
    return sum(min(STRIP, features - first) * (features - first) for first in range(0, features, STRIP))


@dataclass(frozen=True, slots=True)
class TokenWidths:
    """Elements of one token in some layers; an expert's as far as the token reaches it.

    Attributes:
        through: inputs and outputs of all layers.
        saved: what a graph keeps for the backward pass while weights have no gradient: what follows a linear (an activation, a
            product, attention, a norm) keeps its output, and an activation's own result is kept too: it is as wide as the
            input of the layer behind.
        inputs: of all layers, those of layers that share them once.
    """

    through: float
    saved: float
    inputs: float

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> "TokenWidths":
        """Of layers in the order of the model."""
        through = saved = inputs = 0.0
        parents: set[str] = set()
        for layer in layers:
            parent = layer.name.rpartition(".")[0]
            through += layer.active_fraction * (layer.in_features + layer.out_features)
            saved += layer.active_fraction * layer.out_features
            if layer.kind not in SHARING:
                inputs += layer.active_fraction * layer.in_features
                if parent in parents:  # the first layer of a part has the output of a norm, of which the graph keeps nothing
                    saved += layer.active_fraction * layer.in_features
            parents.add(parent)
        return cls(through, saved, inputs)


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """Elements of a model.

    Attributes:
        parameters: all its parameters, tied tensors once.
        in_blocks: weights of all layers in blocks.
        blocks: how many there are.
        block: the layers of the largest block.
        largest: weights of the largest layer.
        hidden: width of the hidden states.
        vocab_size: size of the vocabulary.
        of_block: widths of a token in that block.
        of_blocks: and in all blocks.
    """

    parameters: int
    in_blocks: int
    blocks: int
    block: Sequence[Layer]
    largest: int
    hidden: int
    vocab_size: int
    of_block: TokenWidths
    of_blocks: TokenWidths

    @classmethod
    def of(cls, layers: Sequence[Layer], *, parameters: int, vocab_size: int) -> "ModelSizes":
        """Of all layers of a model, in its order."""
        blocks: dict[int, list[Layer]] = {}
        for layer in layers:
            if layer.block is not None:
                blocks.setdefault(layer.block, []).append(layer)
        inside = [layer for block in blocks.values() for layer in block]
        largest = max(blocks.values(), key=_weights, default=[])
        return cls(
            parameters=parameters,
            in_blocks=min(parameters, _weights(inside)),
            blocks=len(blocks),
            block=largest,
            largest=max((layer.parameters for layer in layers), default=0),
            hidden=layers[0].in_features if layers else 0,
            vocab_size=vocab_size,
            of_block=TokenWidths.of(largest),
            of_blocks=TokenWidths.of(inside),
        )

    @property
    def block_weights(self) -> int:
        """Weights of the largest block."""
        return _weights(self.block)

    @property
    def squares(self) -> int:
        """Squared input widths of the largest block's layers."""
        return sum(layer.in_features**2 for layer in self.block)

    @property
    def widest(self) -> int:
        """Greatest input width of the largest block's layers."""
        return max((layer.in_features for layer in self.block), default=0)

    @property
    def shapes(self) -> int:
        """Weights of the different shapes of the largest block's layers, each once."""
        return sum(out_features * in_features for out_features, in_features in {layer.shape for layer in self.block})

    @property
    def head(self) -> int:
        """Weights of the head."""
        return self.vocab_size * self.hidden


def _weights(layers: Sequence[Layer]) -> int:
    return sum(layer.parameters for layer in layers)
