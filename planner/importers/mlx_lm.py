"""mlx-lm's ``*_sensitivities.json`` of its dynamic quantization: what each layer gains by the higher of two formats."""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, final

from planner.errors import InvalidImportError
from planner.grouping import Tying
from planner.importers.names import ModelNames
from planner.importers.port import AbstractImporter, ImportedCells, OptionValue
from planner.importers.source import SourceFile
from planner.importers.values import items, number
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.foreign import MLX_BITS, MLX_GROUP_SIZES, mlx_affine

_MILLION: Final = 1e6
_STACK: Final = re.compile(r"(.+)\.(\d{1,5})\.\w+\.switch_mlp\.(gate_proj|up_proj|down_proj)")


@final
class MlxLmImporter(AbstractImporter):
    """``[["model.layers.0.self_attn.q_proj", sensitivity], …]``.

    The sensitivity is ⟨∂KL/∂W, W_low − W_high⟩ per million weights, at the model with all layers in the low format. Times the
    weights it is, to first order, what the model's KL falls by when the layer goes from low to high. So the layer's loss is
    that in the low format and 0 in the high one: differences in nats per token, of which a plan's sum is above an unknown
    loss of the model that is high throughout. It is negative where the gradient points the other way.
    The file does not name the formats; mlx-lm's defaults are assumed unless the user says otherwise.
    """

    name: ClassVar[str] = "mlx_lm"
    tool: ClassVar[str] = "mlx-lm"
    version: ClassVar[int] = 1
    options: ClassVar[Mapping[str, OptionValue]] = {"low_bits": 4, "low_group_size": 64, "high_bits": 5, "high_group_size": 64}

    def detects(self, file: SourceFile) -> bool:
        """A list of pairs of a name and a number."""
        try:
            found = file.json
        except InvalidImportError:
            return False
        return (
            isinstance(found, list)
            and bool(found)
            and all(isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in found)
        )

    def read(self, files: Sequence[SourceFile], names: ModelNames, options: Mapping[str, OptionValue]) -> ImportedCells:
        """One file; a stack of experts (``switch_mlp``) is shared out over its experts."""
        file = files[0]
        if len(files) > 1:
            files[1].refuse("mlx-lm writes one file for a pair of formats; import one file at a time")
        low, high = (_format(options, side, file) for side in ("low", "high"))
        if low == high:
            file.refuse(f"the low and the high format are both {low.name}; say which two were compared")
        losses: dict[str, dict[CandidateFormat, float]] = {}
        skipped: list[str] = []
        for index, value in enumerate(items(file.json, file, "the document")):
            pair = items(value, file, f"[{index}]")
            if len(pair) != 2 or not isinstance(pair[0], str):
                file.refuse("a pair of a layer's name and a number is expected", key=f"[{index}]")
            name, layers = pair[0], _layers(pair[0], names, file)
            gain = number(pair[1], file, name)
            if not layers:
                skipped.append(name)
            for layer in layers:
                if layer.name in losses:
                    file.refuse("it is there twice", key=name)
                losses[layer.name] = {low: gain * layer.parameters / _MILLION, high: 0.0}
        stacked = any(layer.expert is not None for layer in map(names.by_name.__getitem__, losses))
        return ImportedCells(
            losses=losses,
            parameters=dict(options),
            additive=True,
            measured_together=Tying.PROJECTION if stacked else Tying.FREE,
            skipped=tuple(skipped),
            notes=(f"losses are differences to {high.name} everywhere, whose own loss the file does not say",),
        )


def _layers(name: str, names: ModelNames, file: SourceFile) -> list[Layer]:
    """The layer of a name, or the experts of a stack; empty for what is no layer here."""
    stack = _STACK.fullmatch(name)
    if stack is not None:
        return names.experts_of(int(stack[2]), projection=stack[3]) or names.refuse(name, file)
    layer = names.find(name, file)
    return [] if layer is None else [layer]


def _format(options: Mapping[str, OptionValue], side: str, file: SourceFile) -> CandidateFormat:
    bits, group_size = options[f"{side}_bits"], options[f"{side}_group_size"]
    if bits not in MLX_BITS or group_size not in MLX_GROUP_SIZES:
        file.refuse(
            f"MLX has no affine format of {bits} bits in groups of {group_size}; give {side}_bits of "
            f"{', '.join(map(str, MLX_BITS))} and {side}_group_size of {', '.join(map(str, MLX_GROUP_SIZES))}"
        )
    return mlx_affine(int(bits), int(group_size))
