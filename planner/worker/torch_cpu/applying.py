"""A plan of the runtime ``torch-cpu``, carried out: a model's layers on the kernels of their formats, and how long they take."""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import nn

from planner.errors import InvalidRequestError
from planner.worker.torch_cpu.kernels import ACTIVATIONS, kernel_linear
from planner.worker.torch_cpu.timing import clock, torch_threads
from sensitivity.formats.registry import get_format
from sensitivity.rounding.rtn import encode

_ROUNDS: Final = 9


def build_layers(linears: Mapping[str, nn.Linear], assignment: Mapping[str, str]) -> dict[str, nn.Module]:
    """The planned layers on the kernels of their formats, rounded to nearest.

    Args:
        linears: the model's linears by name of the layer, weights of shape (out, in).
        assignment: layer to name of the format.

    Raises:
        InvalidRequestError: a layer that the model does not have, or a format that torch has no kernel for.
    """
    unknown = [name for name in assignment if name not in linears]
    if unknown:
        msg = f"the model has no layers {', '.join(unknown[:5])}: the plan is of another model"
        raise InvalidRequestError(msg, layers=unknown[:20])
    return {
        name: kernel_linear(encode(linears[name].weight, get_format(fmt)), linears[name].bias) for name, fmt in assignment.items()
    }


def apply_layers(module: nn.Module, linears: Mapping[str, nn.Linear], layers: Mapping[str, nn.Module]) -> None:
    """Put built layers in the places of a model's linears.

    Args:
        module: the model, which is changed.
        linears: its linears by name of the layer.
        layers: what takes their places, by the same names.
    """
    places = {id(child): path for path, child in module.named_modules()}
    for name, layer in layers.items():
        module.set_submodule(places[id(linears[name])], layer)


@torch.inference_mode()
def time_layers(layers: Sequence[nn.Module], widths: Sequence[int], *, batch: int, threads: int = 1) -> float:
    """Seconds of one pass through all layers, one after the other, as a model's step runs them: the best of some passes.

    The weights come from memory as long as all of them together are larger than the caches.

    Args:
        layers: in the order of the model.
        widths: inputs of each.
        batch: rows of activations.
        threads: of a kernel.
    """
    inputs = {width: torch.ones(batch, width, dtype=ACTIVATIONS) for width in widths}
    now, rounds = clock(threads), []
    with torch_threads(threads):
        for _ in range(_ROUNDS + 1):
            start = now()
            for layer, width in zip(layers, widths, strict=True):
                layer(inputs[width])
            rounds.append(now() - start)
    return min(rounds[1:])
