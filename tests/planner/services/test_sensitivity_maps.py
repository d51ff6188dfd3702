"""The map of a model's losses: what a tile says is what its cells say, for one layer and for experts."""

from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np
import pytest

from planner.cells import Cell
from planner.errors import NotFoundError, UnmeasuredError
from planner.services import curves
from planner.services.sensitivity_maps import prepare_map, sensitivity_map
from planner.storage.cells import store_cells
from planner.storage.database import Database
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.families import get_cell_format
from sensitivity.formats.registry import get_format
from sensitivity.statistics import CellStatus
from tests import synthetic

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def mixture(experts: int = 5) -> list[Layer]:
    """Two blocks of one dense layer and some experts."""
    dense = [Layer(f"model.layers.{block}.self_attn.q_proj", "q_proj", block, None, 64, 128) for block in range(2)]
    routed = [
        Layer(f"model.layers.{block}.mlp.experts.{expert}.up_proj", "up_proj", block, expert, 32, 128)
        for block in range(2)
        for expert in range(experts)
    ]
    return [*dense, *routed]


def test_a_tile_of_one_layer_is_its_cells(database: Database) -> None:
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
    with database.read_session() as session:
        found, cells = sensitivity_map(session, "toy"), curves.get_curves(session, "toy").items
    assert [fmt.name for fmt in found.formats] == found.setting.formats
    assert len(found.tiles) == found.layers == 14
    by_name = {(cell.layer, cell.format): cell for cell in cells}
    shapes = {layer.name: layer.shape for layer in described.layers}
    for tile in found.tiles:
        for k, fmt in enumerate(found.formats):
            cell = by_name[tile.pattern, fmt.name]
            assert tile.loss[k] == cell.loss
            assert tile.standard_error[k] == cell.standard_error
            assert tile.bytes[k] == get_format(fmt.name).size_bits(shapes[tile.pattern]) / 8
            assert tile.spread[k] is None


def test_experts_share_a_tile_with_how_they_lie(database: Database) -> None:
    described = replace(synthetic.description(name="mix"), layers=tuple(mixture()))
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
    with database.read_session() as session:
        found, cells = sensitivity_map(session, "mix"), curves.get_curves(session, "mix", formats=["INT4_G64"]).items
    assert [(tile.block, tile.kind, tile.layers) for tile in found.tiles] == [
        *[(block, "q_proj", 1) for block in range(2)],
        *[(block, "up_proj", 5) for block in range(2)],
    ]
    tile, column = found.tiles[2], [fmt.name for fmt in found.formats].index("INT4_G64")
    own = [cell for cell in cells if fnmatchcase(cell.layer, tile.pattern)]
    assert tile.pattern == "model.layers.0.mlp.experts.*.up_proj"
    losses = sorted(cell.loss or 0.0 for cell in own)
    assert len(own) == 5
    assert tile.loss[column] == pytest.approx(np.mean(losses))
    assert tile.standard_error[column] == pytest.approx(np.sqrt(sum((cell.standard_error or 0) ** 2 for cell in own)) / 5)
    spread = tile.spread[column]
    assert spread is not None
    assert [spread.least, spread.lower, spread.median, spread.upper, spread.greatest] == losses


def test_a_tile_that_is_measured_in_part_counts_all_its_layers(database: Database) -> None:
    described = replace(synthetic.description(name="mix"), layers=tuple(mixture()))
    part = replace(described, layers=tuple(layer for layer in described.layers if layer.expert in (1, 4) and layer.block == 0))
    with database.session() as session:
        synthetic.add_model(session, described)
        whole = synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
        some = synthetic.add_cells(session, part, synthetic.setting(probe="weight_error"))
    with database.read_session() as session:
        all_of_it, found = (sensitivity_map(session, "mix", setting=setting) for setting in (whole, some))
        cells = curves.get_curves(session, "mix", setting=some, formats=["INT4_G64"]).items
    (tile,) = found.tiles
    (own,) = [one for one in all_of_it.tiles if one.pattern == tile.pattern]
    column = [fmt.name for fmt in found.formats].index("INT4_G64")
    assert (found.layers, tile.layers, tile.measured[column], own.measured[column]) == (2, 5, 2, 5)
    assert (tile.name, tile.weights, tile.bytes) == (own.name, own.weights, own.bytes)
    assert tile.loss[column] == pytest.approx(np.mean([cell.loss or np.nan for cell in cells]))
    assert len(found.extremes[column].most) == 2


def test_the_ends_are_those_of_a_full_sort(database: Database) -> None:
    described = synthetic.description(blocks=6)
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
    with database.read_session() as session:
        found, cells = sensitivity_map(session, "toy"), curves.get_curves(session, "toy", formats=["INT3_G64"]).items
    (ends,) = [item for item in found.extremes if item.format == "INT3_G64"]
    order = [cell.layer for cell in sorted(cells, key=lambda cell: cell.loss or 0.0)]
    assert [item.layer for item in ends.least] == order[:8]
    assert [item.layer for item in ends.most] == order[:-9:-1]
    density = {item.layer: item.loss_per_megabyte for item in ends.most_per_megabyte}
    assert all(
        value == pytest.approx(item.loss / item.bytes * 1e6)
        for item in ends.most
        if (value := density.get(item.layer)) and item.bytes
    )
    assert list(density.values()) == sorted(density.values(), reverse=True)  # type: ignore[type-var]


def test_what_has_no_number_has_a_reason_and_no_place_in_the_order(database: Database) -> None:
    layer, fmt = "model.layers.0.self_attn.q_proj", get_format("INT4_G64")
    cell = Cell(layer, fmt.name, fmt.identity, CellStatus.NO_TOKENS, None, None, 0.0, None, None)
    with database.session() as session:
        store_cells(session, synthetic.add_model(session), synthetic.setting(), [cell])
    with database.read_session() as session:
        found = sensitivity_map(session, "toy")
    (tile,), (ends,) = found.tiles, found.extremes
    assert (tile.loss, tile.measured, tile.status, tile.pattern) == ([None], [0], ["no_tokens"], layer)
    assert ends.most == ends.least == ends.most_per_megabyte == []


@pytest.mark.parametrize(("probe", "name", "unit"), [("kurtosis", "ANY", "ranking"), ("kv_cache", "K_INT4", "nats/token")])
def test_numbers_of_no_weight_format_have_a_place_too(database: Database, probe: str, name: str, unit: str) -> None:
    layer, fmt = "model.layers.1.self_attn.k_proj", get_cell_format(name)
    cell = Cell(layer, name, fmt.identity, CellStatus.MEASURED, 4.5, None, 1.0, 4.5, 20.25)
    with database.session() as session:
        store_cells(session, synthetic.add_model(session), synthetic.setting(probe=probe), [cell])
    with database.read_session() as session:
        found = sensitivity_map(session, "toy")
    (tile,), (ends,) = found.tiles, found.extremes
    assert (found.unit, found.formats[0].bits) == (unit, fmt.num_bits)
    assert (tile.loss, tile.bytes, tile.standard_error) == ([4.5], [None], [None])
    assert [item.layer for item in ends.most] == [layer]
    assert ends.most_per_megabyte == []


def test_what_is_measured_later_is_in_the_next_map(database: Database) -> None:
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
        how = synthetic.setting(synthetic.add_calibration(session))
        synthetic.add_cells(session, described, how, formats=("INT4_G64",))
    with database.read_session() as session:
        before = sensitivity_map(session, "toy")
    with database.session() as session:
        synthetic.add_cells(session, described, how, formats=("INT8_G64",))
    with database.read_session() as session:
        assert [fmt.name for fmt in sensitivity_map(session, "toy").formats] == ["INT4_G64", "INT8_G64"]
    assert [fmt.name for fmt in before.formats] == ["INT4_G64"]


def test_a_map_that_was_prepared_is_not_drawn_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    described = synthetic.description()
    with database.session() as session:
        synthetic.add_model(session, described)
    prepare_map(database, "toy")  # of which nothing was measured yet
    prepare_map(database, "nobody")
    with database.session() as session:
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
    prepare_map(database, "toy")
    monkeypatch.setattr("planner.services.sensitivity_maps.load_curves", None)
    with database.read_session() as session:
        found = sensitivity_map(session, "toy")
        assert sensitivity_map(session, "toy", setting=found.setting.id).tiles == found.tiles


def test_nothing_measured_and_no_such_setting_are_said(database: Database) -> None:
    with database.session() as session:
        synthetic.add_model(session)
    with database.read_session() as session:
        with pytest.raises(UnmeasuredError, match="bitplan measure"):
            sensitivity_map(session, "toy")
        with pytest.raises(NotFoundError):
            sensitivity_map(session, "toy", setting="00")
