"""Where the layers of a description are in a module."""

from collections.abc import Sequence
from typing import cast

from torch import nn
from transformers.pytorch_utils import Conv1D

from sensitivity.checkpoint.description import Layer, ModelDescription
from sensitivity.errors import CorruptCheckpointError
from sensitivity.loading.experts import ROLES, RoutedExperts, linear


def replace_conv1d(module: nn.Module) -> None:
    """Replace every ``Conv1D`` (weight stored as (in, out)) below ``module`` by an equal linear."""
    for name in [name for name, child in module.named_modules() if isinstance(child, Conv1D)]:
        conv = module.get_submodule(name)
        module.set_submodule(name, linear(cast("nn.Parameter", conv.weight).T, cast("nn.Parameter", conv.bias)))


def find_blocks(module: nn.Module, description: ModelDescription) -> list[nn.Module]:
    """The transformer blocks in order: the outermost list of as many modules as the description has blocks.

    Raises:
        CorruptCheckpointError: there is none.
    """
    for child in module.modules():
        if isinstance(child, nn.ModuleList) and not isinstance(child, RoutedExperts) and len(child) == description.blocks:
            return list(child)
    msg = f"the loaded model has no list of {description.blocks} blocks, as {description.source} describes; register it again"
    raise CorruptCheckpointError(msg)


def find_linears(module: nn.Module, blocks: Sequence[nn.Module], layers: Sequence[Layer]) -> dict[str, nn.Linear]:
    """The linear of every layer, by the layer's name.

    Raises:
        CorruptCheckpointError: a layer has no linear, or one of another shape.
    """
    head = module.get_output_embeddings()  # type: ignore[operator]
    experts = [_routed_experts(block) for block in blocks]
    found: dict[str, nn.Linear] = {}
    for layer in layers:
        target = head if layer.kind == "lm_head" else _locate(module, experts, layer)
        if not isinstance(target, nn.Linear) or (target.out_features, target.in_features) != layer.shape:
            lack = f"the model that the configuration describes has no linear of shape {layer.shape} at {layer.name}"
            msg = f"{lack}; take config.json and weights from the same place, and register them again"
            raise CorruptCheckpointError(msg)
        found[layer.name] = target
    return found


def _routed_experts(block: nn.Module) -> RoutedExperts | None:
    return next((child for child in block.modules() if isinstance(child, RoutedExperts)), None)


def _locate(module: nn.Module, experts: Sequence[RoutedExperts | None], layer: Layer) -> nn.Module | None:
    if layer.expert is None or layer.block is None:
        return _submodule(module, layer.name)
    routed = experts[layer.block] if layer.block < len(experts) else None
    if routed is None or layer.expert >= len(routed):
        return None
    return _submodule(routed[layer.expert], ROLES.get(layer.kind, layer.kind))


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


def check_head(module: nn.Module, description: ModelDescription) -> None:
    """A head that the description counts as the embedding must be the embedding.

    transformers leaves the two apart when a checkpoint stores both with different values, whatever its configuration says.

    Raises:
        CorruptCheckpointError: it is not.
    """
    if any(layer.kind == "lm_head" for layer in description.layers):
        return
    head, embedding = module.get_output_embeddings(), module.get_input_embeddings()  # type: ignore[operator]
    if head.weight is not embedding.weight:
        msg = (
            f"{description.source} says that the head is tied to the embedding, but stores another head; "
            f"set tie_word_embeddings to false in its config.json and register it again"
        )
        raise CorruptCheckpointError(msg)
