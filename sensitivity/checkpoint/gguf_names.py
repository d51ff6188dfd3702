"""GGUF's tensor names in Hugging Face's words, through the ``gguf`` package's own table."""

from collections.abc import Iterator
from typing import Any

import gguf

from sensitivity.checkpoint.configuration import Configuration
from sensitivity.checkpoint.families import GGUF_ARCHITECTURES
from sensitivity.checkpoint.tensors import StoredTensor
from sensitivity.errors import CorruptCheckpointError

_IGNORED = ("rope_freqs.weight",)
_REST = (
    *("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"),
    *("self_attn.q_norm", "self_attn.k_norm", "mlp.gate", "mlp.shared_expert_gate"),
)
"""What else a block of these architectures may have, beside its layers."""
_OF_ONE_ROW = ".mlp.shared_expert_gate.weight"


def in_checkpoint_names(tensors: tuple[StoredTensor, ...], configuration: Configuration) -> list[StoredTensor]:
    """The tensors under their Hugging Face names; those that no family has keep theirs.

    The stacked experts of a block become one matrix per expert. Rotary tables are left out: they are no parameters.

    Raises:
        CorruptCheckpointError: a stack whose first dimension is not the number of experts.
    """
    names = _table(configuration)
    renamed: list[StoredTensor] = []
    for tensor in tensors:
        path, _, part = tensor.name.rpartition(".")
        name = names.get(path)
        if tensor.name in _IGNORED:
            continue
        if name is None:
            renamed.append(tensor)
        elif "{expert}" in name:
            renamed.extend(_unstacked(tensor, name, configuration.experts))
        else:
            renamed.append(_named(tensor, f"{name}.{part}"))
    return renamed


def _table(configuration: Configuration) -> dict[str, str]:
    """GGUF name -> Hugging Face name, both without ``.weight``; stacked experts have ``{expert}`` in theirs."""
    family = configuration.family
    table = _name_map(configuration)
    pairs = {path: path for path in (family.embedding, family.head, f"{family.base}.norm")}
    roles = [*family.attention, *family.mlp, *(family.experts.shared if family.experts else ()), *_REST]
    for block in range(configuration.blocks):
        pairs |= {f"{family.blocks}.{block}.{role}": f"{family.blocks}.{block}.{role}" for role in roles}
        if family.experts:
            path = f"{family.blocks}.{block}.{family.experts.path}"
            pairs |= {f"{path}.{projection}": f"{path}.{{expert}}.{projection}" for projection in family.experts.projections}
    return {theirs: ours for known, ours in pairs.items() if (theirs := table.get_name(known)) is not None}


def _name_map(configuration: Configuration) -> Any:
    names = {model_type: architecture for architecture, model_type in GGUF_ARCHITECTURES.items()}
    wanted = names[configuration.architecture]
    known = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
    return gguf.get_tensor_name_map(known[wanted], configuration.blocks)


def _unstacked(stack: StoredTensor, name: str, experts: int) -> Iterator[StoredTensor]:
    if len(stack.shape) != 3 or stack.shape[0] != experts:
        msg = f"{stack.file}: tensor {stack.name!r} has shape {stack.shape}, not a stack of {experts} experts; convert it again"
        raise CorruptCheckpointError(msg)
    share = stack.nbytes // experts
    for expert in range(experts):
        path = name.format(expert=expert)
        yield StoredTensor(f"{path}.weight", stack.dtype, stack.shape[1:], stack.file, stack.offset + expert * share, share)


def _named(tensor: StoredTensor, name: str) -> StoredTensor:
    """The same tensor; a gate of one row, which is a vector in GGUF, is a matrix again."""
    shape = (1, *tensor.shape) if name.endswith(_OF_ONE_ROW) and len(tensor.shape) == 1 else tensor.shape
    return StoredTensor(name, tensor.dtype, shape, tensor.file, tensor.offset, tensor.nbytes)
