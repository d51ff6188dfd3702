"""Cells by block and row."""

from planner.curve_tools.block_map import arrange
from planner.schemas.curves import CellDocument


def cell(layer: str, kind: str, block: int | None, loss: float | None) -> CellDocument:
    status = "measured" if loss is not None else "no_tokens"
    return CellDocument(layer=layer, kind=kind, block=block, format="INT4_G64", status=status, loss=loss, standard_error=None)


def test_experts_share_a_place_and_the_outside_comes_last() -> None:
    cells = [
        cell("head", "lm_head", None, 4.0),
        cell("m.1.experts.0.up_proj", "up_proj", 1, 1.0),
        cell("m.1.experts.1.up_proj", "up_proj", 1, 3.0),
        cell("m.1.experts.2.up_proj", "up_proj", 1, None),
        cell("m.0.experts.0.up_proj", "up_proj", 0, None),
        cell("m.0.q_proj", "q_proj", 0, -1.0),
    ]
    found = arrange(cells)
    assert found.rows == ("lm_head", "up_proj", "q_proj")
    assert found.blocks == (0, 1, None)
    assert found.means == {(None, "lm_head"): 4.0, (1, "up_proj"): 2.0, (0, "up_proj"): None, (0, "q_proj"): -1.0}
    assert [item.layer for item in found.groups[1, "up_proj"]] == [f"m.1.experts.{expert}.up_proj" for expert in range(3)]
    assert found.limits == (2.0, 4.0)


def test_two_layers_of_a_kind_in_a_block_are_two_rows() -> None:
    found = arrange(
        [cell(f"h.{block}.{role}", "c_proj", block, 1.0) for block in (0, 1) for role in ("attn.c_proj", "mlp.c_proj")]
    )
    assert found.rows == ("attn.c_proj", "mlp.c_proj")
    assert all(len(group) == 1 for group in found.groups.values())


def test_rows_and_blocks_are_those_of_all_formats_in_model_order() -> None:
    """Of a sample of cells each block lacks others."""
    roles = {0: ("o_proj", "up_proj"), 2: ("q_proj", "k_proj", "up_proj"), 3: ("k_proj", "o_proj", "down_proj")}
    everything = [cell(f"h.{block}.{role}", role, block, 1.0) for block, listed in roles.items() for role in listed]
    found = arrange(everything[2:4], among=everything)
    assert found.blocks == (0, 2, 3)
    for listed in roles.values():
        assert sorted(listed, key=found.rows.index) == list(listed)
    assert set(found.rows) == {"q_proj", "k_proj", "o_proj", "up_proj", "down_proj"}
    assert found.means == {(2, "q_proj"): 1.0, (2, "k_proj"): 1.0}


def test_without_a_positive_loss_there_is_no_scale() -> None:
    assert arrange([cell("a", "q_proj", 0, 0.0), cell("b", "q_proj", 1, None)]).limits is None
    assert arrange([]).limits is None
