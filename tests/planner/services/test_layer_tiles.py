"""Layers as tiles: rows told apart, experts together, and patterns that match exactly the layers of their tile."""

from collections import Counter
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.rules import matching
from planner.schemas.plan_previews import PlanPreview
from planner.schemas.plans import PlanRequest
from planner.services.layer_tiles import LayerTiles, model_tiles, tiles_of
from planner.services.plan_previews import preview_plan
from planner.services.plan_views import tiles, view_plan
from planner.services.plans import create_plan
from planner.services.sensitivity_maps import sensitivity_map
from planner.storage.database import Database
from planner.storage.tables import ModelRow
from sensitivity.checkpoint.description import Layer
from tests import synthetic
from tests.planner.services.stored_plans import cached_model

GPT2 = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def layer(name: str, block: int | None = None, expert: int | None = None, *, kind: str | None = None) -> Layer:
    return Layer(name, kind or name.rpartition(".")[2], block, expert, 64, 64)


def in_blocks(path: str, roles: tuple[str, ...], blocks: range) -> list[Layer]:
    return [layer(f"{path}.{block}.{role}", block) for block in blocks for role in roles]


def experts(path: str, block: int, count: int, *kinds: str) -> list[Layer]:
    return [layer(f"{path}.{expert}.{kind}", block, expert) for expert in range(count) for kind in kinds]


def rows(found: LayerTiles) -> list[str]:
    """Labels of the rows, in their order; each is of one row alone."""
    labels = {tile.row_index: tile.row for tile in found.tiles}
    assert len(set(labels.values())) == len(labels)
    assert sorted(labels) == list(range(len(labels)))
    return [labels[at] for at in sorted(labels)]


def check(layers: list[Layer]) -> LayerTiles:
    """Every tile's pattern matches exactly its layers; no two tiles are in one place of a picture."""
    found = tiles_of(layers)
    names = [one.name for one in layers]
    for at, tile in enumerate(found.tiles):
        assert {name for name in names if fnmatchcase(name, tile.pattern)} == {names[i] for i in (found.tile == at).nonzero()[0]}
    assert max(Counter((tile.row, tile.block) for tile in found.tiles).values()) == 1
    assert [tile.pattern for tile in found.tiles] == [found.tile_of(name).pattern for name in _firsts(found)]
    return found


def _firsts(found: LayerTiles) -> list[str]:
    """The first layer of each tile, in model order."""
    firsts: dict[int, str] = {}
    for name, place in found.places.items():
        firsts.setdefault(int(found.tile[place]), name)
    return list(firsts.values())


def test_two_layers_of_one_kind_in_a_block_are_two_rows() -> None:
    found = check([*in_blocks("transformer.h", GPT2, range(12)), layer("lm_head")])
    assert rows(found) == ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj", "lm_head"]
    assert found.tile_of("transformer.h.11.attn.c_proj").name(1) == "attn.c_proj of block 11"
    assert found.tile_of("transformer.h.1.mlp.c_proj").pattern == "transformer.h.1.mlp.c_proj"
    assert found.tile_of("lm_head").name(1) == "lm_head"


def test_experts_of_a_projection_are_a_tile_beside_dense_and_shared_layers() -> None:
    attention = in_blocks("model.layers", ("self_attn.q_proj",), range(12))
    dense = in_blocks("model.layers", ("mlp.up_proj",), range(1))
    shared = in_blocks("model.layers", ("mlp.shared_expert.up_proj",), range(1, 12))
    routed = [one for block in range(1, 12) for one in experts(f"model.layers.{block}.mlp.experts", block, 101, "up_proj")]
    found = check([*attention, *dense, *shared, *routed])
    assert rows(found) == ["q_proj", "mlp.up_proj", "shared_expert.up_proj", "experts.up_proj"]
    tile = found.tile_of("model.layers.1.mlp.experts.100.up_proj")
    assert (tile.pattern, tile.name(101)) == ("model.layers.1.mlp.experts.*.up_proj", "experts.up_proj of block 1, 101 experts")
    assert len(matching(tile.pattern, [*attention, *dense, *shared, *routed], of="pin")) == 101
    assert found.tile_of("model.layers.11.mlp.experts.1.up_proj").pattern == "model.layers.11.mlp.experts.*.up_proj"


def test_a_block_with_one_expert_is_called_by_its_name() -> None:
    found = check(experts("model.layers.0.mlp.experts", 0, 1, "w1"))
    assert (found.tiles[0].pattern, found.tiles[0].name(1)) == ("model.layers.0.mlp.experts.0.w1", "w1 of block 0, 1 expert")


def test_encoder_and_decoder_are_rows_of_their_own() -> None:
    encoder = ("layer.0.SelfAttention.q", "layer.1.DenseReluDense.wi")
    decoder = ("layer.0.SelfAttention.q", "layer.1.EncDecAttention.q", "layer.2.DenseReluDense.wi")
    layers = [*in_blocks("encoder.block", encoder, range(3)), *in_blocks("decoder.block", decoder, range(3)), layer("lm_head")]
    assert rows(check(layers)) == [
        "encoder…q",
        "encoder…wi",
        "decoder…SelfAttention.q",
        "EncDecAttention.q",
        "decoder…wi",
        "lm_head",
    ]


def test_blocks_that_differ_have_rows_of_their_own() -> None:
    mamba = in_blocks("model.layers", ("mixer.in_proj", "mixer.out_proj"), range(2))
    attention = in_blocks("model.layers", ("self_attn.q_proj", "self_attn.out_proj"), range(2, 3))
    found = check([*mamba, *attention])
    assert rows(found) == ["in_proj", "mixer.out_proj", "q_proj", "self_attn.out_proj"]


def test_a_pattern_of_experts_leaves_out_what_is_called_like_them() -> None:
    path = "m.0.experts"
    layers = [*experts(path, 0, 11, "p", "x.p"), layer(f"{path}.shared.p", 0), layer(f"{path}.p", 0)]
    found = check(layers)
    assert found.tile_of(f"{path}.10.p").pattern == f"{path}.*[0-9].p"
    assert found.tile_of(f"{path}.10.x.p").pattern == f"{path}.*.x.p"
    nested = check(experts(path, 0, 11, "p", "4.p"))  # `*` stands for every number of figures, and for dots too
    assert nested.tile_of(f"{path}.10.p").pattern == f"{path}.10.p", "no pattern matches these experts alone"


def test_a_character_that_means_something_in_patterns_stands_for_itself() -> None:
    found = check([layer("a[1]"), layer("a1"), layer("m.0.b*c.d", 0), layer("m.0.bxc.d", 0)])
    assert found.tiles[0].pattern == "a[[]1]"


def test_a_head_is_called_by_its_kind_and_numbers_of_a_name_alone_are_no_block() -> None:
    found = check(
        [layer("embed_out", kind="lm_head"), layer("visual.0.q"), layer("visual.1.q"), layer("0.w", 0), layer("1.w", 1)]
    )
    assert rows(found)[0] == "lm_head"
    assert [tile.row for tile in found.tiles[3:]] == ["w", "w"]


segments = st.sampled_from(["attn", "mlp", "q", "down", "c_proj", "experts", "shared", "1", "11", "x.q"])
paths = st.lists(segments, min_size=1, max_size=3).map(".".join)


@st.composite
def models(draw: st.DrawFn) -> list[Layer]:
    """Lists of blocks whose layers are dense, or experts, or of neither, in names of few words that meet often."""
    found: dict[str, Layer] = {}
    for path in draw(st.lists(st.sampled_from(["h", "enc.block", "dec.block", "h.1"]), min_size=1, max_size=2, unique=True)):
        for block in draw(st.lists(st.sampled_from([0, 1, 10, 11, 101]), min_size=1, max_size=3, unique=True)):
            for role in draw(st.lists(paths, max_size=4)):
                found[f"{path}.{block}.{role}"] = layer(f"{path}.{block}.{role}", block)
            for role in draw(st.lists(paths, max_size=2)):
                count = draw(st.sampled_from([1, 2, 11, 101]))
                found |= {one.name: one for one in experts(f"{path}.{block}.mlp.experts", block, count, role)}
    found |= {name: layer(name) for name in draw(st.lists(paths, max_size=2))}
    return list(found.values())


@given(models())
def test_patterns_of_tiles_part_the_layers(layers: list[Layer]) -> None:
    if layers:
        rows(check(layers))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_all_pictures_have_the_same_tiles_with_the_same_bits(database: Database) -> None:
    cached_model(database, formats=("INT8", "INT4"))
    asked = {
        "model": "cached",
        "budget": {"resident_bytes": 600_000, "context": 64},
        "kv_formats": ["INT8", "INT4"],
        "allow_slack": True,
        "ignore": ["lm_head", "*.0.*.q_proj"],
    }
    request = PlanRequest.model_validate(asked)
    with database.session() as session:
        preview: PlanPreview = preview_plan(session, request)
        plan = create_plan(session, request)
        stored = tiles(session, view_plan(session, plan.id))
        drawn = sensitivity_map(session, "cached", probe="fisher")
        whole = model_tiles(session, "cached")
    assert [tile.model_dump(exclude={"changed"}) for tile in stored] == [tile.model_dump() for tile in preview.tiles]
    named = {tile.pattern: (tile.row, tile.row_index, tile.name) for tile in preview.tiles}
    of_map = {tile.pattern: (tile.row, tile.row_index, tile.name) for tile in drawn.tiles}
    assert named.items() >= {key: value for key, value in of_map.items() if key in named}.items()
    assert set(of_map) - set(named) == {"model.layers.0.self_attn.q_proj"}, "it is ignored by the plan"
    assert [tile.pattern for tile in whole.tiles if tile.pattern in named] == [tile.pattern for tile in preview.tiles]
    assert len([tile for tile in whole.tiles if tile.kind.endswith("_cache")]) == 4


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_caches_are_tiles_once_the_heads_of_a_model_are_known(database: Database) -> None:
    model = cached_model(database)
    counts = []
    for heads in (None, 4):
        with database.session() as session:
            session.get_one(ModelRow, model).heads = heads
            counts.append(len(model_tiles(session, model).tiles))
    assert counts[1] - counts[0] == 2 * 2


def test_layers_that_share_something_are_told_in_few_words() -> None:
    layers = [*in_blocks("h", ("a.q", "a.k", "a.v"), range(2)), *experts("h.0.experts", 0, 3, "w1", "w2"), layer("lm_head")]
    found = tiles_of(layers)
    assert found.in_words(["h.0.a.q", "h.0.a.k", "h.0.a.v"]) == "q, k, v of block 0"
    assert found.in_words(["h.0.a.q", "h.1.a.q"]) == "q of block 0 and 1 more"
    assert found.in_words(["h.0.experts.2.w1", "h.0.experts.2.w2"]) == "w1, w2 of block 0, expert 2"
    assert found.in_words([one.name for one in layers if one.expert is not None]) == "w1, w2 of block 0, 3 experts"
    assert found.in_words(["h.0.experts.2.w1", "h.0.experts.1.w2"]) == "w1 of block 0, expert 2 and 1 more"
    assert found.in_words(["lm_head"]) == "lm_head"
    assert found.in_words(["lm_head", "h.0.a.q"]) == "lm_head and 1 more"


def test_a_model_of_experts_has_a_tile_for_each_projection_and_block() -> None:
    found = check(list(synthetic.mixture(blocks=3, experts=12).layers))
    assert len(found.tiles) == 3 * 5
