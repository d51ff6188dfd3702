"""Every export of every target, loaded by the target's own library: formats, bytes and logits as planned."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from sensitivity.loading import LoadedModel
from tests.exports.checkpoints import REAL, load_source, write_plan
from tests.exports.comparison import compare
from tests.exports.plans import legal_formats, mixed_plan
from tests.exports.running import REQUIRED, ask, is_missing
from tests.exports.targets import all_targets

TARGETS = {name: target for name, target in all_targets().items() if target.in_ci}
TINY = {name: [model for model in target.models if model not in REAL] for name, target in TARGETS.items()}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> "Sources":
    return Sources(tmp_path_factory.mktemp("sources"))


class Sources:
    """Models, built when they are first asked for."""

    def __init__(self, directory: Path) -> None:
        self.get = cache(lambda name: load_source(name, directory))

    def __call__(self, name: str) -> LoadedModel:
        return self.get(name)


def check(target_name: str, models: list[str], sources: Sources, place: Path) -> None:
    target = TARGETS[target_name]
    missing = is_missing(target)
    if missing and os.environ.get(REQUIRED) != "required":
        pytest.skip(missing)
    assert not missing
    written = [write_plan(target, sources(name), place / name) for name in models]
    for model, one, answer in zip(models, written, ask(target, [one.directory for one in written]), strict=True):
        found = compare(target, one, answer)
        assert not found.faults, "\n".join([f"{target_name} of {model}:", *found.faults])


@pytest.mark.parametrize("target", TARGETS)
def test_tiny_models_are_loaded_as_planned(target: str, sources: Sources, tmp_path: Path) -> None:
    check(target, TINY[target], sources, tmp_path)


@pytest.mark.real
@pytest.mark.parametrize("target", [name for name, target in TARGETS.items() if target.real_in_ci])
def test_the_real_model_is_loaded_as_planned(target: str, sources: Sources, tmp_path: Path) -> None:
    check(target, sorted(REAL & set(TARGETS[target].models)), sources, tmp_path)


@pytest.mark.parametrize("target", TARGETS)
def test_the_plan_of_the_llama_has_every_format_that_the_engine_loads(target: str, sources: Sources) -> None:
    layers = sources("llama").description.layers
    plan = mixed_plan(TARGETS[target], layers, dtype="bfloat16")
    legal = {fmt.name for layer in layers for fmt in legal_formats(TARGETS[target], [layer])}
    assert {fmt.name for fmt in plan.values()} == legal | {"BF16"}


def test_what_is_not_as_planned_is_noticed(sources: Sources, tmp_path: Path) -> None:
    target = TARGETS["compressed-tensors"]
    written = write_plan(target, sources("qwen3_moe"), tmp_path / "written")
    (good,) = ask(target, [written.directory])
    assert not compare(target, written, good).faults
    assert good.logits is not None
    name = next(name for name, fmt in written.plan.items() if fmt.is_quantized)
    other = {**good.layers[name], "num_bits": 11}
    longer = replace(target, tensors=lambda directory: {**target.tensors(directory), f"{name}.more": 1})
    for checked, answer, said in (
        (target, replace(good, layers={**good.layers, name: other}), f"{name} was planned as"),
        (target, replace(good, layers={**good.layers, name: {}}), f"{name} was planned as"),
        (
            target,
            replace(good, layers={key: one for key, one in good.layers.items() if key != name}),
            "is no layer of the engine",
        ),
        (target, replace(good, logits=good.logits + 0.1), "logits differ by"),
        (target, replace(good, logits=good.logits * np.nan), "logits differ by nan"),
        (target, replace(good, logits=None, fault="no such kernel"), "not loaded: no such kernel"),
        (longer, good, "stored bits"),
    ):
        assert any(said in fault for fault in compare(checked, written, answer).faults)
