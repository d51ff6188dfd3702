"""exllamav2's ``measurement.json``: some twenty joint options of each module and how well each reproduces its output."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Final, final

from planner.errors import InvalidImportError
from planner.grouping import Tying
from planner.importers.names import ModelNames
from planner.importers.port import AbstractImporter, ImportedCells, OptionValue
from planner.importers.source import Json, SourceFile
from planner.importers.values import items, mapping, number, whole
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.foreign import module_option

_KEY: Final = re.compile(r"(.+)\.(\d{1,5})\.(self_attn|mlp|block_sparse_moe|parallel_decoder)")
_LEAST_BITS, _MOST_BITS = 1, 17
_MOST_OPTIONS: Final = 99
_MOST_FORMATS: Final = 400


@final
class ExLlamaV2Importer(AbstractImporter):
    """``{"measurement": {"model.layers.0.self_attn": [{"accuracy", "total_bits", …}, …], …}, "last_module_idx": n}``.

    The loss is 1 − accuracy: the relative Frobenius error of the module's output, mean over the rows of the calibration text.
    An option says of all matrices of the module at once how they are stored, so it is one format of its own
    (``EXL2_A07_…``), the loss is shared out in proportion to the layers' weights, and a plan gives a module one option.
    """

    name: ClassVar[str] = "exllamav2"
    tool: ClassVar[str] = "exllamav2"
    version: ClassVar[int] = 1
    rounding: ClassVar[str] = "gptq"

    def detects(self, file: SourceFile) -> bool:
        """A ``measurement`` beside a ``last_module_idx``."""
        try:
            found = file.json
        except InvalidImportError:
            return False
        return isinstance(found, dict) and {"measurement", "last_module_idx"} <= found.keys()

    def read(self, files: Sequence[SourceFile], names: ModelNames, options: Mapping[str, OptionValue]) -> ImportedCells:
        """One file; modules without options (norms, the head) are passed over."""
        file = files[0]
        if len(files) > 1:
            files[1].refuse("exllamav2 writes one measurement a model; import one file at a time")
        document = mapping(file.json, file, "the document")
        losses: dict[str, dict[CandidateFormat, float]] = {}
        for key, layers, kind, listed in _modules(document, names, file):
            already = next((layer.name for layer in layers if layer.name in losses), None)
            if already is not None:
                file.refuse(f"{already} is measured twice", key=key)
            for fmt, loss in _options(key, layers, kind, listed, file):
                weights = sum(layer.parameters for layer in layers)
                for layer in layers:
                    losses.setdefault(layer.name, {})[fmt] = loss * layer.parameters / weights
        if len({fmt for column in losses.values() for fmt in column}) > _MOST_FORMATS:
            file.refuse("its options differ from block to block: blocks of so many shapes cannot be planned together")
        return ImportedCells(
            losses=losses,
            parameters={"last_module": whole(document.get("last_module_idx"), file, "last_module_idx")},
            additive=False,
            measured_together=Tying.MODULE,
            notes=("an option's loss is of its whole module: the cells of a module's layers are shares of it",),
        )


def _modules(
    document: Mapping[str, Json], names: ModelNames, file: SourceFile
) -> Iterator[tuple[str, list[Layer], str, list[Json]]]:
    """Key, layers, kind of option and options of each module that was measured."""
    for key, value in mapping(document.get("measurement"), file, "measurement").items():
        if value is None:
            continue
        match = _KEY.fullmatch(key)
        if match is None or int(match[2]) >= names.blocks:
            names.refuse(key, file)
        block, module = int(match[2]), match[3]
        if module == "parallel_decoder":
            parts = mapping(value, file, key)
            yield key, names.of_block(block, names.family.attention), "A", items(parts.get("attn"), file, f"{key}.attn")
            yield key, names.of_block(block, names.family.mlp), "M", items(parts.get("mlp"), file, f"{key}.mlp")
        elif module == "self_attn":
            yield key, names.of_block(block, names.family.attention), "A", items(value, file, key)
        else:
            layers = names.of_block(block, names.family.mlp) if module == "mlp" else names.experts_of(block)
            yield key, layers, "M", items(value, file, key)


def _options(
    key: str, layers: Sequence[Layer], kind: str, listed: Sequence[Json], file: SourceFile
) -> Iterator[tuple[CandidateFormat, float]]:
    weights = sum(layer.parameters for layer in layers)
    if not weights:
        file.refuse("the model's block has no such module; the file seems to be of another model", key=key)
    if not 0 < len(listed) <= _MOST_OPTIONS:
        file.refuse(f"it has {len(listed)} options; exllamav2 measures from 1 to {_MOST_OPTIONS}", key=key)
    for index, value in enumerate(listed):
        where = f"{key}[{index}]"
        option = mapping(value, file, where)
        bits = whole(option.get("total_bits"), file, f"{where}.total_bits")
        accuracy = number(option.get("accuracy"), file, f"{where}.accuracy", least=0.0, most=1.0)
        if not _LEAST_BITS <= bits / weights <= _MOST_BITS:
            file.refuse(
                f"{bits:,} bits for the {weights:,} weights of the module; the file seems to be of another model", key=where
            )
        yield module_option(kind, index, bits=bits, weights=weights), 1.0 - accuracy
