"""EvoPress' configurations: a level for each layer, found by its evolutionary search. A decision, so imported as a plan."""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, final

from planner.errors import InvalidImportError
from planner.importers.names import ModelNames
from planner.importers.port import AbstractImporter, ImportedAssignment, OptionValue
from planner.importers.source import SourceFile
from sensitivity.errors import UnknownFormatError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format

_LINE: Final = re.compile(r"([^\s:]+): *(\d{1,2}(?:\.\d{1,6})?)(?: \(([^\s()]{1,60})\))?")
_LEVEL: Final = "{level}"


@final
class EvoPressImporter(AbstractImporter):
    """Lines ``model.layers.0.self_attn.q_proj: 3``; layers of one group stand before one colon, with commas between them.

    A level is the nominal number of bits of a file in EvoPress' database of quantized weights, whose format the configuration
    does not name: ``level_format`` says it, with ``{level}`` for the number. By default it is what EvoPress' own scripts
    make: GPTQ with zero points in groups of 128. Levels of its GGUF variant (``2.5625 (2.5625-Q2_K.pth)``) have no candidate
    format here, and configurations of depth pruning (``attn``, ``mlp``) are no assignment of formats.
    """

    name: ClassVar[str] = "evopress"
    tool: ClassVar[str] = "EvoPress"
    version: ClassVar[int] = 1
    options: ClassVar[Mapping[str, OptionValue]] = {"level_format": "INT{level}_G128_ASYM"}

    def detects(self, file: SourceFile) -> bool:
        """Its first line is a layer and a level."""
        if file.content[:1] in (b"{", b"[", b""):
            return False
        try:
            lines = file.text.splitlines()
        except InvalidImportError:
            return False
        return bool(lines) and _LINE.fullmatch(lines[0].rstrip()) is not None

    def read(self, files: Sequence[SourceFile], names: ModelNames, options: Mapping[str, OptionValue]) -> ImportedAssignment:
        """One file, which must give every layer of the blocks a level."""
        file = files[0]
        if len(files) > 1:
            files[1].refuse("a configuration is one plan; import one file at a time")
        pattern = str(options["level_format"])
        if _LEVEL not in pattern:
            file.refuse(f"level_format {pattern[:60]!r} has no {_LEVEL}; write it like {self.options['level_format']}")
        formats: dict[str, CandidateFormat] = {}
        for number, line in enumerate(file.text.splitlines(), start=1):
            match = _LINE.fullmatch(line.rstrip())
            if match is None:
                file.refuse(f"a layer and its level are expected, not {line[:80]!r}", key=f"line {number}")
            fmt = _format(match[2], match[3], pattern, file, number)
            for name in match[1].split(","):
                if name in formats:
                    file.refuse("it is there twice", key=name)
                if names.find(name, file) is not None:
                    formats[name] = fmt
        missing = list(names.missing(formats))
        if missing:
            file.refuse(f"{len(missing)} layers of the model have no level in it", key=missing[0])
        return ImportedAssignment(formats, notes=(f"levels are read as {pattern}: the file does not say how they are stored",))


def _format(level: str, stored: str | None, pattern: str, file: SourceFile, number: int) -> CandidateFormat:
    if stored is not None:
        file.refuse(f"the level {level} is stored as {stored}, a format that has no candidate here", key=f"line {number}")
    try:
        return get_format(pattern.replace(_LEVEL, level))
    except UnknownFormatError as error:
        file.refuse(
            f"the level {level} is no format ({error}); say with level_format how levels are stored", key=f"line {number}"
        )
