"""Files of other tools about ``synthetic.description()``: stored texts, and importance matrices that are made here."""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from numpy.typing import NDArray

from planner.importers import SourceFile
from planner.importers.names import ModelNames
from sensitivity.checkpoint.description import Layer
from tests import synthetic

DATA = Path(__file__).with_name("data")
MEASUREMENT = "exllamav2_measurement.json"
SCHEMES = ("autoround_scheme_00.json", "autoround_scheme_01.json")
SENSITIVITIES = "mlx_lm_sensitivities.json"
CONFIGURATION = "evo-kl-configuration-3.txt"
TENSORS = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}


def stored(name: str) -> SourceFile:
    return SourceFile(name, (DATA / name).read_bytes())


def toy_names() -> ModelNames:
    return ModelNames("llama", synthetic.description().layers)


def moments_of(layer: Layer) -> NDArray[np.float32]:
    """Second moments made up for a layer, positive."""
    seed = sum(layer.name.encode())
    return np.random.default_rng(seed).uniform(0.5, 2.0, layer.in_features).astype(np.float32)


def toy_moments() -> dict[str, NDArray[np.float32]]:
    """By GGUF's names, of all layers but the head."""
    layers = [layer for layer in synthetic.description().layers if layer.block is not None]
    return {f"blk.{layer.block}.{TENSORS[layer.kind]}.weight": moments_of(layer) for layer in layers}


def imatrix_gguf(path: Path, sums: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]) -> SourceFile:
    """An importance matrix in GGUF: Σx² and counts by tensor."""
    writer = GGUFWriter(str(path), arch="")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["made_up.txt"])
    writer.add_uint32("imatrix.chunk_count", 3)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, (squares, counts) in sums.items():
        writer.add_tensor(f"{name}.in_sum2", squares)
        writer.add_tensor(f"{name}.counts", counts)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return SourceFile(path.name, path.read_bytes())


def toy_gguf(path: Path, *, tokens: int = 1536) -> SourceFile:
    counts = np.array([tokens], dtype=np.float32)
    return imatrix_gguf(path, {name: (moments * tokens, counts) for name, moments in toy_moments().items()})


def imatrix_dat(moments: Mapping[str, NDArray[np.float32]], *, chunks: int = 3) -> SourceFile:
    """The older kind: means times chunks, then the number of chunks and the name of the text."""
    content = struct.pack("<i", len(moments))
    for name, values in moments.items():
        content += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", chunks, values.size)
        content += (values * chunks).astype("<f4").tobytes()
    text = b"made_up.txt"
    return SourceFile("imatrix.dat", content + struct.pack("<ii", chunks, len(text)) + text)


def table() -> SourceFile:
    """Losses of the layers of the blocks in the formats of exllamav3, as a table: fewer where there are more bits."""
    layers = [layer for layer in synthetic.description().layers if layer.block is not None]
    lines = [
        f"{layer.name},{layer.kind},EXL3_K{bits},{(1 + at) * 4.0**-bits},0.001"
        for at, layer in enumerate(layers)
        for bits in (2, 3, 4, 6)
    ]
    return SourceFile("losses.csv", "\r\n".join(["layer,kind,format,loss,standard_error", *lines, ""]).encode())
