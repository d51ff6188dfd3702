"""The port of every container of weights."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer, RestTensor


class RegisteredFacts(Protocol):
    """What a description of a checkpoint and its row in the database have in common."""

    @property
    def architecture(self) -> str: ...  # noqa: D102
    @property
    def dtype(self) -> str: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def blocks(self) -> int: ...  # noqa: D102
    @property
    def kv_heads(self) -> int | None: ...  # noqa: D102
    @property
    def kv_elements_per_token(self) -> int: ...  # noqa: D102
    @property
    def tokenizer_bytes(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class ContainedModel:
    """Facts of a registered checkpoint that the size of a new one depends on.

    Attributes:
        architecture: ``model_type`` of its configuration.
        dtype: in which everything that is not planned is kept.
        names: what it may be called in a file: the last parts of its source and of its path.
        blocks: transformer blocks.
        head_size: elements of a key's head.
        rest: every parameter that is of no layer.
        tokenizer_bytes: its tokenizer as metadata of a GGUF; ``None`` where it has none that is written.
    """

    architecture: str
    dtype: str
    names: tuple[str, ...]
    blocks: int
    head_size: int
    rest: tuple[RestTensor, ...]
    tokenizer_bytes: int | None

    @staticmethod
    def of(facts: RegisteredFacts, rest: Iterable[RestTensor]) -> "ContainedModel":
        """A checkpoint by what was registered of it."""
        heads = 2 * max(1, facts.blocks) * (facts.kv_heads or 1)
        return ContainedModel(
            architecture=facts.architecture,
            dtype=facts.dtype,
            names=(Path(facts.source).name, Path(facts.path).name),
            blocks=facts.blocks,
            head_size=facts.kv_elements_per_token // heads,
            rest=tuple(rest),
            tokenizer_bytes=facts.tokenizer_bytes,
        )


class AbstractContainer(ABC):
    """How one target's files of weights are made up. Concrete containers are final and frozen.

    Attributes:
        target: the export target whose checkpoints these are.
    """

    target: str

    @abstractmethod
    def bytes_beside(
        self, model: ContainedModel, planned: Sequence[Layer], ignored: Sequence[Layer], runtime: RuntimeProfile
    ) -> int | None:
        """Bytes of the files of weights beside the tensors that plans count, whatever formats the runtime allows are planned.

        The writer fills its files up to this, so that a file has the bytes that its plan says.

        Args:
            model: the checkpoint.
            planned: layers that may take any format that the runtime allows.
            ignored: layers that are kept as they are.
            runtime: the engine that plans are made for.

        Returns:
            Bytes; ``None`` where nothing is written for this model.
        """
