"""Measuring the machine that the command runs on, and keeping what was found with whoever answers."""

import re
from collections.abc import Sequence

from planner.cli.reporting import say
from planner.devices.table import LATENCY_FORMATS, Shape
from planner.errors import InvalidRequestError, NotFoundError
from planner.operations import AbstractOperations
from planner.schemas.devices import DEVICE_PATTERN, ENTRY_LIMIT, DeviceDocument, LatencyTableDocument, PutLatencies
from planner.services.pagination import PAGE_LIMIT


def measure_here(
    bitplan: AbstractOperations,
    name: str,
    *,
    models: Sequence[str],
    shapes: Sequence[str],
    formats: Sequence[str] | None,
    batches: Sequence[str] | None,
    threads: int | None,
) -> DeviceDocument:
    """Time this processor's linear kernels and add them to the table of a device, which is stored if there is none of the name.

    Args:
        bitplan: who keeps the device and knows the models.
        name: of the device.
        models: ids or names, whose layers' shapes are measured.
        shapes: further ones, as ``OUTxIN``.
        formats: of the weights; ``None`` for all that have a kernel.
        batches: rows of activations; ``None`` for powers of two up to 256.
        threads: of a kernel; ``None`` for all cores.

    Raises:
        NotFoundError: no such model.
        InvalidRequestError: a name that no device can have, a shape, batch or format that cannot be measured, more than a table
            can hold, or a table that was measured in another way. All of it is said before anything is timed.
    """
    import torch

    from planner.worker.torch_cpu.measuring import BATCHES, FORMATS, SHAPES, measure_device, measure_table

    _require_name(name)
    device = _find_device(bitplan, name)
    known = bitplan.get_latencies(name) if device is not None and device.measured_entries else None
    rows = BATCHES if batches is None else list(dict.fromkeys(_number(text, "a batch") for text in batches))
    wanted = list(dict.fromkeys(found.upper() for found in formats or FORMATS))
    layers = {_shape(text) for text in shapes} | {found for model in models for found in _layer_shapes(bitplan, model)}
    heads = {head for model in models if (head := _tied_head(bitplan, model)) is not None}
    count = threads or torch.get_num_threads()
    _refuse_other_ways(known, count, f"torch {torch.__version__}", name)
    _refuse_too_many(known, len(layers | heads or SHAPES) * len(wanted) * len(rows))
    plain = [found for found in wanted if found in LATENCY_FORMATS.values()]
    measured = measure_table(sorted(layers) or SHAPES, formats=wanted, batches=rows, threads=count, progress=say)
    if heads and plain:
        of_heads = measure_table(sorted(heads), formats=plain, batches=rows, threads=count, progress=say)
        measured = _merged(of_heads, measured)
    if device is None:
        bitplan.create_device(measure_device(name, threads=count))
    merged = measured if known is None else _merged(known, measured)
    return bitplan.put_latencies(name, PutLatencies.model_validate(merged.model_dump()))


def _require_name(name: str) -> None:
    if re.fullmatch(DEVICE_PATTERN, name) is None:
        msg = (
            f"{name!r} can be no name of a device: write a letter or digit, then up to 99 letters, digits, dots, underscores and "
            "dashes, such as my-laptop"
        )
        raise InvalidRequestError(msg, device=name)


def _find_device(bitplan: AbstractOperations, name: str) -> DeviceDocument | None:
    """The device of that name, if there is one.

    Raises:
        InvalidRequestError: it comes with bitplan.
    """
    try:
        found = bitplan.get_device(name)
    except NotFoundError:
        return None
    if found.built_in:
        msg = f"the device {name} comes with bitplan and stays as it is: give this machine a name of its own"
        raise InvalidRequestError(msg, device=name)
    return found


def _refuse_other_ways(known: LatencyTableDocument | None, threads: int, software: str, name: str) -> None:
    from planner.worker.torch_cpu.measuring import processor_name

    if known is None:
        return
    before, now = (known.processor, known.threads, known.software), (processor_name(), threads, software)
    if before != now:
        msg = (
            f"the device {name} was measured as {_way(before)}, and this would be {_way(now)}: times of the two cannot stand in "
            "one table. Give another name, or the same number of threads (--threads)"
        )
        raise InvalidRequestError(msg, device=name)


def _refuse_too_many(known: LatencyTableDocument | None, new: int) -> None:
    before = 0 if known is None else len(known.entries)
    if before + new > ENTRY_LIMIT:
        msg = f"{before + new} entries are more than the {ENTRY_LIMIT} of a table: name fewer shapes, formats or batches"
        raise InvalidRequestError(msg)


def _way(found: tuple[str, int | None, str]) -> str:
    return f"{found[0]}, {found[1]} threads, {found[2]}"


def _merged(old: LatencyTableDocument, new: LatencyTableDocument) -> LatencyTableDocument:
    entries = {entry.key: entry for entry in [*old.entries, *new.entries]}
    return new.model_copy(update={"entries": list(entries.values())})


def _layer_shapes(bitplan: AbstractOperations, model: str) -> set[Shape]:
    return {(layer.out_features, layer.in_features) for layer in bitplan.list_layers(model).items}


def _tied_head(bitplan: AbstractOperations, model: str) -> Shape | None:
    """Shape of a head that is the embedding, and therefore no layer; it is read whole all the same, as it is stored."""
    layers = bitplan.list_layers(model).items
    if not layers or any(layer.kind == "lm_head" for layer in layers):
        return None
    cursor = None
    while True:
        page = bitplan.list_models(cursor=cursor, limit=PAGE_LIMIT)
        for found in page.items:
            if model in (found.id, found.name):
                return found.vocab_size, layers[0].in_features
        if page.next is None:
            return None
        cursor = page.next


def _shape(text: str) -> Shape:
    out_features, times, in_features = text.lower().partition("x")
    if not times:
        msg = f"{text!r} is no shape: give OUTxIN, such as 4096x1024"
        raise InvalidRequestError(msg)
    return _number(out_features, f"the rows of {text!r}"), _number(in_features, f"the columns of {text!r}")


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 8 and int(text)):
        msg = f"{what} must be a whole number from 1 to 9,999,999, not {text!r}"
        raise InvalidRequestError(msg)
    return int(text)
