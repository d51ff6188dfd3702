"""One probe run in a process of its own; prints its peak beside the forecast as JSON. Started by ``test_streaming_memory``."""

import argparse
import json

import torch

from planner.worker.memory import peak_bytes
from sensitivity.checkpoint.reading import describe
from sensitivity.formats.registry import get_format
from sensitivity.loading import load_model
from sensitivity.memory_forecast import Work, forecast
from sensitivity.probes.base import ProbeRun
from sensitivity.probes.registry import get_probe

FORMATS = [get_format(f"INT{bits}_G64") for bits in (2, 3, 4, 6)]


def main() -> None:
    """Measure every unit of a probe, or with ``--units`` the first ones."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("probe")
    parser.add_argument("--rounding", default="rtn")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--units", type=int)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    description = describe(asked.model)
    probe = get_probe(asked.probe)
    run = ProbeRun(
        model=load_model(description, streamed=not asked.whole),
        layers=[layer.name for layer in description.layers if layer.kind != "lm_head"],
        formats=FORMATS,
        rounding=asked.rounding,
        tokens=torch.randint(
            0, description.vocab_size, (asked.sequences, asked.length), generator=torch.Generator().manual_seed(0)
        ),
        seed=0,
    )
    units = probe.units if asked.whole else probe.streamed_units
    for unit in units(blocks=description.blocks, sequences=asked.sequences)[: asked.units]:
        probe.run(run, unit)
    work = Work(asked.probe, asked.rounding, len(FORMATS), asked.sequences, asked.length)
    found = forecast(description.layers, parameters=description.parameters, vocab_size=description.vocab_size, work=work)
    expected = found.whole_bytes if asked.whole else found.streamed_bytes
    print(json.dumps({"peak": peak_bytes(), "forecast": expected}))  # noqa: T201


if __name__ == "__main__":
    main()
