"""Models and curves made up in the database, for tests that need no weights: shapes of a Llama, losses from a seed."""

import hashlib
from dataclasses import replace

import numpy as np
from sqlalchemy.orm import Session

from planner.cells import Cell, ProbeSetting
from planner.schemas.calibrations import CreateCalibration
from planner.services import calibrations, models
from planner.storage.cells import store_cells
from sensitivity.checkpoint.description import Layer, ModelDescription, SourceKind
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus

FORMATS = ("INT2_G64", "INT3_G64", "INT4_G64", "INT5_G64", "INT6_G64", "INT8_G64", "FP8", "BF16")
TEXT = "Sizes are whole numbers of bits. " * 200


def description(*, blocks: int = 2, hidden: int = 128, name: str = "toy", head: bool = True) -> ModelDescription:
    """A Llama of seven layers a block; ``name`` makes the fingerprint."""
    shapes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (hidden // 2, hidden),
        "self_attn.v_proj": (hidden // 2, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (2 * hidden, hidden),
        "mlp.up_proj": (2 * hidden, hidden),
        "mlp.down_proj": (hidden, 2 * hidden),
    }
    layers = [
        Layer(f"model.layers.{block}.{path}", path.rpartition(".")[2], block, None, *shape)
        for block in range(blocks)
        for path, shape in shapes.items()
    ]
    if head:
        layers.append(Layer("lm_head", "lm_head", None, None, 256, hidden))
    return ModelDescription(
        source=f"/models/{name}",
        path=f"/models/{name}",
        revision=None,
        kind=SourceKind.SAFETENSORS,
        architecture="llama",
        dtype="bfloat16",
        fingerprint=hashlib.sha256(name.encode()).hexdigest(),
        blocks=blocks,
        parameters=sum(layer.parameters for layer in layers) + 256 * hidden,
        unquantized_bytes=2 * 256 * hidden,
        kv_elements_per_token=blocks * hidden,
        vocab_size=256,
        context_length=2048,
        layers=tuple(layers),
    )


def mixture(*, blocks: int = 2, experts: int = 4, hidden: int = 64, name: str = "mixture") -> ModelDescription:
    """A mixture: q_proj and o_proj of each block, and three layers of each routed expert."""
    dense = description(blocks=blocks, hidden=hidden, name=name, head=False)
    layers: list[Layer] = []
    for block in range(blocks):
        layers += [layer for layer in dense.layers if layer.block == block and layer.kind in ("q_proj", "o_proj")]
        layers += [
            Layer(f"model.layers.{block}.mlp.experts.{expert}.{kind}", kind, block, expert, *shape, 1 / experts)
            for expert in range(experts)
            for kind, shape in (("gate_proj", (32, hidden)), ("up_proj", (32, hidden)), ("down_proj", (hidden, 32)))
        ]
    return replace(dense, layers=tuple(layers), parameters=sum(layer.parameters for layer in layers) + 256 * hidden)


def add_model(session: Session, described: ModelDescription | None = None) -> str:
    """Register a made-up model; its id."""
    return models.register(session, described or description())[0].id


def add_calibration(session: Session, *, seed: int = 0) -> str:
    """A calibration set of a made-up text; its id."""
    request = CreateCalibration(
        text=TEXT, sequences=4, sequence_length=32, held_out_sequences=2, held_out_length=32, seed=seed, name="toy text"
    )
    return calibrations.create(session, calibrations.prepare(request))[0].id


def setting(calibration: str | None = None, *, probe: str = "fisher") -> ProbeSetting:
    """A probe setting of its own, which no job would measure in."""
    return ProbeSetting(probe, 1, "rtn", 1, calibration, {"made_up": "yes"}, in_nats=True, additive=True)


def add_cells(
    session: Session,
    described: ModelDescription,
    how: ProbeSetting,
    *,
    formats: tuple[str, ...] = FORMATS,
    seed: int = 0,
    head: bool = False,
) -> str:
    """Cells of every layer, the head only if asked for: losses that fall fourfold a bit, more or less; the setting's id."""
    random = np.random.default_rng(seed)
    layers = [layer for layer in described.layers if head or layer.kind != "lm_head"]
    scale = np.exp(random.normal(0.0, 1.0, len(layers)))
    cells = []
    for layer, size in zip(layers, scale, strict=True):
        for name in formats:
            candidate = get_format(name)
            loss = float(size * 4.0**-candidate.num_bits * np.exp(random.normal(0.0, 0.1))) if candidate.is_quantized else 0.0
            error = loss / 10
            total, squares = 16 * loss, 16 * (loss**2 + 15 * error**2)
            cells.append(Cell(layer.name, name, candidate.identity, CellStatus.MEASURED, loss, error, 16.0, total, squares))
    store_cells(session, described.fingerprint, how, cells)
    return how.id
