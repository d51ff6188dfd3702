"""AutoRound's cache of AutoScheme scores: one JSON file for each scheme that was scored, a score for each layer."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, final

from planner.errors import InvalidImportError
from planner.importers.names import ModelNames
from planner.importers.port import AbstractImporter, ImportedCells, OptionValue
from planner.importers.source import Json, SourceFile
from planner.importers.values import items, mapping, number, whole, word
from sensitivity.errors import UnknownFormatError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.foreign import with_activations
from sensitivity.formats.registry import get_format

_RUN: Final = ("model_id", "dataset", "nsamples", "seqlen", "batch_size", "low_gpu_mem_usage", "need_weight_grad", "force_mllm")
"""What the scores of several schemes must have in common to be one measurement."""
_FLOATS: Final = {("mx_fp", 4, 32): "MXFP4", ("nv_fp", 4, 16): "NVFP4"}
_UNQUANTIZED_BITS: Final = 16


@final
class AutoRoundImporter(AbstractImporter):
    """``{"score_granularity": "per_op", "scheme": {…}, "layer_scores": {layer: [bits, loss]}, "cache_config": {…}, …}``.

    The loss is Σ |gradient ⊙ ΔW|, summed over the calibration batches, plus the same of the activations where the scheme
    quantizes them: no unit, added up by AutoRound itself. Integer schemes, MXFP4 and NVFP4 are formats of ours; one whose
    activations are quantized too is a format of AutoRound's namespace. GGUF's and other float schemes have none here.
    All schemes of a run are imported together, so that a plan can choose among them.
    """

    name: ClassVar[str] = "autoround"
    tool: ClassVar[str] = "auto-round"
    version: ClassVar[int] = 1

    def detects(self, file: SourceFile) -> bool:
        """Scores per operator beside a scheme."""
        try:
            found = file.json
        except InvalidImportError:
            return False
        return isinstance(found, dict) and {"score_granularity", "layer_scores", "scheme"} <= found.keys()

    def read(self, files: Sequence[SourceFile], names: ModelNames, options: Mapping[str, OptionValue]) -> ImportedCells:
        """All files of a run, one for each scheme."""
        losses: dict[str, dict[CandidateFormat, float]] = {}
        skipped: dict[str, None] = {}
        seen: dict[CandidateFormat, SourceFile] = {}
        run = _run_of(files[0])
        for file in files:
            document = mapping(file.json, file, "the document")
            if document.get("score_granularity") != "per_op":
                file.refuse("scores of single layers ('per_op') are expected; other caches hold sums", key="score_granularity")
            if _run_of(file) != run:
                file.refuse(f"it was scored in another way than {files[0].name}; import the files of one run", key="cache_config")
            fmt = _format(document.get("scheme"), file)
            if fmt in seen:
                file.refuse(f"{seen[fmt].name} has the scores of {fmt.name} already; leave one out", key="scheme")
            seen[fmt] = file
            for name, loss in _scores(document, file):
                layer = names.find(name, file)
                if layer is None:
                    skipped[name] = None
                else:
                    losses.setdefault(layer.name, {})[fmt] = loss
        parameters = {f"run_{key}": value for key, value in run.items()}
        return ImportedCells(losses, parameters, additive=True, skipped=tuple(skipped))


def _run_of(file: SourceFile) -> dict[str, float | int | str]:
    document = mapping(file.json, file, "the document")
    config = mapping(document.get("cache_config") or {}, file, "cache_config")
    found: dict[str, float | int | str] = {"schema": whole(document.get("version"), file, "version")}
    for key in _RUN:
        value = config.get(key)
        if isinstance(value, str):
            found[key] = word(value)
        elif value is not None:
            found[key] = number(value if not isinstance(value, bool) else int(value), file, f"cache_config.{key}")
    return found


def _scores(document: Mapping[str, Json], file: SourceFile) -> list[tuple[str, float]]:
    found = []
    for name, value in mapping(document.get("layer_scores"), file, "layer_scores").items():
        pair = items(value, file, name)
        if len(pair) != 2:
            file.refuse(f"[bits, loss] is expected, not {len(pair)} values", key=name)
        number(pair[0], file, f"{name}: bits", least=0.0)
        found.append((name, number(pair[1], file, f"{name}: loss", least=0.0)))
    if not found:
        file.refuse("it has no scores", key="layer_scores")
    return found


def _format(value: Json, file: SourceFile) -> CandidateFormat:
    scheme = mapping(value, file, "scheme")
    bits = whole(scheme.get("bits"), file, "scheme.bits", least=1, most=32)
    activations = whole(scheme.get("act_bits") or _UNQUANTIZED_BITS, file, "scheme.act_bits", least=1, most=32)
    if bits >= _UNQUANTIZED_BITS and activations >= _UNQUANTIZED_BITS:
        return get_format("BF16")
    weights = _weights(scheme, bits, file)
    return weights if activations >= _UNQUANTIZED_BITS else with_activations(weights, activations)


def _weights(scheme: Mapping[str, Json], bits: int, file: SourceFile) -> CandidateFormat:
    kind = word(scheme.get("data_type"), otherwise="int")
    group_size = whole(scheme.get("group_size", 128), file, "scheme.group_size", least=-1)
    try:
        if kind == "int" and not scheme.get("super_bits"):
            where = "CHANNEL" if group_size == -1 else f"G{group_size}"
            return get_format(f"INT{bits}_{where}{'' if scheme.get('sym', True) else '_ASYM'}")
        return get_format(_FLOATS.get((kind, bits, group_size), f"{kind} of {bits} bits"))
    except UnknownFormatError as error:
        file.refuse(f"{_said(scheme)} has no candidate format here ({error})", key="scheme")


def _said(scheme: Mapping[str, Json]) -> str:
    return ", ".join(f"{key} {word(str(value), length=20)}" for key, value in list(scheme.items())[:12])
