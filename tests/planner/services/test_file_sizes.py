"""Budgets of file bytes are of the files that are written: headers, index, metadata and tokenizer are in them."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import BudgetBelowFloorError
from planner.schemas.plans import BoundsRequest, BudgetSpec, PlanDocument, PlanRequest
from planner.schemas.sizes import Size
from planner.services import models, plans
from planner.services.planning_inputs import load_layers, select_layers
from planner.storage.database import Database
from planner.storage.tables import ModelRow
from tests import synthetic, tiny_models

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
FORMATS = {
    "generic": ("INT2_G64", "INT4_G64", "INT8_G64", "BF16"),
    "vllm": ("INT3_G64", "INT4_G64", "INT4_G64_ASYM", "FP8"),
    "llama.cpp": ("Q4_0", "Q8_0", "BF16"),
    "mlx": ("INT4_G64", "INT8_G64", "MXFP4"),
    "torchao": ("INT8_G64", "FP8", "BF16"),
    "openvino": ("INT4_G64", "INT8_CHANNEL"),
}


def registered(database: Database, source: Path, runtimes: tuple[str, ...] = tuple(FORMATS)) -> str:
    described = models.inspect(str(source))
    formats = tuple(dict.fromkeys(name for runtime in runtimes for name in FORMATS[runtime]))
    with database.session() as session:
        model = models.register(session, described)[0].id
        synthetic.add_cells(session, described, synthetic.setting(), formats=formats)
    return model


def plan(database: Database, model: str, runtime: str, **budget: int) -> PlanDocument:
    limit = BudgetSpec.model_validate(budget)
    request = PlanRequest(model=model, runtime=runtime, formats=list(FORMATS[runtime]), budget=limit, allow_slack=True)
    with database.session() as session:
        return plans.create_plan(session, request)


def floor(database: Database, model: str, runtime: str) -> BudgetBelowFloorError:
    with pytest.raises(BudgetBelowFloorError) as refused:
        plan(database, model, runtime, file_bytes=1)
    return refused.value


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runtime=st.sampled_from(["generic", "vllm", "llama.cpp", "mlx", "torchao"]), share=st.floats(0, 1))
def test_a_plan_takes_its_own_size_and_no_byte_less(database: Database, tmp_path: Path, runtime: str, share: float) -> None:
    source = tmp_path / "m"
    model = models.inspect(str(source)).fingerprint if source.exists() else registered(database, tiny_models.tiny_llama(source))
    least = int(str(floor(database, model, runtime).fields["smallest_feasible_bytes"]))
    most = plan(database, model, runtime, file_bytes=2**40).size.file_bytes
    budget = least + round(share * (most - least))
    found = plan(database, model, runtime, file_bytes=budget)
    assert least <= found.size.file_bytes <= budget
    again = plan(database, model, runtime, file_bytes=found.size.file_bytes)
    assert again.size == found.size
    assert again.predicted.loss == found.predicted.loss
    if found.size.file_bytes == least:
        with pytest.raises(BudgetBelowFloorError):
            plan(database, model, runtime, file_bytes=least - 1)
    else:
        assert plan(database, model, runtime, file_bytes=found.size.file_bytes - 1).size.file_bytes < found.size.file_bytes


def test_tensors_are_in_memory_and_headers_are_not(database: Database, tmp_path: Path) -> None:
    model = registered(database, tiny_models.tiny_llama(tmp_path / "m"))
    for runtime in FORMATS:
        size = plan(database, model, runtime, resident_bytes=2**40).size
        assert size.tensor_bytes is not None
        assert size.resident_bytes == size.tensor_bytes + size.kv_bytes
        assert size.file_bytes == size.tensor_bytes + (size.container_bytes or 0)
        assert (size.container_bytes is None) == (runtime == "openvino")


def test_the_floor_names_what_a_file_has_beside_tensors(database: Database, tmp_path: Path) -> None:
    model = registered(database, tiny_models.tiny_llama(tmp_path / "m"))
    refused = floor(database, model, "llama.cpp")
    assert "header, index and tokenizer of the file (" in str(refused)
    assert f"{refused.fields['smallest_feasible_bytes']:,} file bytes" in str(refused)
    size = plan(database, model, "llama.cpp", file_bytes=int(str(refused.fields["smallest_feasible_bytes"]))).size
    assert size.file_bytes == refused.fields["smallest_feasible_bytes"] == refused.fields["smallest_file_bytes"]
    assert refused.fields["floor_container_bytes"] == size.container_bytes
    assert refused.fields["floor_fixed_bytes"] == (size.tensor_bytes or 0) - -(-size.layer_bits // 8)
    assert "tokenizer" not in str(floor(database, model, "openvino"))


def test_what_is_not_counted_is_said(database: Database, tmp_path: Path) -> None:
    """Another tool's files, a model of a former version until it is registered again, a tokenizer that no GGUF is written of."""
    source = tiny_models.tiny_llama(tmp_path / "m")
    model = registered(database, source)
    with database.session() as session:
        session.get_one(ModelRow, model).rest = None
    former = plan(database, model, "mlx", file_bytes=2**40)
    assert "until the model is registered again" in former.notes[0]
    assert former.size.file_bytes == former.size.tensor_bytes
    with database.session() as session:
        models.register(session, models.inspect(str(source)))
    counted = plan(database, model, "mlx", file_bytes=2**40)
    assert not counted.notes
    assert counted.size.tensor_bytes == former.size.tensor_bytes
    assert counted.size.file_bytes == former.size.file_bytes + (counted.size.container_bytes or 0) > former.size.file_bytes
    assert not plan(database, model, "openvino", resident_bytes=2**40).notes
    assert plan(database, model, "openvino", file_bytes=2**40).notes == [
        "files for openvino are made by its own tools: file bytes count the tensors alone"
    ]
    (source / "tokenizer.json").unlink()
    other = registered(database, source)
    assert "no header and no tokenizer" in plan(database, other, "llama.cpp", file_bytes=2**40).notes[0]
    assert not plan(database, other, "vllm", file_bytes=2**40).notes


def test_a_template_counts_when_the_model_is_registered_again(database: Database, tmp_path: Path) -> None:
    """It is no part of a model's identity; what was remembered without it is forgotten."""
    source = tiny_models.tiny_llama(tmp_path / "m")
    model = registered(database, source)
    before = plan(database, model, "llama.cpp", file_bytes=2**40).size
    elsewhere = Path(shutil.copytree(source, tmp_path / "copy" / "m"))
    for directory in (elsewhere, source):
        (directory / "chat_template.jinja").write_text("{{ messages }}" * 100)
    with database.session() as session:
        models.register(session, models.inspect(str(elsewhere)))
    assert plan(database, model, "llama.cpp", file_bytes=2**40).size == before  # files are written from where it was first
    with database.session() as session:
        models.register(session, models.inspect(str(source)))
    after = plan(database, model, "llama.cpp", file_bytes=2**40).size
    assert (before.container_bytes or 0) + 1400 <= (after.container_bytes or 0) <= (before.container_bytes or 0) + 1500
    assert plan(database, model, "mlx", file_bytes=2**40).size.container_bytes


def test_what_is_remembered_counts_the_patterns_of_its_question(database: Database, tmp_path: Path) -> None:
    model = registered(database, tiny_models.tiny_llama(tmp_path / "m"), ("mlx",))
    taken = []
    with database.read_session() as session:
        load_layers(session, model)
    for pattern in ("*.none", "x" * 300):
        before = database.memory.bytes
        question = BoundsRequest(runtime="mlx", formats=["INT4_G64"], ignore=[pattern])
        with database.read_session() as session:
            select_layers(session, model, question)
            select_layers(session, model, question)
        taken.append(database.memory.bytes - before)
    assert taken[0] > 300
    assert taken[1] - taken[0] == 300 - len("*.none")


def test_a_model_that_was_moved_has_its_new_name_in_its_file(database: Database, tmp_path: Path) -> None:
    source = tiny_models.tiny_llama(tmp_path / "m")
    model = registered(database, source, ("llama.cpp",))
    before = plan(database, model, "llama.cpp", file_bytes=2**40).size.container_bytes or 0
    with database.session() as session:
        models.delete_model(session, model)
    moved = Path(shutil.move(source, tmp_path / f"m{'n' * 96}"))
    assert registered(database, moved, ("llama.cpp",)) == model
    assert plan(database, model, "llama.cpp", file_bytes=2**40).size.container_bytes == before + 96


def test_sizes_of_former_plans_are_read(database: Database) -> None:
    del database
    former = {"layer_bits": 8, "effective_bits": 4.0, "file_bytes": 3, "kv_bytes": 0, "resident_bytes": 3}
    size = Size.model_validate(former)
    assert (size.file_bytes, size.tensor_bytes, size.container_bytes) == (3, None, None)
