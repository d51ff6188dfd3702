"""Probe runs in processes of their own, forked from one that has everything imported: the peak of each beside its forecast.

``python -m tests.benchmarks.memory_run JSON``: a list of objects with the fields of ``Run``; a line of JSON for each. A forked
process shares the pages of libraries and counts them anew as it touches them, so that only its own memory is taken from it: the
peak that is printed is all that the first process has, and what the fork had more of its own at its highest point.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from planner.worker import handlers  # noqa: F401  (what a worker has in memory)
from planner.worker.memory import reset_peak
from sensitivity.checkpoint.description import Layer
from sensitivity.checkpoint.reading import describe
from sensitivity.evaluation import evaluate
from sensitivity.formats.families import get_cell_format
from sensitivity.formats.registry import get_format
from sensitivity.loading import load_model
from sensitivity.memory_forecast import EVALUATION, Work, forecast, stored_bytes
from sensitivity.probes.base import ProbeRun
from sensitivity.probes.registry import get_probe

FORMATS = ("INT2_G64", "INT3_G64", "INT4_G64", "INT6_G64")
CACHE_FORMATS = ("K_INT8", "V_INT8", "K_INT4", "V_INT4")


@dataclass(frozen=True, slots=True)
class Run:
    """What is run.

    Attributes:
        model: path of a checkpoint.
        probe: its name; ``evaluation`` measures assignments, as many as there are formats, on the sequences of one unit.
        parameters: of the probe.
        rounding: name of the rounding method.
        whole: with the whole model in memory.
        formats: names; the first ones of the usual formats if it is a number.
        sequences: of random tokens.
        length: tokens of each.
        units: how many of the run's units; all if not given.
        cells: how many cells are named one by one, spread over the layers; all if not given.
    """

    model: str
    probe: str
    parameters: dict[str, Any] = field(default_factory=dict)
    rounding: str = "rtn"
    whole: bool = False
    formats: int = 4
    sequences: int = 16
    length: int = 128
    units: int | None = None
    cells: int | None = None


def main() -> None:
    """Run one after the other, each in a fork."""
    torch.set_num_threads(1)
    asked_for = [Run(**asked) for asked in json.loads(sys.argv[1])]
    load_model(describe(asked_for[0].model))  # which imports the architecture
    program = _resident("VmRSS")
    for asked in asked_for:
        sys.stdout.flush()
        child = os.fork()
        if not child:
            torch.set_num_threads(1)  # a fork's thread pool is made anew by whoever asks first: not by threads that load, at once
            print(json.dumps(_measured(asked, program=program)), flush=True)  # noqa: T201
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"{asked} failed")


def _resident(which: str) -> int:
    """A figure of this process's memory in bytes (``VmRSS``, ``VmHWM``, ``RssAnon``, ``RssFile``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(which))


def _measured(asked: Run, *, program: int) -> dict[str, int]:
    """Peak and forecast in bytes."""
    inherited = _resident("RssAnon")
    reset_peak()
    description = describe(asked.model)
    parameters = _evaluate(asked) if asked.probe == EVALUATION else _probe(asked, blocks=description.blocks)
    named = _named(asked, description.layers) or {}
    work = Work(
        asked.probe,
        asked.rounding,
        asked.formats,
        asked.sequences,
        asked.length,
        draws=int(parameters.get("draws", parameters.get("levels", 1))),
        element_bytes=2 if parameters.get("arithmetic") == "bfloat16" else 4,
        stored_bytes=stored_bytes(description.kind, description.dtype),
        cells=asked.cells,
        changed=sum(layer.parameters * len(named.get(layer.name, ())) for layer in description.layers),
    )
    layers = [layer for layer in description.layers if asked.probe != EVALUATION or layer.kind != "lm_head"]
    found = forecast(layers, parameters=description.parameters, vocab_size=description.vocab_size, work=work)
    expected = found.whole if asked.whole else found.streamed
    own = _resident("VmHWM") - _resident("RssFile") - inherited
    return {"peak": program + own, "forecast": sum(expected.values()), "program": program}


def _probe(asked: Run, *, blocks: int) -> Mapping[str, Any]:
    """Run the probe; all its parameters."""
    probe = get_probe(asked.probe, **asked.parameters)
    run = _prepared(asked)
    units = (probe.units if asked.whole else probe.streamed_units)(blocks=blocks, sequences=asked.sequences)
    if asked.cells is not None and asked.whole:
        units = probe.cell_units(blocks=blocks, sequences=asked.sequences, cells=asked.cells)
    for unit in units[: asked.units]:
        probe.run(run, unit)
    return probe.parameters


def _evaluate(asked: Run) -> Mapping[str, Any]:
    """Measure every layer in each of the formats, beside the reference, as the worker does for a unit."""
    description = describe(asked.model)
    names = [layer.name for layer in description.layers if layer.kind != "lm_head"]
    assignments = [dict.fromkeys(names, get_format(name)) for name in FORMATS[: asked.formats]]
    model = load_model(description, streamed=not asked.whole)
    evaluate(model, assignments, _tokens(asked, description.vocab_size), rounding=asked.rounding)
    return {}


def _named(asked: Run, layers: Sequence[Layer]) -> dict[str, list[str]] | None:
    """As many cells as are asked for: of every layer in the first format, then in the next."""
    if asked.cells is None:
        return None
    places = [(layer.name, name) for name in FORMATS[: asked.formats] for layer in layers if layer.kind != "lm_head"]
    cells = places[: asked.cells]
    return {layer: [name for of, name in cells if of == layer] for layer, _ in cells}


def _tokens(asked: Run, vocab_size: int) -> torch.Tensor:
    return torch.randint(0, vocab_size, (asked.sequences, asked.length), generator=torch.Generator().manual_seed(0))


def _prepared(asked: Run) -> ProbeRun[Any]:
    description = describe(asked.model)
    names = [layer.name for layer in description.layers if layer.kind != "lm_head"]
    known = FORMATS
    if asked.probe == "kv_cache":
        names, known = [name for name in names if name.endswith(("k_proj", "v_proj"))], CACHE_FORMATS
    formats = [get_cell_format(name) for name in known[: asked.formats]]
    return ProbeRun(
        model=load_model(description, streamed=not asked.whole),
        layers=names,
        formats=formats,
        rounding=asked.rounding,
        tokens=_tokens(asked, description.vocab_size),
        seed=0,
        cells=_named(asked, description.layers),
        around=dict.fromkeys(names, formats[0]) if get_probe(asked.probe).facts.around_plan else {},
    )


if __name__ == "__main__":
    main()
