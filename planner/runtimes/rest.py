"""What an engine keeps of a model beside its layers: embeddings, norms, biases, routers. No torch here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sensitivity.checkpoint.description import Layer

BYTES_OF_DTYPE: Final = {"float64": 8, "float32": 4}
"""Bytes of an unquantized weight where it is not two."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Facts of a model.

    Attributes:
        layers: all its layers.
        parameters: all its parameters, tied tensors once.
        unquantized_bytes: bytes of everything that is no layer, as the checkpoint keeps it.
        vocab_size: rows of the embedding.
        dtype: dtype in which the checkpoint keeps unquantized tensors.
    """

    layers: Sequence[Layer]
    parameters: int
    unquantized_bytes: int
    vocab_size: int
    dtype: str

    @property
    def embedding_parameters(self) -> int:
        """Weights of the token embedding, which are as wide as the inputs of the first layer."""
        return self.vocab_size * self.layers[0].in_features

    @property
    def other_parameters(self) -> int:
        """Weights that are neither of a layer nor of the token embedding."""
        return self.parameters - sum(layer.parameters for layer in self.layers) - self.embedding_parameters


RestBytes = Callable[[Rest], int]


def as_in_the_checkpoint(rest: Rest) -> int:
    """Everything that is no layer stays as it is."""
    return rest.unquantized_bytes


def others_in_float32(rest: Rest) -> int:
    """The embedding in the checkpoint's dtype; norms, biases, routers and learned positions in float32."""
    return rest.embedding_parameters * BYTES_OF_DTYPE.get(rest.dtype, 2) + 4 * rest.other_parameters
