"""What each importer makes of a file in its tool's schema, against the file read by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.errors import InvalidImportError
from planner.grouping import Tying
from planner.importers import IMPORTERS, ImportedAssignment, ImportedCells, ImportedMoments, SourceFile, choose_importer
from planner.importers.names import ModelNames
from planner.importers.source import read_source
from planner.services.curves import CSV_COLUMNS
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.foreign import mlx_affine
from sensitivity.formats.registry import get_format, resolve_format
from tests import synthetic
from tests.planner.importers import files
from tests.planner.strategies import expert_layers


def edited(name: str, **changes: Any) -> SourceFile:
    document = json.loads(files.stored(name).text) | changes
    return SourceFile(name, json.dumps(document).encode())


def read(*sources: SourceFile, names: ModelNames | None = None, **options: int | str) -> Any:
    importer = choose_importer(sources)
    return importer.read(sources, names or files.toy_names(), dict(importer.options) | options)


@pytest.mark.parametrize(
    ("name", "importer"),
    [
        (files.MEASUREMENT, "exllamav2"),
        (files.SCHEMES[0], "autoround"),
        (files.SENSITIVITIES, "mlx_lm"),
        (files.CONFIGURATION, "evopress"),
    ],
)
def test_files_are_told_apart_by_their_content(name: str, importer: str) -> None:
    assert [other.name for other in IMPORTERS.values() if other.detects(files.stored(name))] == [importer]


def test_an_option_of_exllamav2_is_a_format_of_its_module_and_its_shares_add_up() -> None:
    found = read(files.stored(files.MEASUREMENT))
    assert isinstance(found, ImportedCells)
    assert found.measured_together is Tying.MODULE
    assert not found.additive
    measured = json.loads(files.stored(files.MEASUREMENT).text)["measurement"]
    layers = {layer.name: layer for layer in synthetic.description().layers}
    assert set(found.losses) == set(layers) - {"lm_head"}
    for key, options in measured.items():
        if options is None:
            continue
        members = [name for name in found.losses if name.startswith(f"{key}.")]
        for index, option in enumerate(options):
            (fmt,) = {list(found.losses[name])[index] for name in members}
            assert sum(found.losses[name][fmt] for name in members) == pytest.approx(1 - option["accuracy"])
            stored_bits = sum(fmt.size_bits(layers[name].shape) for name in members)
            assert 0 <= stored_bits - option["total_bits"] < len(members)
            assert resolve_format(fmt.name.lower()).identity == fmt.identity


def test_exllamav2_experts_and_parallel_decoders() -> None:
    experts = expert_layers(experts=2)
    names = ModelNames("qwen3_moe", experts)
    weights = sum(layer.parameters for layer in experts)
    option = {"accuracy": 0.5, "total_bits": 4 * weights}
    document = {"measurement": {"model.layers.0.block_sparse_moe": [option]}, "last_module_idx": 1}
    found = read(SourceFile("m.json", json.dumps(document).encode()), names=names)
    assert {name: list(losses.values()) for name, losses in found.losses.items()} == {layer.name: [0.125] for layer in experts}
    toy = files.toy_names()
    attention, mlp = (sum(x.parameters for x in toy.of_block(0, roles)) for roles in (toy.family.attention, toy.family.mlp))
    both = {"attn": [{"accuracy": 0.9, "total_bits": 4 * attention}], "mlp": [{"accuracy": 1.0, "total_bits": 4 * mlp}]}
    document = {"measurement": {"model.layers.0.parallel_decoder": both}, "last_module_idx": 1}
    found = read(SourceFile("m.json", json.dumps(document).encode()))
    assert len(found.losses) == 7
    assert sum(value for losses in found.losses.values() for value in losses.values()) == pytest.approx(0.1)


def test_schemes_of_autoround_are_formats_of_ours() -> None:
    found = read(*map(files.stored, files.SCHEMES))
    assert isinstance(found, ImportedCells)
    assert found.additive
    assert found.parameters["run_dataset"] == "made up"
    for name, fmt in zip(files.SCHEMES, (get_format("INT2_G64"), get_format("INT4_G64")), strict=True):
        scores = json.loads(files.stored(name).text)["layer_scores"]
        assert {layer: losses[fmt] for layer, losses in found.losses.items()} == {k: loss for k, (_, loss) in scores.items()}


@pytest.mark.parametrize(
    ("scheme", "name"),
    [
        ({"bits": 4, "group_size": 128, "sym": False}, "INT4_G128_ASYM"),
        ({"bits": 8, "group_size": -1, "sym": True, "data_type": "int"}, "INT8_CHANNEL"),
        ({"bits": 4, "group_size": 32, "data_type": "mx_fp"}, "MXFP4"),
        ({"bits": 4, "group_size": 16, "data_type": "nv_fp", "act_bits": 4}, "AUTOROUND_NVFP4_A4"),
        ({"bits": 16, "act_bits": 16}, "BF16"),
    ],
)
def test_autoround_names_each_scheme(scheme: dict[str, Any], name: str) -> None:
    found = read(edited(files.SCHEMES[0], scheme=scheme))
    (fmt,) = {fmt for losses in found.losses.values() for fmt in losses}
    assert fmt == resolve_format(name)


@pytest.mark.parametrize(
    "scheme",
    [
        {"bits": 4, "group_size": 32, "super_bits": 6, "super_group_size": 8},
        {"bits": 8, "group_size": 32, "data_type": "mx_fp"},
        {"bits": 4, "group_size": 48},
    ],
)
def test_autoround_schemes_without_a_format_are_refused(scheme: dict[str, Any]) -> None:
    with pytest.raises(InvalidImportError, match=r"autoround_scheme_00.json, key 'scheme': .* has no candidate format"):
        read(edited(files.SCHEMES[0], scheme=scheme))


def test_autoround_files_must_be_of_one_run_and_of_different_schemes() -> None:
    first = files.stored(files.SCHEMES[0])
    config = json.loads(first.text)["cache_config"]
    with pytest.raises(InvalidImportError, match=r"scored in another way than autoround_scheme_00.json"):
        read(first, edited(files.SCHEMES[1], cache_config=config | {"nsamples": 5}))
    with pytest.raises(InvalidImportError, match="has the scores of INT2_G64 already"):
        read(first, first)


def test_sensitivities_of_mlx_are_nats_by_which_the_low_format_is_worse() -> None:
    found = read(files.stored(files.SENSITIVITIES))
    low, high = mlx_affine(4, 64), mlx_affine(5, 64)
    layers = {layer.name: layer for layer in synthetic.description().layers}
    expected = {
        name: value * layers[name].parameters / 1e6 for name, value in json.loads(files.stored(files.SENSITIVITIES).text)[1:]
    }
    assert {name: losses[low] for name, losses in found.losses.items()} == pytest.approx(expected)
    assert {losses[high] for losses in found.losses.values()} == {0.0}
    assert found.skipped == ("model.embed_tokens",)
    assert low.size_bits((64, 128)) == 64 * 128 * 4.5
    wide = read(files.stored(files.SENSITIVITIES), low_bits=2, low_group_size=32)
    assert {fmt.name for losses in wide.losses.values() for fmt in losses} == {"MLX_AFFINE2_G32", "MLX_AFFINE5_G64"}
    with pytest.raises(InvalidImportError, match="no affine format of 7 bits"):
        read(files.stored(files.SENSITIVITIES), low_bits=7)
    with pytest.raises(InvalidImportError, match="both MLX_AFFINE5_G64"):
        read(files.stored(files.SENSITIVITIES), low_bits=5)


def test_a_stack_of_experts_of_mlx_is_shared_out() -> None:
    experts = expert_layers(experts=4)
    pairs = [["model.layers.0.mlp.gate", 3.0], ["model.layers.0.mlp.switch_mlp.up_proj", 2.0]]
    found = read(SourceFile("s.json", json.dumps(pairs).encode()), names=ModelNames("qwen3_moe", experts))
    ups = [layer for layer in experts if layer.kind == "up_proj"]
    assert {name: losses[mlx_affine(4, 64)] for name, losses in found.losses.items()} == {
        layer.name: 2.0 * layer.parameters / 1e6 for layer in ups
    }
    assert found.measured_together is Tying.PROJECTION
    assert found.skipped == ("model.layers.0.mlp.gate",)


def test_experts_are_found_under_the_names_of_both_generations_of_transformers() -> None:
    layers = tuple(
        Layer(f"model.layers.0.block_sparse_moe.experts.{expert}.{kind}", kind, 0, expert, 64, 64)
        for expert in range(2)
        for kind in ("w1", "w2", "w3")
    )
    names = ModelNames("mixtral", layers)
    file = SourceFile("s.json", b"")
    for expert in range(2):
        for theirs, ours in (("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2")):
            layer = names.by_name[f"model.layers.0.block_sparse_moe.experts.{expert}.{ours}"]
            assert names.find(f"model.layers.0.mlp.experts.{expert}.{theirs}", file) is layer
            assert names.find(layer.name, file) is layer
            assert layer in names.experts_of(0, projection=theirs)
    assert [layer.kind for layer in names.gguf["blk.0.ffn_gate_exps.weight"]] == ["w1", "w1"]
    with pytest.raises(InvalidImportError, match="no such layer"):
        names.find("model.layers.0.mlp.experts.2.up_proj", file)


def test_a_configuration_of_evopress_is_an_assignment() -> None:
    found = read(files.stored(files.CONFIGURATION))
    assert isinstance(found, ImportedAssignment)
    lines = dict(line.split(": ") for line in files.stored(files.CONFIGURATION).text.splitlines())
    assert {name: fmt.name for name, fmt in found.formats.items()} == {k: f"INT{v}_G128_ASYM" for k, v in lines.items()}
    grouped = files.stored(files.CONFIGURATION).text.replace("q_proj: 2\n", "q_proj,", 1)
    found = read(SourceFile("c.txt", grouped.encode()), level_format="INT{level}_G64")
    assert found.formats["model.layers.0.self_attn.q_proj"] == found.formats["model.layers.0.self_attn.k_proj"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model.layers.0.self_attn.q_proj: 2.5625 (2.5625-Q2_K.pth)", "line 1.*stored as 2.5625-Q2_K.pth"),
        ("model.layers.0.self_attn.q_proj: 9", "line 1.*level 9 is no format"),
        ("model.layers.0.self_attn.q_proj: 4", "13 layers of the model have no level"),
        ("model.layers.0.self_attn.q_proj: 4\nmodel.layers.0.self_attn.q_proj: 4", "there twice"),
        ("model.layers.0.self_attn.q_proj: 4\n\n", "line 2.*a layer and its level are expected"),
        ("model.layers.7.self_attn.q_proj: 4", "no such layer .*the file seems to be of another model"),
    ],
)
def test_configurations_that_cannot_be_a_plan(text: str, message: str) -> None:
    with pytest.raises(InvalidImportError, match=message):
        read(SourceFile("c.txt", text.encode()))


def test_both_kinds_of_imatrix_hold_the_same_moments(tmp_path: Path) -> None:
    layers = [layer for layer in synthetic.description().layers if layer.block is not None]
    for source in (files.toy_gguf(tmp_path / "imatrix.gguf"), files.imatrix_dat(files.toy_moments())):
        assert [other.name for other in IMPORTERS.values() if other.detects(source)] == ["imatrix"]
        found = read(source)
        assert isinstance(found, ImportedMoments)
        assert set(found.moments) == {layer.name for layer in layers}
        for layer in layers:
            np.testing.assert_allclose(found.moments[layer.name], files.moments_of(layer), rtol=1e-6)
    assert read(files.toy_gguf(tmp_path / "i.gguf")).parameters == {"schema": "gguf", "chunk_count": 3, "chunk_size": 512}


def test_experts_of_an_imatrix_have_moments_of_their_own_and_some_are_silent(tmp_path: Path) -> None:
    experts = tuple(layer for layer in expert_layers(experts=3) if layer.kind == "up_proj")
    squares = np.arange(3 * 128, dtype=np.float32).reshape(3, 128)
    counts = np.array([[2.0], [0.0], [4.0]], dtype=np.float32)
    source = files.imatrix_gguf(tmp_path / "i.gguf", {"blk.0.ffn_up_exps.weight": (squares, counts)})
    found = read(source, names=ModelNames("qwen3_moe", experts))
    assert found.silent == (experts[1].name,)
    np.testing.assert_allclose(found.moments[experts[2].name], squares[2] / 4)
    dat = files.imatrix_dat({"blk.0.ffn_up_exps.weight": squares})
    np.testing.assert_allclose(read(dat, names=ModelNames("qwen3_moe", experts)).moments[experts[1].name], squares[1])


def test_an_imatrix_of_another_model_or_architecture_is_refused(tmp_path: Path) -> None:
    source = files.imatrix_dat({"blk.0.attn_q.weight": np.ones(64, dtype=np.float32)})
    with pytest.raises(InvalidImportError, match="64 moments, and the model needs 1 × 128"):
        read(source)
    with pytest.raises(InvalidImportError, match="GGUF's tensor names of a opt are not known"):
        read(source, names=ModelNames("opt", (Layer("model.decoder.layers.0.fc1", "fc1", 0, None, 4, 4),)))
    negative = files.imatrix_dat({"blk.0.attn_q.weight": np.full(128, -1, dtype=np.float32)})
    with pytest.raises(InvalidImportError, match="finite and not negative"):
        read(negative)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"measurement": {"model.layers.0.mlp": [{"accuracy": 0.9}]}}, r"mlp\[0\].total_bits.*a number is expected, not null"),
        (
            {"measurement": {"model.layers.0.mlp": [{"accuracy": -0.1, "total_bits": 400000}]}},
            r"accuracy.*not a number from 0 to 1",
        ),
        ({"measurement": {"model.layers.0.mlp": [{"accuracy": 0.9, "total_bits": 4}]}}, "of another model"),
        ({"measurement": {"model.layers.0.mlp": []}}, "0 options"),
        ({"measurement": {"model.layers.9.mlp": [{}]}}, "no such layer"),
        ({"measurement": {"model.layers.0.block_sparse_moe": [{}]}}, "has no such module"),
        ({"measurement": 3}, "'measurement': an object is expected, not a number"),
    ],
)
def test_measurements_that_cannot_be(edit: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidImportError, match=message) as error:
        read(edited(files.MEASUREMENT, **edit))
    assert str(error.value).startswith("exllamav2_measurement.json")
    assert "nothing was imported" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[["lm_head", NaN]]', "NaN is no number"),
        ('[["lm_head", 1e999]]', "1e999 is too large"),
        ('[["lm_head", true]]', "a number is expected, not true or false"),
        ('[["lm_head", 1], ["lm_head", 2]]', "there twice"),
        ('[["lm_head", ' + "9" * 5000 + "]]", "no usable JSON"),
        ('[["lm_head", ' + "9" * 400 + "]]", "is not a number from"),
        ("[" * 100_000, "nested too deeply|no usable JSON"),
        ('[["' + "x" * 1000 + '.mlp.gate", 1]]', "a name of a layer has 1,009 characters"),
        ("[" + "[]," * 2_000_000 + "[]]", "more than 2,097,152 values"),
        ('{"a": 1, "a": 2}', "key 'a' appears twice"),
    ],
)
def test_json_is_read_strictly(text: str, message: str) -> None:
    importer = IMPORTERS["mlx_lm"]
    with pytest.raises(InvalidImportError, match=message):
        importer.read([SourceFile("s.json", text.encode())], files.toy_names(), importer.options)


def test_a_table_is_read_as_it_stands() -> None:
    found = read(files.table())
    assert isinstance(found, ImportedCells)
    assert [other.name for other in IMPORTERS.values() if other.detects(files.table())] == ["table"]
    assert found.measured_together is Tying.FREE
    assert set(found.losses) == {layer.name for layer in synthetic.description().layers if layer.block is not None}
    assert found.losses["model.layers.1.mlp.down_proj"] == {resolve_format(f"EXL3_K{b}"): 14 * 4.0**-b for b in (2, 3, 4, 6)}


def test_a_table_of_curves_reads_what_curves_write() -> None:
    name = "model.layers.0.mlp.up_proj"
    lines = (",".join(CSV_COLUMNS), f"{name},up_proj,0,INT4_G64,measured,0.25,0.01,", f"{name},up_proj,0,INT3_G64,failed,,,")
    text = "\ufeff" + "\r\n".join((*lines, "", ""))
    found = read(SourceFile("curves.csv", text.encode()), SourceFile("more.csv", b"loss,layer,format\n-1,lm_head,bf16\n"))
    assert found.losses == {name: {get_format("INT4_G64"): 0.25}, "lm_head": {get_format("BF16"): -1.0}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer,format\n", "must name the columns layer, format, loss, each once; look at loss"),
        ("layer,format,loss,loss\n", "look at loss"),
        ("layer,format,loss\n", "no loss of a layer"),
        ("layer,format,loss\nlm_head,BF16,\n", "no loss of a layer"),
        ("layer,format,loss\nlm_head,BF16\n", "'line 2': 3 values are expected, not 2"),
        ("layer,format,loss\nlm_head,BF16,much\n", "'line 2': a loss is a number, not 'much'"),
        ("layer,format,loss\nlm_head,BF16,nan\n", "'line 2': nan is not a number"),
        ("layer,format,loss\nlm_head,BF16,1e999\n", "'line 2': inf is not a number"),
        ("layer,format,loss\nlm_head,BF61,1\n", "'line 2': unknown format 'BF61'"),
        ("layer,format,loss\nlm_head,BF16,1\nlm_head,bf16,2\n", "'line 3': lm_head in BF16 is there twice"),
        ("layer,format,loss\nlm_tail,BF16,1\n", "the model has no such layer"),
        ('layer,format,loss\n"lm_head,BF16,1\n', "it is no CSV"),
    ],
)
def test_tables_that_cannot_be_read(text: str, message: str) -> None:
    importer = IMPORTERS["table"]
    with pytest.raises(InvalidImportError, match=message):
        importer.read([SourceFile("t.csv", text.encode())], files.toy_names(), importer.options)


def test_what_is_of_no_tool_or_of_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidImportError, match=r"readme.md is of no known kind"):
        choose_importer([SourceFile("readme.md", b"# hello")])
    with pytest.raises(InvalidImportError, match=r"written by exllamav2, mlx_lm_sensitivities.json by mlx-lm"):
        choose_importer([files.stored(files.MEASUREMENT), files.stored(files.SENSITIVITIES)])
    with pytest.raises(InvalidImportError, match="no importer is called 'hope'"):
        choose_importer([files.stored(files.MEASUREMENT)], "hope")
    with pytest.raises(InvalidImportError, match="no file to import"):
        choose_importer([])
    with pytest.raises(InvalidImportError, match=r"cannot read .*gone.json"):
        read_source(tmp_path / "gone.json")
