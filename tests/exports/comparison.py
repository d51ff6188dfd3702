"""An engine's answer against the plan: formats layer by layer, bytes, logits."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from planner.runtimes import get_runtime
from planner.runtimes.rest import Rest
from tests.exports.checkpoints import Written, reference_logits
from tests.exports.file_sizes import written_bytes
from tests.exports.running import Answer
from tests.exports.target import Target


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found.

    Attributes:
        predicted_bytes: of all tensors of the checkpoint, by the plan; of the quantized ones where the engine makes them.
        written_bytes: of those tensors, as they are stored.
        file_bytes: of the files of weights on disk; ``None`` where no checkpoint is written.
        difference: largest difference of logits, as a share of their standard deviation; ``None`` if they were not compared.
        faults: everything that is not as planned, in words.
    """

    predicted_bytes: int
    written_bytes: int
    file_bytes: int | None
    difference: float | None
    faults: tuple[str, ...]


def compare(target: Target, written: Written, answer: Answer) -> Comparison:
    """Hold an engine's answer against the plan that was written."""
    predicted = _predicted_bits(target, written)
    if answer.logits is None:
        return Comparison(_bytes(predicted.values()), 0, None, None, (f"not loaded: {answer.fault}",))
    faults = list(_format_faults(target, written, answer))
    if target.document:
        quantized = {name: bits for name, bits in predicted.items() if answer.layers.get(name)}
        stored = {name: answer.layers[name]["bits"] for name in quantized}
        predicted, total, found = quantized, _bytes(quantized.values()), _bytes(stored.values())
    else:
        stored = _stored_bits(target, written)
        total = _bytes(predicted.values()) + _rest_bytes(target, written)
        found = sum(target.tensors(written.directory).values())
    faults += _size_faults(predicted, stored)
    if found != total:
        faults.append(f"{found} bytes of tensors are stored, {total} are predicted")
    file_bytes = None if written.promised is None else written_bytes(written.directory)
    if file_bytes != written.promised:
        faults.append(f"the files of weights have {file_bytes} bytes, {written.promised} are promised")
    difference = None
    if target.tolerance is not None:
        difference = logit_difference(target, written, answer)
        if not difference <= target.tolerance:
            faults.append(f"logits differ by {difference:.2g} of their standard deviation, more than {target.tolerance:.2g}")
    return Comparison(total, found, file_bytes, difference, tuple(faults))


def _bytes(bits: Iterable[int]) -> int:
    return (sum(bits) + 7) // 8


def logit_difference(target: Target, written: Written, answer: Answer) -> float:
    """Largest difference between the engine's logits and those of our fake-quantized model, over their standard deviation."""
    assert answer.logits is not None
    expected = reference_logits(written, target.weights)
    return float(np.abs(answer.logits - expected).max() / expected.std())


def _predicted_bits(target: Target, written: Written) -> dict[str, int]:
    """Bits by what the target stores: layers, or stacks of experts."""
    runtime = get_runtime(target.runtime)
    found: Counter[str] = Counter()
    for layer in written.model.description.layers:
        fmt = written.plan.get(layer.name)
        quantized = fmt is not None and fmt.is_quantized
        bits = runtime.size_bits(fmt, layer.shape) if fmt is not None and quantized else 16 * layer.parameters
        found[target.stored_as(layer.name)] += bits
    return dict(found)


def _rest_bytes(target: Target, written: Written) -> int:
    """Bytes of everything that is no layer."""
    found = written.model.description
    rest = Rest(found.layers, found.parameters, found.unquantized_bytes, found.vocab_size, found.dtype)
    return get_runtime(target.runtime).rest_bytes(rest)


def _stored_bits(target: Target, written: Written) -> dict[str, int]:
    found: defaultdict[str, int] = defaultdict(int)
    for tensor, size in target.tensors(written.directory).items():
        holder = target.holder(tensor)
        if holder is not None:
            found[holder] += 8 * size
    return dict(found)


def _size_faults(predicted: Mapping[str, int], stored: Mapping[str, int]) -> Iterator[str]:
    for name, bits in predicted.items():
        if stored.get(name, 0) != bits:
            yield f"{name} has {stored.get(name, 0)} stored bits, {bits} are predicted"


def _format_faults(target: Target, written: Written, answer: Answer) -> Iterator[str]:
    layers = written.model.description.layers
    for layer in layers:
        fmt = written.plan.get(layer.name)
        wanted = target.resolved(fmt) if fmt is not None and fmt.is_quantized else {}
        found = answer.layers.get(target.stored_as(layer.name))
        if found is None:
            yield f"{layer.name} is no layer of the engine"
        elif bool(found) != bool(wanted) or any(found.get(key) != value for key, value in wanted.items()):
            yield f"{layer.name} was planned as {dict(wanted)}, the engine has {found}"
    planned = {target.stored_as(layer.name) for layer in layers}
    for name, found in answer.layers.items():
        if found and name not in planned:
            yield f"{name} is no planned layer, the engine has {found}"
