"""Loading a described checkpoint with transformers, whole or block by block: float32 on the CPU, no remote code, no pickles."""

import contextlib
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from sensitivity.checkpoint.description import Layer, ModelDescription, SourceKind
from sensitivity.errors import CheckpointError, CorruptCheckpointError
from sensitivity.loading.experts import unfuse
from sensitivity.loading.linears import check_head, find_blocks, find_linears, replace_conv1d
from sensitivity.loading.streaming import BlockStream, find_places
from sensitivity.loading.surplus import refuse_surplus

_LOAD_ERRORS = (OSError, ValueError, RuntimeError, LookupError, TypeError, AssertionError, SafetensorError)
_ADVICE = {
    SourceKind.SAFETENSORS: "fetch its files again",
    SourceKind.GGUF: "fetch it again, or register the model's safetensors checkpoint instead",
}
_SOME_WORDS = "two words"


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, or one whose blocks are read when they are asked for.

    Run a block that ``block`` gives, and use a weight that ``weight`` gives: both have it in memory, whichever model this is.
    All else (embeddings, the last norm, the head) always is.

    Attributes:
        module: causal language model in float32, in evaluation mode; no parameter requires a gradient.
        description: what was loaded.
        linears: the linear of each layer by name, in the order of the description, weights of shape (out, in).
        blocks: the transformer blocks in order; those of a streamed model may be without memory.
        stream: reads blocks; ``None`` if all are in memory.
    """

    module: nn.Module
    description: ModelDescription
    linears: dict[str, nn.Linear]
    blocks: list[nn.Module]
    stream: BlockStream | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether blocks are read when they are asked for."""
        return self.stream is not None

    def block(self, index: int) -> nn.Module:
        """A block with its weights in memory. A streamed model drops those of the block that was asked for before.

        Raises:
            CorruptCheckpointError: they cannot be read any more, or are NaN or infinite.
        """
        if self.stream is not None:
            self.stream.enter(index)
        return self.blocks[index]

    def weight(self, layer: str) -> Tensor:
        """The float32 weight (out, in) of a layer, whose block is then the one in memory.

        Raises:
            CorruptCheckpointError: it cannot be read any more, or is NaN or infinite.
        """
        block = self.block_of(layer)
        if block is not None:
            self.block(block)
        return self.linears[layer].weight

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer beside the weights, loaded when it is first asked for.

        Raises:
            CheckpointError: there is none, or it cannot be read.
        """
        try:
            with _quiet():
                tokenizer = AutoTokenizer.from_pretrained(
                    trust_remote_code=False, local_files_only=True, **_location(self.description)
                )
        except (*_LOAD_ERRORS, ImportError) as error:
            raise CheckpointError(_no_tokenizer(self.description, _first_line(error))) from error
        if len(set(tokenizer.encode(_SOME_WORDS, add_special_tokens=False))) < 2:  # transformers makes up an empty one
            raise CheckpointError(_no_tokenizer(self.description, "it knows no words"))
        return tokenizer

    def block_of(self, name: str) -> int | None:
        """Index of the transformer block that a layer is in, ``None`` outside the blocks (``lm_head``).

        Raises:
            CheckpointError: no layer has this name.
        """
        try:
            return self._layers[name].block
        except KeyError as error:
            raise CheckpointError(_no_layer(self.description, [name])) from error

    @cached_property
    def _layers(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.description.layers}


def load_model(description: ModelDescription, *, layers: Collection[str] | None = None, streamed: bool = False) -> LoadedModel:
    """Load a checkpoint so that every layer is one linear: Conv1D is turned around, fused experts are taken apart.

    In float32: four bytes a parameter. Attention is transformers' choice for the architecture (sdpa, or eager where logits are
    soft-capped). The key-value cache is off.

    Args:
        description: what ``describe`` found. Whether the files are still those is for the caller to check.
        layers: names of the layers to list in ``linears``; all if not given.
        streamed: load what is outside the blocks only, and read a block when it is asked for. The weights are the same bits.

    Raises:
        CheckpointError: a name in ``layers`` that the model does not have, or a GGUF file that is to be streamed.
        CorruptCheckpointError: the files cannot be loaded, tensors are missing, weights are NaN or infinite (of a streamed
            model: of those outside the blocks), or a head that should be tied is not.
        UnknownArchitectureError: experts of another layout.
    """
    wanted = _select(description, layers)
    module = _empty(description) if streamed else _load(description)
    module.eval().requires_grad_(requires_grad=False)
    replace_conv1d(module)
    blocks = find_blocks(module, description)
    unfuse(module)
    linears = find_linears(module, blocks, description.layers)
    check_head(module, description)
    stream = _stream(module, blocks, linears, description) if streamed else None
    if stream is None:
        _check_finite(module, linears, description)
    chosen = {layer.name: linears[layer.name] for layer in wanted}
    return LoadedModel(module=module, description=description, linears=chosen, blocks=blocks, stream=stream)


def _select(description: ModelDescription, names: Collection[str] | None) -> Sequence[Layer]:
    if names is None:
        return description.layers
    unknown = sorted(set(names) - {layer.name for layer in description.layers})
    if unknown:
        raise CheckpointError(_no_layer(description, unknown))
    return [layer for layer in description.layers if layer.name in names]


def _no_layer(description: ModelDescription, names: Sequence[str]) -> str:
    example = f"such as {description.layers[0].name}" if description.layers else "it has none"
    return f"{description.source} has no layer {', '.join(names[:5])}; use names of its description, {example}"


def _no_tokenizer(description: ModelDescription, reason: str) -> str:
    return f"{description.source} has no tokenizer that can be read ({reason}); put its files beside the weights"


def _load(description: ModelDescription) -> nn.Module:
    try:
        with _quiet():
            module, report = AutoModelForCausalLM.from_pretrained(
                dtype=torch.float32,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=description.kind is SourceKind.SAFETENSORS,  # but reported
                **_location(description),
            )
    except _LOAD_ERRORS as error:
        msg = f"{description.source} cannot be loaded ({_first_line(error)}); {_ADVICE[description.kind]}"
        raise CorruptCheckpointError(msg) from error
    _check_report(report, description)
    module.config.use_cache = False
    return module  # type: ignore[no-any-return]


def _check_report(report: Mapping[str, Any], description: ModelDescription) -> None:
    """What transformers says it did instead of failing.

    Raises:
        CorruptCheckpointError: tensors are missing, of another shape than the configuration says, or have no place.
    """
    for name, stored, expected in sorted(report["mismatched_keys"]):
        found = f"{description.source} stores {name} as {tuple(stored)} instead of {tuple(expected)}, as its configuration says"
        msg = f"{found}; take config.json and weights from the same place"
        raise CorruptCheckpointError(msg)
    missing = sorted(report["missing_keys"])
    if missing:
        msg = f"{description.source} lacks tensors of its architecture ({', '.join(missing[:5])}); fetch its files again"
        raise CorruptCheckpointError(msg)
    refuse_surplus(report["unexpected_keys"], description)


def _empty(description: ModelDescription) -> nn.Module:
    """The model as its configuration says, all parameters without memory."""
    if description.kind is not SourceKind.SAFETENSORS:
        msg = (
            f"{description.source} is a GGUF file, which is decoded as a whole; "
            f"register the model's safetensors checkpoint to stream it, or set streaming to never"
        )
        raise CheckpointError(msg)
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(trust_remote_code=False, local_files_only=True, **_location(description))
            with init_empty_weights(include_buffers=False):
                module = AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
            module.tie_weights()  # accelerate gives each module an empty parameter of its own
    except _LOAD_ERRORS as error:
        msg = f"{description.source} cannot be loaded ({_first_line(error)}); {_ADVICE[description.kind]}"
        raise CorruptCheckpointError(msg) from error
    module.config.use_cache = False
    return module  # type: ignore[no-any-return]


def _stream(
    module: nn.Module, blocks: Sequence[nn.Module], linears: dict[str, nn.Linear], description: ModelDescription
) -> BlockStream:
    """The stream of the blocks of a model without memory; everything outside the blocks is read now."""
    places = find_places(module, description, linears)
    of_blocks = [[places.pop(parameter) for parameter in block.parameters()] for block in blocks]
    for place in places.values():
        place.fill()
    return BlockStream(of_blocks)


def _location(description: ModelDescription) -> dict[str, str]:
    """The arguments of ``from_pretrained`` that say where the files are."""
    if description.kind is SourceKind.SAFETENSORS:
        return {"pretrained_model_name_or_path": description.path}
    path = Path(description.path)
    return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the progress bars and reports of transformers (one of its bars can only be silenced by taking stderr)."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _check_finite(module: nn.Module, linears: dict[str, nn.Linear], description: ModelDescription) -> None:
    """One pass over the weights: NaN and infinity reach the sum. Only a sum that is not finite is looked at closer."""
    names = {id(linear.weight): f"{name}.weight" for name, linear in linears.items()}
    for name, parameter in module.named_parameters():
        if not parameter.sum().isfinite() and not parameter.isfinite().all():
            msg = f"{names.get(id(parameter), name)} of {description.source} holds NaN or infinite weights; fetch its files again"
            raise CorruptCheckpointError(msg)
