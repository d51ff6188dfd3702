"""Checkpoints of plans from every kind of source: dense ones that plain transformers loads, and packed ones."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from planner.errors import ExportError, InvalidRequestError
from planner.schemas.plans import BudgetSpec, PlanDocument, PlanRequest
from planner.services import models, plans
from planner.storage.database import Database
from planner.worker.checkpoint_sources import open_source
from planner.worker.checkpoints import write_fake_checkpoint, write_plan_checkpoint
from sensitivity.checkpoint import describe
from sensitivity.checkpoint.description import ModelDescription
from sensitivity.errors import CheckpointError
from sensitivity.evaluation import replaced_weights
from sensitivity.formats.registry import all_formats, get_format
from sensitivity.layer_rounding import LayerRounding
from sensitivity.loading import load_model
from sensitivity.rounding import fake_quantize
from tests import synthetic, tiny_models

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
TOKENS = torch.arange(24).reshape(2, 12)
FORMATS = ("INT2_G64", "INT3_G64", "INT4_G64", "INT8_G64", "NF4_G64", "MXFP4", "NVFP4", "FP8", "BF16")
BLOCKS_OF_32 = tuple(fmt.name for fmt in all_formats() if fmt.name in {"Q4_0", "Q5_1", "Q8_0", "IQ4_NL"})


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    yield
    logging.enable_progress_bar()
    logging.set_verbosity_warning()


def planned(database: Database, source: Path, *, runtime: str = "generic", formats: tuple[str, ...] = FORMATS) -> PlanDocument:
    """A plan of a registered checkpoint that gives every format to some layer, from made-up cells."""
    described = models.inspect(str(source))
    how = synthetic.setting()
    layers = [layer for layer in described.layers if layer.kind != "lm_head"]
    with database.session() as session:
        model = models.register(session, described)[0].id
        synthetic.add_cells(session, described, how, formats=formats)
        pins = {layer.name: formats[number % len(formats)] for number, layer in enumerate(layers)}
        if runtime != "generic":
            pins = {}
        request = PlanRequest(
            model=model,
            runtime=runtime,
            formats=list(formats),
            pins=pins,
            budget=BudgetSpec(effective_bits=16 if pins else 5),
            allow_slack=True,
        )
        return plans.create_plan(session, request)


def logits(directory: Path) -> Tensor:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, local_files_only=True).eval()
    with torch.no_grad():
        found = model(input_ids=TOKENS).logits
    assert isinstance(found, Tensor)
    return found


def evaluated(source: Path, plan: PlanDocument) -> Tensor:
    """Logits as an evaluation has them: float32, with the rounding of a whole assignment."""
    model = load_model(describe(str(source)))
    assignment = {choice.layer: get_format(choice.format) for choice in plan.choices}
    rounding = LayerRounding.of_assignments(model, "rtn", [assignment])
    weights = {model.linears[layer]: rounding.fake_quantize(layer, fmt) for layer, fmt in assignment.items()}
    with torch.no_grad(), replaced_weights(weights):
        found = model.module(input_ids=TOKENS).logits
    assert isinstance(found, Tensor)
    return found


SOURCES = {
    "llama": lambda folder: tiny_models.tiny_llama(folder / "m"),
    "tied": lambda folder: tiny_models.tiny_qwen3(folder / "m"),
    "conv1d": lambda folder: tiny_models.tiny_gpt2(folder / "m"),
    "mixture": lambda folder: tiny_models.tiny_mixtral(folder / "m"),
    "gguf": lambda folder: tiny_models.tiny_gguf(folder / "m.gguf"),
    "tied gguf": lambda folder: tiny_models.tiny_gguf(folder / "m.gguf", tied=True),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_fake_quantized_checkpoint_is_the_evaluated_model(database: Database, tmp_path: Path, kind: str) -> None:
    source = SOURCES[kind](tmp_path)
    plan = planned(database, source, formats=(*FORMATS, *BLOCKS_OF_32))
    written = write_fake_checkpoint(database, plan.id, tmp_path / "fake", "float32")
    rounding = 1e-5 if kind == "mixture" else 0.0  # transformers sums experts in another order than a model loaded for measuring
    torch.testing.assert_close(logits(written), evaluated(source, plan), rtol=0, atol=rounding)
    assert json.loads((written / "config.json").read_text()).get("quantization_config") is None


def test_in_its_own_dtype_each_weight_is_rounded_once_more(database: Database, tmp_path: Path) -> None:
    source = tiny_models.tiny_llama(tmp_path / "m")
    plan = planned(database, source)
    written = write_fake_checkpoint(database, plan.id, tmp_path / "fake")
    found, stored = load_file(written / "model.safetensors"), load_file(source / "model.safetensors")
    assert found.keys() == stored.keys()
    chosen = {f"{choice.layer}.weight": get_format(choice.format) for choice in plan.choices}
    for name, tensor in found.items():
        assert tensor.dtype == torch.bfloat16
        expected = fake_quantize(stored[name], chosen[name]).bfloat16() if name in chosen else stored[name]
        assert torch.equal(tensor, expected), name
    whole = evaluated(source, plan)
    assert (logits(written) - whole).abs().max() < 0.02 * whole.abs().max()
    assert AutoTokenizer.from_pretrained(written)("two words")["input_ids"]


def test_only_the_files_of_the_model_are_read(database: Database, tmp_path: Path) -> None:
    """Shards of the index and nothing beside them; a tied head that is stored too is written once; names get their prefix."""
    source = tiny_models.tiny_gpt2(tmp_path / "m")
    expected = logits(source)
    stored = load_file(source / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in stored.items()}
    bare["lm_head.weight"] = bare["wte.weight"].clone()
    (source / "model.safetensors").unlink()
    names = sorted(bare)
    places: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: bare[name] for name in part}, source / file, {"format": "pt"})
        places |= dict.fromkeys(part, file)
    (source / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    save_file({"tok_embeddings.weight": torch.zeros(4, 4)}, source / "consolidated.safetensors")
    assert torch.equal(logits(source), expected)
    plan = planned(database, source, formats=("BF16",))
    written = write_fake_checkpoint(database, plan.id, tmp_path / "fake")
    assert load_file(written / "model.safetensors").keys() == {f"transformer.{name}" for name in bare if name != "lm_head.weight"}
    assert torch.equal(logits(written), expected)


@pytest.mark.parametrize("kind", ["llama", "tied", "mixture", "gguf", "tied gguf"])
def test_a_packed_checkpoint_takes_the_predicted_bytes(database: Database, tmp_path: Path, kind: str) -> None:
    source = SOURCES[kind](tmp_path)
    plan = planned(database, source, runtime="vllm", formats=("INT3_G64", "INT4_G64", "INT8_G64"))
    written = write_plan_checkpoint(database, plan.id, tmp_path / "packed")
    with safe_open(written / "model.safetensors", framework="pt") as file:
        names = list(file.keys())
        size = sum(tensor.numel() * tensor.element_size() for tensor in map(file.get_tensor, names))
    assert size == plan.size.tensor_bytes
    assert (written / "model.safetensors").stat().st_size == plan.size.file_bytes
    assert {f"{choice.layer}.weight_packed" for choice in plan.choices} <= set(names)


@pytest.mark.parametrize(
    ("runtime", "kind", "formats"),
    [
        ("llama.cpp", "llama", ("Q4_0", "Q8_0")),
        ("llama.cpp", "tied", ("Q4_0", "Q8_0")),
        ("llama.cpp", "gguf", ("Q4_0", "Q8_0")),
        ("llama.cpp", "tied gguf", ("Q4_0", "Q8_0")),
        ("mlx", "mixture", ("INT2_G32", "INT8_G32")),
        ("quanto", "tied gguf", ("INT2_CHANNEL", "INT4_CHANNEL", "INT8_CHANNEL")),
        ("generic", "gguf", ("INT3_G64", "INT4_G64_ASYM", "INT8_G64")),
    ],
)
def test_a_budget_of_file_bytes_is_kept_by_the_file(
    database: Database, tmp_path: Path, runtime: str, kind: str, formats: tuple[str, ...]
) -> None:
    first = planned(database, SOURCES[kind](tmp_path), runtime=runtime, formats=formats)
    budget = first.size.file_bytes - 1
    request = PlanRequest(model=first.model, runtime=runtime, formats=list(formats), budget=BudgetSpec(file_bytes=budget))
    with database.session() as session:
        plan = plans.create_plan(session, request)
    written = write_plan_checkpoint(database, plan.id, tmp_path / "packed")
    (weights,) = (path for path in written.iterdir() if path.suffix in (".safetensors", ".gguf"))
    assert plan.size.file_bytes - 7 * (runtime == "generic") <= weights.stat().st_size <= plan.size.file_bytes <= budget
    assert plan.size.container_bytes is not None
    if runtime == "llama.cpp" and kind != "tied":  # transformers reads no head_dim of Qwen3 from GGUF
        loaded = load_model(describe(str(weights)))
        assert loaded.tokenizer("two words")["input_ids"]


def test_what_is_not_planned_is_written_in_the_dtype_that_it_is_counted_in(database: Database, tmp_path: Path) -> None:
    """Whatever the configuration names, and though some norms are wider than the weights."""
    source = tiny_models.tiny_llama(tmp_path / "m")
    path = source / "model.safetensors"
    stored = {name: tensor.float() if "norm" in name else tensor for name, tensor in load_file(path).items()}
    save_file(stored, path, {"format": "pt"})
    tiny_models.edit_config(source, dtype="float32")
    plan = planned(database, source, runtime="vllm", formats=("INT4_G64", "INT8_G64"))
    written = write_plan_checkpoint(database, plan.id, tmp_path / "packed") / "model.safetensors"
    assert written.stat().st_size == plan.size.file_bytes
    assert {tensor.dtype for name, tensor in load_file(written).items() if "norm" in name or "embed" in name} == {torch.bfloat16}


def test_a_file_that_would_be_larger_than_its_plan_is_not_written(database: Database, tmp_path: Path) -> None:
    """The chat template is no part of a model's identity: one that was added later counts when the model is registered again."""
    source = tiny_models.tiny_llama(tmp_path / "m")
    plan = planned(database, source, runtime="llama.cpp", formats=("Q4_0", "Q8_0"))
    (source / "chat_template.jinja").write_text("{{ messages }}" * 100)
    with pytest.raises(CheckpointError, match="Register the model again"):
        write_plan_checkpoint(database, plan.id, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
    anew = planned(database, source, runtime="llama.cpp", formats=("Q4_0", "Q8_0"))
    assert anew.model == plan.model
    (written,) = write_plan_checkpoint(database, anew.id, tmp_path / "packed").glob("*.gguf")
    assert written.stat().st_size == anew.size.file_bytes > plan.size.file_bytes


def test_what_cannot_be_written(database: Database, tmp_path: Path) -> None:
    source = tiny_models.tiny_gpt2(tmp_path / "m")
    plan = planned(database, source, runtime="vllm", formats=("INT4_G64",))
    with pytest.raises(ExportError, match="Conv1D"):
        write_plan_checkpoint(database, plan.id, tmp_path / "packed")
    with pytest.raises(ExportError, match="no checkpoint of 'json'"):
        write_plan_checkpoint(database, plan.id, tmp_path / "packed", "json")
    with pytest.raises(InvalidRequestError, match="no dtype 'int8': use one of bfloat16"):
        write_fake_checkpoint(database, plan.id, tmp_path / "fake", "int8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    with pytest.raises(CheckpointError, match="not empty"):
        write_fake_checkpoint(database, plan.id, tmp_path / "full")
    assert {path.name for path in tmp_path.iterdir()} == {"m", "full", "bitplan.db"} | {
        path.name for path in tmp_path.glob("bitplan.db-*")
    }


def test_the_configuration_of_a_gguf_names_its_class(database: Database, tmp_path: Path) -> None:
    described: ModelDescription = describe(str(tiny_models.tiny_gguf(tmp_path / "m.gguf")))
    (tmp_path / "scratch").mkdir()
    found = open_source(load_model(described), tmp_path / "scratch")
    assert (found.config["architectures"], found.config["use_cache"]) == (["LlamaForCausalLM"], True)
    assert "tokenizer.json" in {path.name for path in found.companions}
