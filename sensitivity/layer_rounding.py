"""Rounding of the layers of a loaded model by any method: the one place that gives a method the data that it needs."""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence

import torch
from torch import Tensor

from sensitivity.errors import CalibrationError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.inputs.moments import InputMoments, no_moments
from sensitivity.inputs.watching import InputWatcher
from sensitivity.loading import LoadedModel
from sensitivity.probes.base import ProbeRun
from sensitivity.rounding import AbstractRounding, Encoded, decode, get_rounding
from sensitivity.rounding.fused import shards_of, shares_a_scale, split_rows
from sensitivity.rounding.spilled import SpilledCodes


class LayerRounding:
    """Layers of a model in candidate formats, by one rounding method.

    A method without data rounds when asked. A method that looks at the layers' inputs is given those of the
    unquantized model: every cell is of one layer alone, so no error of earlier layers is carried forward. The model is walked
    block by block; all announced cells of a block are rounded together when it is crossed and kept as codes (about a byte
    for each weight and format; on disk if the model is streamed), so that any order of asking costs one forward pass. Several
    workers each walk up to the blocks that they are asked for.

    Cells are of single layers. Assignments are of models that engines run: there, layers that engines fuse are encoded as one
    matrix where a format has a scale of the whole tensor (``sensitivity.rounding.fused``).

    Attributes:
        method: the rounding method.
    """

    def __init__(
        self,
        model: LoadedModel,
        rounding: str,
        wanted: Mapping[str, Sequence[CandidateFormat]],
        *,
        tokens: Tensor | None = None,
    ) -> None:
        """Rounding of some cells.

        Args:
            model: the unquantized model; not changed.
            rounding: name of the method.
            wanted: for methods with data, the cells that will be asked for, no others: formats that can store each layer.
            tokens: int64 calibration tokens (sequences, length) for methods that need them.

        Raises:
            FormatError: no such method.
            CalibrationError: the method needs tokens and there are none.
        """
        self.method: AbstractRounding = get_rounding(rounding)
        self._model = model
        self._wanted = {layer: list(dict.fromkeys(formats)) for layer, formats in wanted.items()}
        self._known: MutableMapping[tuple[str, CandidateFormat], Encoded] = SpilledCodes() if model.is_streamed else {}
        self._watcher: InputWatcher | None = None
        self._crossed = 0
        self._fuses = False
        self._fused: dict[str, Encoded] = {}
        self._repeats = False
        if self.method.facts.needs_inputs:
            if tokens is None or tokens.numel() == 0:
                msg = f"rounding method {rounding!r} runs on text: give it the calibration set that its curves were made with"
                raise CalibrationError(msg)
            self._watcher = InputWatcher(model, tokens)

    @property
    def is_streamed(self) -> bool:
        """Whether the model is read block by block."""
        return self._model.is_streamed

    @classmethod
    def of(cls, run: ProbeRun) -> "LayerRounding":
        """The rounding of a probe run, kept in its cache."""
        if "layer rounding" not in run.cache:
            wanted = {layer: [run.formats[k] for k in run.storable(layer)] for layer in run.layers}
            run.cache["layer rounding"] = cls(run.model, run.rounding, wanted, tokens=run.tokens)
        found: LayerRounding = run.cache["layer rounding"]
        return found

    @classmethod
    def of_assignments(
        cls,
        model: LoadedModel,
        rounding: str,
        assignments: Iterable[Mapping[str, CandidateFormat]],
        *,
        tokens: Tensor | None = None,
    ) -> "LayerRounding":
        """The rounding of whole assignments, layer name to format, evaluated again and again: all codes are kept but cheap ones.

        Raises:
            FormatError: no such method.
            CalibrationError: the method needs tokens and there are none.
        """
        wanted: dict[str, list[CandidateFormat]] = {}
        for assignment in assignments:
            for layer, fmt in assignment.items():
                wanted.setdefault(layer, []).append(fmt)
        found = cls(model, rounding, wanted, tokens=tokens)
        found._repeats = True
        found._fuses = True
        return found

    def prepare(self) -> None:
        """Round all announced cells of a method with data now; afterwards the model is not run any more."""
        if self._watcher is not None:
            for layer, formats in self._wanted.items():
                for fmt in formats[:1]:
                    self.encode(layer, fmt)

    def fake_quantize(self, layer: str, fmt: CandidateFormat) -> Tensor:
        """What the codes of a layer decode to: a new float32 tensor (out, in).

        Raises:
            UnsupportedShapeError: the format cannot store this shape.
            CorruptCheckpointError: a weight is NaN or infinite.
        """
        if not self._keeps(fmt) and len(self._shards(layer, fmt)) == 1:
            return self.method.fake_quantize(self._model.weight(layer), fmt)
        return decode(self.encode(layer, fmt))

    def fake_quantize_each(self, layer: str, formats: Sequence[CandidateFormat]) -> Iterator[Tensor]:
        """What ``fake_quantize`` gives in each format, one after the other: each is the caller's until the next is asked for.

        Raises as ``fake_quantize`` does.
        """
        if any(self._keeps(fmt) or len(self._shards(layer, fmt)) > 1 for fmt in formats):
            return (self.fake_quantize(layer, fmt) for fmt in formats)
        return self.method.fake_quantize_each(self._model.weight(layer), formats)

    @torch.no_grad()
    def encode(self, layer: str, fmt: CandidateFormat) -> Encoded:
        """Codes and scales of a layer. Raises as ``fake_quantize`` does."""
        if not self._keeps(fmt):
            return self._alone_or_fused(layer, fmt)
        if (layer, fmt) not in self._known:
            if self._watcher is None:
                self._known[layer, fmt] = self._alone_or_fused(layer, fmt)
            else:
                self._round_up_to(self._watcher, layer)
        return self._known[layer, fmt]

    def _keeps(self, fmt: CandidateFormat) -> bool:
        return self._watcher is not None or (self._repeats and not self.method.is_cheap(fmt))

    def _shards(self, layer: str, fmt: CandidateFormat) -> tuple[str, ...]:
        """The layers that are encoded together with one: those fused with it that are planned in the same format."""
        if not (self._fuses and shares_a_scale(fmt)):
            return (layer,)
        return tuple(name for name in shards_of(layer, self._model.linears) if name == layer or fmt in self._wanted.get(name, ()))

    def _alone_or_fused(self, layer: str, fmt: CandidateFormat) -> Encoded:
        shards = self._shards(layer, fmt)
        if len(shards) == 1:
            return self.method.encode(self._model.weight(layer), fmt)
        if layer not in self._fused or self._fused[layer].format != fmt:
            self._fused = self._encode_fused(shards, fmt, None)
        return self._fused[layer]

    def _encode_fused(self, shards: Sequence[str], fmt: CandidateFormat, moments: InputMoments | None) -> dict[str, Encoded]:
        weights = [self._model.weight(name) for name in shards]
        whole = self.method.encode_many(torch.cat(weights), [fmt], moments)[0]
        return dict(zip(shards, split_rows(whole, [len(weight) for weight in weights]), strict=True))

    def _round_up_to(self, watcher: InputWatcher, layer: str) -> None:
        block = self._model.block_of(layer)
        if block is None:
            self._round(watcher, None)
            return
        while self._crossed <= block:
            self._round(watcher, self._crossed)
            self._crossed += 1

    def _round(self, watcher: InputWatcher, block: int | None) -> None:
        """Round all announced cells of a block, or of the layers outside the blocks."""
        layers = [layer for layer in self._wanted if self._model.block_of(layer) == block]
        found = watcher.outside(layers) if block is None else watcher.of_block(block, layers)
        for layer in layers:
            weight = self._model.weight(layer)
            moments = found.get(layer) or no_moments(weight.shape[1])
            alone = [fmt for fmt in self._wanted[layer] if len(self._shards(layer, fmt)) == 1]
            self._known.update({(layer, one.format): one for one in self.method.encode_many(weight, alone, moments)})
            for fmt in self._wanted[layer]:
                if (layer, fmt) not in self._known:  # the shards of a layer see the same inputs
                    shards = self._encode_fused(self._shards(layer, fmt), fmt, moments)
                    self._known.update({(name, fmt): one for name, one in shards.items() if fmt in self._wanted.get(name, ())})
