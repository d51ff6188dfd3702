"""Mixed legal plans: every format that a runtime can load, on layers of every kind, with some left unquantized."""

import random
from collections import Counter
from collections.abc import Sequence

from planner.runtimes import RuntimeProfile, get_runtime
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import all_formats, get_format
from tests.exports.target import Target

DTYPE_FORMATS = {"bfloat16": "BF16", "float16": "FP16"}


def mixed_plan(target: Target, layers: Sequence[Layer], *, dtype: str, seed: int = 0) -> dict[str, CandidateFormat]:
    """A plan in which the ties of the runtime are kept and every legal format is used about equally often.

    As often as that, a group of layers is planned unquantized, and one is left out of the plan.
    """
    chooser = random.Random(seed)
    unquantized = get_format(DTYPE_FORMATS.get(dtype, "BF16"))
    groups = _groups(target, layers)
    chooser.shuffle(groups)
    used: Counter[str] = Counter()
    plan: dict[str, CandidateFormat] = {}
    for group in groups:
        choices = [*legal_formats(target, group), unquantized, None]
        fewest = min(used[_word(fmt)] for fmt in choices)
        chosen = chooser.choice([fmt for fmt in choices if used[_word(fmt)] == fewest])
        used[_word(chosen)] += 1
        if chosen is not None:
            plan.update({layer.name: chosen for layer in group})
    return plan


def _word(fmt: CandidateFormat | None) -> str:
    return "left out" if fmt is None else fmt.name


def legal_formats(target: Target, layers: Sequence[Layer]) -> list[CandidateFormat]:
    """Quantized formats that the runtime and the engine load for all of these layers."""
    runtime = get_runtime(target.runtime)
    return [
        fmt
        for fmt in all_formats()
        if fmt.is_quantized and all(runtime.refusal(fmt, layer) is None and target.loads(fmt, layer) for layer in layers)
    ]


def _groups(target: Target, layers: Sequence[Layer]) -> list[list[Layer]]:
    runtime = get_runtime(target.runtime)
    planned = [layer for layer in layers if layer.kind not in runtime.ignore_kinds]
    groups = _runtime_groups(runtime, planned)
    if not target.one_format_for_experts:
        return groups
    experts = [layer for layer in planned if layer.expert is not None]
    dense = [group for group in groups if group[0].expert is None]
    return [*dense, experts] if experts else dense


def _runtime_groups(runtime: RuntimeProfile, layers: Sequence[Layer]) -> list[list[Layer]]:
    return [[layers[index] for index in group] for group in runtime.groups(layers)]
