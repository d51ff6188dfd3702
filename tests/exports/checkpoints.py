"""Models, their mixed plans, and the checkpoints that the writers of the targets make of them."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import MixtralConfig, Qwen3MoeConfig

from planner.demo_model import smollm2_path
from planner.exports import ExportedModel, get_exporter
from planner.runtimes import get_runtime
from planner.services.models import inspect
from planner.worker.assignment_checkpoints import write_assignment
from planner.worker.checkpoint_writers.registry import writer_for
from sensitivity.evaluation import replaced_weights
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.layer_rounding import LayerRounding
from sensitivity.loading import LoadedModel, load_model
from tests.exports.engines.answer import fixed_tokens
from tests.exports.file_sizes import promised_bytes
from tests.exports.plans import mixed_plan
from tests.exports.target import Target
from tests.tiny_models import tiny_gpt2, tiny_llama, tiny_opt, write_model


@dataclass(frozen=True, slots=True)
class Written:
    """A plan, written.

    Attributes:
        directory: of the checkpoint.
        model: the model that it was made of.
        plan: format of each planned layer by name.
        promised: bytes of the files of weights, as a plan says them; ``None`` where no checkpoint is written.
    """

    directory: Path
    model: LoadedModel
    plan: Mapping[str, CandidateFormat]
    promised: int | None = None


def _mixture_sizes() -> dict[str, int]:
    return {
        "hidden_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 256,
        "max_position_embeddings": 512,
        "num_experts_per_tok": 2,
    }


def llama(directory: Path) -> Path:
    """Twelve blocks, so that there are a block 1 and a block 10, and widths that every block of 256 elements divides."""
    return tiny_llama(directory, blocks=12, hidden=256, ffn=512)


def qwen3_moe(directory: Path) -> Path:
    """Four experts in each of two blocks."""
    config = Qwen3MoeConfig(**_mixture_sizes(), head_dim=64, num_experts=4, moe_intermediate_size=256, norm_topk_prob=True)
    return write_model(directory, config)


def mixtral(directory: Path) -> Path:
    """Four experts in each of two blocks, in Mixtral's names."""
    return write_model(directory, MixtralConfig(**_mixture_sizes(), num_local_experts=4, intermediate_size=256))


def gpt2(directory: Path) -> Path:
    """Transposed layers, an embedding of positions, the head tied to the embedding."""
    return tiny_gpt2(directory, hidden=256)


def opt(directory: Path) -> Path:
    """An embedding of positions, the head tied to the embedding."""
    return tiny_opt(directory)


def smollm2(directory: Path) -> Path:
    """The real model, a GGUF file of the test environment."""
    return smollm2_path()


MODELS: dict[str, Callable[[Path], Path]] = {
    "llama": llama,
    "qwen3_moe": qwen3_moe,
    "mixtral": mixtral,
    "gpt2": gpt2,
    "opt": opt,
    "smollm2": smollm2,
}
REAL = frozenset({"smollm2"})


def load_source(name: str, directory: Path) -> LoadedModel:
    """Build one of ``MODELS`` and load it, every parameter rounded to the dtype that its checkpoints keep unquantized tensors in.

    That changes nothing but what was decoded from a GGUF file.
    """
    model = load_model(inspect(str(MODELS[name](directory / name))))
    kept: torch.dtype = getattr(torch, model.description.dtype)
    for parameter in model.module.parameters():
        parameter.data = parameter.data.to(kept).float()
    return model


def write_plan(target: Target, model: LoadedModel, directory: Path, *, seed: int = 0) -> Written:
    """A mixed plan of the model in the checkpoint that the target loads, by our own round-to-nearest."""
    found = model.description
    runtime = get_runtime(target.runtime)
    plan = mixed_plan(target, found.layers, dtype=found.dtype, seed=seed)
    exported = ExportedModel(found.fingerprint, found.source, found.architecture, found.dtype, found.layers)
    document = get_exporter(target.name).export(plan, exported, runtime)
    if target.document:
        shutil.copytree(found.path, directory)
        (directory / f"{target.document}.json").write_text(json.dumps(document[target.document]))
        return Written(directory, model, plan)
    promised = promised_bytes(found, plan, runtime)
    write_assignment(
        model,
        plan,
        document,
        directory,
        runtime=runtime,
        rounding=LayerRounding.of_assignments(model, "rtn", [plan]),
        writer=writer_for(runtime, target.name),
        file_bytes=promised,
    )
    return Written(directory, model, plan, promised)


@torch.no_grad()
def reference_logits(written: Written, dtype: str) -> NDArray[np.float32]:
    """Logits of our fake-quantized model for ``fixed_tokens``, in float32, all weights rounded to a dtype first."""
    model = written.model
    held: torch.dtype = getattr(torch, dtype)
    rounding = LayerRounding.of_assignments(model, "rtn", [written.plan])
    weights = {
        linear: (rounding.fake_quantize(name, written.plan[name]) if name in written.plan else linear.weight).to(held).float()
        for name, linear in model.linears.items()
    }
    with replaced_weights(weights):
        found: NDArray[np.float32] = model.module(input_ids=torch.from_numpy(fixed_tokens())).logits.numpy()
    return found
