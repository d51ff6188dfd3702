"""What is tested of an export target."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open

from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat

Resolved = Mapping[str, Any]


def itself(name: str) -> str:
    """The name of a layer, where the target stores each layer by itself under our name."""
    return name


def loads_everything(candidate: CandidateFormat, layer: Layer) -> bool:
    """Whatever the runtime allows."""
    return True


def tensors_of_safetensors(directory: Path) -> dict[str, int]:
    """Bytes by tensor name, from the headers of the safetensors files."""
    found: dict[str, int] = {}
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  (no mapping)
                tensor = file.get_tensor(name)
                found[name] = tensor.numel() * tensor.element_size()
    return found


def holder_of(tensor: str) -> str | None:
    """Module that a tensor belongs to; ``None`` for biases, which no format counts."""
    module, _, part = tensor.rpartition(".")
    return None if part == "bias" else module


@dataclass(frozen=True, slots=True)
class Target:
    """An export target and the engine that loads it in the tests.

    Attributes:
        name: of the exporter and of the checkpoint writer.
        engine: module in ``tests.exports.engines``.
        runtime: the runtime profile that plans are made for.
        resolved: what the engine must report of a layer in a format, quantized; it may report more.
        tolerance: largest allowed difference of logits, as a share of their standard deviation; ``None`` where the engine rounds
            by itself, so that there is nothing to compare.
        weights: torch dtype in which the engine holds decoded weights; ours are rounded to it before they are compared.
        models: names of ``checkpoints.MODELS`` that the engine can load.
        own_environment: the engine's library is in ``.venv-exports``, not in ``.venv``.
        in_ci: `make test` runs the tiny models; the rest waits for `make export-test`.
        real_in_ci: `make test` runs the real model too.
        loads: formats that the engine can load, where it can load less than the runtime of the plan.
        one_format_for_experts: the engine gives all experts of a model one format, where the runtime does not.
        stored_as: name by which the engine and the written file know a layer (stacked experts: the stack's).
        tensors: bytes by tensor name of a written checkpoint.
        holder: name, as ``stored_as`` gives it, of what a written tensor belongs to.
        environment: environment variables that the engine needs.
        document: part of the export that is written as JSON beside a copy of the original model, for engines that quantize by
            themselves; the engine then reports the stored ``bits`` of each quantized layer. Empty where a checkpoint is written.
    """

    name: str
    engine: str
    runtime: str
    resolved: Callable[[CandidateFormat], Resolved]
    tolerance: float | None
    weights: str
    models: tuple[str, ...] = ("llama", "qwen3_moe", "smollm2")
    own_environment: bool = True
    in_ci: bool = True
    real_in_ci: bool = False
    loads: Callable[[CandidateFormat, Layer], bool] = loads_everything
    one_format_for_experts: bool = False
    stored_as: Callable[[str], str] = itself
    tensors: Callable[[Path], Mapping[str, int]] = tensors_of_safetensors
    holder: Callable[[str], str | None] = holder_of
    environment: Mapping[str, str] = field(default_factory=dict)
    document: str = ""
