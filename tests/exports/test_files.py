"""The files of weights that every writer makes have the bytes that plans promise, on disk."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2MoeConfig

from planner.containers import ContainedModel, container_of
from planner.containers.dense import dense_file_bytes
from planner.containers.registry import CONTAINERS
from planner.containers.safetensors import SafetensorsContainer
from planner.exports import ExportedModel, get_exporter
from planner.runtimes import RUNTIMES, get_runtime
from planner.services.models import inspect
from planner.worker import assignment_checkpoints
from planner.worker.checkpoint_writers import registry
from planner.worker.checkpoint_writers.fake import FakeWriter
from planner.worker.checkpoint_writers.port import PlannedCheckpoint
from planner.worker.checkpoint_writers.registry import writer_for
from sensitivity.checkpoint.description import Layer
from sensitivity.checkpoint.safetensors_header import read_directory
from sensitivity.errors import CheckpointError
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.packing import compressed_tensors_refusal
from sensitivity.layer_rounding import LayerRounding
from sensitivity.loading import LoadedModel, load_model
from sensitivity.writing import Files
from tests import tiny_models
from tests.exports.checkpoints import write_plan
from tests.exports.file_sizes import promised_bytes, tensor_bytes, written_bytes
from tests.exports.plans import mixed_plan
from tests.exports.targets import all_targets

WRITTEN = {name: target for name, target in all_targets().items() if not target.document}


def _qwen2_moe(directory: Path) -> Path:
    """A shared expert with a gate of one row, biases, and experts in every block."""
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 64}
    return tiny_models.write_model(directory, Qwen2MoeConfig(**sizes, **experts, intermediate_size=128))


SOURCES: dict[str, Callable[[Path], Path]] = {
    "llama": partial(tiny_models.tiny_llama, blocks=2, hidden=256, ffn=256),
    "tied": partial(tiny_models.tiny_llama, blocks=2, hidden=256, ffn=256, tied=True, dtype=torch.float16),
    "qwen3_moe": tiny_models.tiny_qwen3_moe,
    "qwen2_moe": _qwen2_moe,
    "mixtral": tiny_models.tiny_mixtral,
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    place = tmp_path_factory.mktemp("sources")
    return {name: load_model(inspect(str(build(place / name)))) for name, build in SOURCES.items()}


@pytest.mark.parametrize("model", SOURCES)
@pytest.mark.parametrize("target", WRITTEN)
def test_files_have_the_promised_bytes(target: str, model: str, sources: dict[str, LoadedModel], tmp_path: Path) -> None:
    written = write_plan(WRITTEN[target], sources[model], tmp_path / "written")
    assert written_bytes(written.directory) == written.promised
    assert written.promised is not None
    runtime = get_runtime(WRITTEN[target].runtime)
    assert 0 < written.promised - tensor_bytes(sources[model].description, written.plan, runtime) < 60_000


@pytest.mark.parametrize("model", ["tied", "qwen2_moe", "mixtral"])
def test_no_engine_in_particular_promises_what_compressed_tensors_packs(
    model: str, sources: dict[str, LoadedModel], tmp_path: Path
) -> None:
    """Sizes of the runtime are the formats' own; what the packing has beyond them is counted beside."""

    def packs(fmt: CandidateFormat, layer: Layer) -> bool:
        return compressed_tensors_refusal(fmt, layer.shape) is None

    target = replace(WRITTEN["compressed-tensors"], runtime="generic", loads=packs)
    written = write_plan(target, sources[model], tmp_path / "written")
    assert written.promised is not None
    assert 0 <= written.promised - written_bytes(written.directory) < 8


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("model", ["tied", "qwen2_moe"])
def test_dense_checkpoints_are_as_large_as_the_model(
    model: str, dtype: str, sources: dict[str, LoadedModel], tmp_path: Path
) -> None:
    loaded = sources[model]
    target = WRITTEN["compressed-tensors"]
    plan = mixed_plan(target, loaded.description.layers, dtype=loaded.description.dtype)
    assignment_checkpoints.write_assignment(
        loaded,
        plan,
        {},
        tmp_path / "fake",
        runtime=get_runtime(target.runtime),
        rounding=LayerRounding.of_assignments(loaded, "rtn", [plan]),
        writer=FakeWriter(dtype),
    )
    promised = dense_file_bytes(loaded.description, dtype)
    assert written_bytes(tmp_path / "fake") == promised
    assert promised is not None
    assert 0 < promised - loaded.description.parameters * (2 if dtype == "bfloat16" else 4) < 20_000


@pytest.mark.parametrize("target", [name for name in WRITTEN if name != "llama.cpp"])
@pytest.mark.parametrize("shard_bytes", [50_000, 200_000])
def test_several_files_and_their_index_have_the_promised_bytes(
    target: str, shard_bytes: int, sources: dict[str, LoadedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = CONTAINERS[target]
    assert isinstance(container, SafetensorsContainer)
    monkeypatch.setattr("planner.containers.registry.CONTAINERS", {target: replace(container, shard_bytes=shard_bytes)})

    def files(planned: PlannedCheckpoint) -> Files:
        return Files(planned.description.dtype, planned.file_bytes, shard_bytes)

    monkeypatch.setattr(PlannedCheckpoint, "files", property(files))
    written = write_plan(WRITTEN[target], sources["mixtral"], tmp_path / "written")
    assert written_bytes(written.directory) == written.promised
    files_found = read_directory(written.directory)  # checks headers, offsets, sizes and the index
    assert len(files_found) > 1 or shard_bytes == 200_000


@pytest.mark.parametrize("target", ["compressed-tensors", "llama.cpp"])
def test_a_byte_less_than_it_takes_is_refused_and_nothing_is_left(
    target: str, sources: dict[str, LoadedModel], tmp_path: Path
) -> None:
    found, runtime = sources["llama"].description, get_runtime(WRITTEN[target].runtime)
    plan = mixed_plan(WRITTEN[target], found.layers, dtype=found.dtype)
    exported = ExportedModel(found.fingerprint, found.source, found.architecture, found.dtype, found.layers)
    document = get_exporter(target).export(plan, exported, runtime)

    def write(directory: Path, file_bytes: int | None) -> Path:
        return assignment_checkpoints.write_assignment(
            sources["llama"],
            plan,
            document,
            directory,
            runtime=runtime,
            rounding=LayerRounding.of_assignments(sources["llama"], "rtn", [plan]),
            writer=writer_for(runtime, target),
            file_bytes=file_bytes,
        )

    least = written_bytes(write(tmp_path / "least", None))
    assert least <= promised_bytes(found, plan, runtime) <= least + 4_000
    assert written_bytes(write(tmp_path / "same", least)) == least
    with pytest.raises(CheckpointError, match=r"would have [\d,]+ bytes, and the plan promises"):
        write(tmp_path / "short", least - 1)
    assert {path.name for path in tmp_path.iterdir()} == {"least", "same"}


def test_each_runtime_writes_what_its_container_counts() -> None:
    for runtime in RUNTIMES.values():
        container = container_of(runtime)
        targets = [name for name in runtime.exports if name in registry._writers()]
        assert targets == ([] if container is None else [container.target])
    assert set(CONTAINERS) == set(registry._writers())


def test_the_bytes_beside_do_not_depend_on_the_plan(sources: dict[str, LoadedModel]) -> None:
    """They are those of a model, a runtime, and the layers that are ignored: more layers ignored, no larger."""
    found = sources["llama"].description
    facts: dict[str, Any] = {}
    for runtime in RUNTIMES.values():
        container = container_of(runtime)
        if container is not None:
            whole = container.bytes_beside(ContainedModel.of(found, found.rest or ()), found.layers, (), runtime)
            some = container.bytes_beside(ContainedModel.of(found, found.rest or ()), found.layers[4:], found.layers[:4], runtime)
            assert whole is not None
            assert some is not None
            assert 0 < some <= whole
            facts[runtime.name] = whole
    assert facts["mlx"] < facts["torchao"]
