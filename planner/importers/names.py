"""The model's names as files of other tools may use them."""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NoReturn, final

import gguf

from planner.importers.source import SourceFile
from sensitivity.checkpoint.description import Layer
from sensitivity.checkpoint.families import GGUF_ARCHITECTURES, Family, get_family

_ROUTERS: Final = re.compile(r".*\.(mlp|block_sparse_moe)\.(gate|router|shared_expert_gate)")
_GGUF_ROUTERS: Final = re.compile(r"blk\.\d+\.ffn_gate_inp(_shexp)?")
_EXPERT: Final = re.compile(r".+\.(\d{1,5})\.\w+\.experts\.(\d{1,6})\.(\w+)")
_ROLES: Final = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}
_LONGEST: Final = 500
_COMPARED: Final = 2000
"""Names that an unknown one is compared with: enough for a hint."""
_PROJECTIONS: Final = ("gate_proj", "up_proj", "down_proj")
_GGUF_OF: Final = {model_type: name for name, model_type in GGUF_ARCHITECTURES.items()} | {
    "mistral": "llama",
    "mixtral": "llama",
    "gemma": "gemma",
    "gpt2": "gpt2",
    "gpt_neox": "gptneox",
    "smollm3": "smollm3",
}


@final
@dataclass(frozen=True)
class ModelNames:
    """A registered model as importers see it.

    Attributes:
        architecture: its ``model_type``.
        layers: its layers in model order.
    """

    architecture: str
    layers: tuple[Layer, ...]

    @cached_property
    def by_name(self) -> dict[str, Layer]:
        """Layers by name."""
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def family(self) -> Family:
        """How its checkpoints are laid out."""
        return get_family(self.architecture)

    @cached_property
    def blocks(self) -> int:
        """Number of transformer blocks with layers."""
        return 1 + max((layer.block for layer in self.layers if layer.block is not None), default=-1)

    def is_no_layer(self, name: str) -> bool:
        """The embedding, a head that is tied to it, a router: what other tools may quantize and this one does not plan."""
        return name in (self.family.embedding, self.family.head, "lm_head") or _ROUTERS.fullmatch(name) is not None

    def find(self, name: str, file: SourceFile) -> Layer | None:
        """The layer of that name; ``None`` for a name that ``is_no_layer``.

        An expert is found by its place, whatever the path to the experts and their projections are called.

        Raises:
            InvalidImportError: the model has nothing of that name.
        """
        if len(name) > _LONGEST:
            file.refuse(f"a name of a layer has {len(name):,} characters", key=name)
        layer = self.by_name.get(name) or self._expert(name)
        if layer is None and not self.is_no_layer(name):
            self.refuse(name, file)
        return layer

    def _expert(self, name: str) -> Layer | None:
        match = _EXPERT.fullmatch(name)
        projection = None if match is None else _ROLES.get(match[3], match[3])
        return None if match is None else self._experts.get((int(match[1]), int(match[2]), projection or ""))

    @cached_property
    def _experts(self) -> dict[tuple[int | None, int | None, str], Layer]:
        """Routed experts' layers by block, expert and projection."""
        kinds = dict(zip(self.family.experts.projections, _PROJECTIONS, strict=True)) if self.family.experts else {}
        return {(layer.block, layer.expert, kinds.get(layer.kind, layer.kind)): layer for layer in self.layers}

    def refuse(self, name: str, file: SourceFile) -> NoReturn:
        """Say that the file is about another model.

        Raises:
            InvalidImportError: always.
        """
        close = difflib.get_close_matches(name[:300], list(self.by_name)[:_COMPARED], n=1, cutoff=0.4)
        like = close[0] if close else next(iter(self.by_name), "none: the model has no layers")
        file.refuse(f"the model has no such layer (a layer here: {like}); the file seems to be of another model", key=name)

    def of_block(self, block: int, roles: Sequence[str]) -> list[Layer]:
        """Layers of a block by their paths within it; those that the block does not have are left out."""
        path = f"{self.family.blocks}.{block}"
        return [self.by_name[name] for role in roles if (name := f"{path}.{role}") in self.by_name]

    def experts_of(self, block: int, *, projection: str | None = None) -> list[Layer]:
        """The routed experts' layers of a block; of one projection (``gate_proj``, ``up_proj`` or ``down_proj``) if named."""
        kinds = dict(zip(_PROJECTIONS, self.family.experts.projections, strict=True)) if self.family.experts else {}
        kind = kinds.get(projection or "")
        found = [layer for layer in self.layers if layer.block == block and layer.expert is not None]
        return found if projection is None else [layer for layer in found if layer.kind == kind]

    @cached_property
    def gguf(self) -> dict[str, list[Layer]]:
        """GGUF's names of the weights (``blk.0.attn_q.weight``) → the layer, or the experts of a stack in their order.

        Empty for an architecture that GGUF does not know.
        """
        if self.architecture not in _GGUF_OF:
            return {}
        known = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
        table = gguf.get_tensor_name_map(known[_GGUF_OF[self.architecture]], self.blocks)
        found: dict[str, list[Layer]] = {}
        for layer in self.layers:
            theirs = table.get_name(_unstacked(layer))
            if theirs is not None:
                found.setdefault(f"{theirs}.weight", []).append(layer)
        return found

    def is_no_layer_of_gguf(self, name: str) -> bool:
        """As ``is_no_layer``, for GGUF's names without ``.weight``."""
        return name in ("token_embd", "output") or _GGUF_ROUTERS.fullmatch(name) is not None

    def missing(self, covered: Iterable[str]) -> Iterator[str]:
        """Layers, in model order and without the head, that a file says nothing of."""
        there = set(covered)
        return (layer.name for layer in self.layers if layer.block is not None and layer.name not in there)


def _unstacked(layer: Layer) -> str:
    """The name of a layer without its expert."""
    return layer.name if layer.expert is None else layer.name.replace(f".{layer.expert}.{layer.kind}", f".{layer.kind}")
