"""Layer groups: ties, rules, sizes, and losses that are never made up."""

from dataclasses import replace

import numpy as np
import pytest

from planner.build import build_classes, group_curves, measured_groups
from planner.curves import Curves
from planner.errors import InvalidRequestError, PinConflictError, UnmeasuredError
from planner.rules import Rules
from planner.runtimes import get_runtime
from sensitivity.checkpoint.description import Layer
from sensitivity.statistics import CellStatus
from tests.planner.strategies import expert_layers, ladder, llama_layers

GENERIC, VLLM = get_runtime("generic"), get_runtime("vllm")


def curves_of(layers: tuple[Layer, ...], *, seed: int = 0) -> Curves:
    rng = np.random.default_rng(seed)
    shape = (len(layers), len(ladder()))
    loss = rng.lognormal(size=shape)
    return Curves(tuple(x.name for x in layers), ladder(), loss, 0.1 * loss, np.full(shape, "measured"))


def test_generic_ties_nothing_and_keeps_the_formats_sizes() -> None:
    layers = llama_layers()
    classes = build_classes(layers, ladder(), GENERIC, Rules())
    assert classes.groups == tuple((i,) for i in range(len(layers)))
    assert classes.sizes[0].tolist() == [fmt.size_bits(layers[0].shape) for fmt in ladder()]
    assert classes.smallest_bits == sum(ladder()[0].size_bits(x.shape) for x in layers)
    assert classes.largest_bits == sum(ladder()[-1].size_bits(x.shape) for x in layers)


def test_vllm_ties_qkv_and_gate_up_even_with_a_member_missing() -> None:
    layers = tuple(x for x in llama_layers() if x.name != "model.layers.1.self_attn.v_proj")
    classes = build_classes(layers, ladder(), VLLM, Rules())
    named = [{layers[i].kind for i in group} for group in classes.groups]
    whole, missing = {"q_proj", "k_proj", "v_proj"}, {"q_proj", "k_proj"}
    rest = [{"o_proj"}, {"gate_proj", "up_proj"}, {"down_proj"}]
    assert named == [whole, *rest, missing, *rest]


def test_vllm_ties_all_experts_of_a_block() -> None:
    classes = build_classes(expert_layers(blocks=2), ladder(), VLLM, Rules())
    assert [len(group) for group in classes.groups] == [8, 8]


def test_losses_and_variances_add_over_a_group() -> None:
    layers = llama_layers(1)
    curves = curves_of(layers)
    grouped = group_curves(build_classes(layers, ladder(), VLLM, Rules()), curves)
    np.testing.assert_allclose(grouped.loss[0], curves.loss[:3].sum(axis=0))
    np.testing.assert_allclose(grouped.standard_error[0], np.sqrt(np.square(curves.standard_error[:3]).sum(axis=0)))


def test_a_pin_on_one_member_holds_for_its_group() -> None:
    layers = llama_layers(1)
    classes = build_classes(layers, ladder(), VLLM, Rules(pins={"*.q_proj": "INT8_G64"}))
    assert classes.legal[0].tolist() == [False, False, False, False, True]


def test_floors_ceilings_and_menus_meet() -> None:
    rules = Rules(floors={"*": 3}, ceilings={"*.down_proj": 4}, menus={"*.o_proj": ["INT2_G64", "INT8_G64"]})
    layers = llama_layers(1)
    classes = build_classes(layers, ladder(), GENERIC, rules)
    by_kind = {layers[g[0]].kind: classes.legal[i].tolist() for i, g in enumerate(classes.groups)}
    assert by_kind["down_proj"] == [False, True, True, False, False]
    assert by_kind["o_proj"] == [False, False, False, False, True]


def test_contradicting_pins_name_the_layers_and_rules() -> None:
    with pytest.raises(PinConflictError, match=r"pin \*.q_proj=INT8_G64; floor|pin \*.q_proj=INT8_G64; ceiling") as error:
        build_classes(llama_layers(), ladder(), GENERIC, Rules(pins={"*.q_proj": "INT8_G64"}, ceilings={"*": 4}))
    assert error.value.fields["layers"] == ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"]


def test_pins_that_split_a_tied_group_are_refused() -> None:
    rules = Rules(pins={"*.q_proj": "INT8_G64", "*.k_proj": "INT4_G64"})
    with pytest.raises(PinConflictError, match="Tied layers must share one format"):
        build_classes(llama_layers(), ladder(), VLLM, rules)


def test_a_pattern_that_matches_nothing_is_a_typo() -> None:
    with pytest.raises(InvalidRequestError, match="matches no planned layer"):
        build_classes(llama_layers(), ladder(), GENERIC, Rules(floors={"*.q_porj": 4}))


def test_a_pin_to_a_format_outside_the_request_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="add it to formats"):
        build_classes(llama_layers(), ladder(), GENERIC, Rules(pins={"*": "INT5_G64"}))


def test_a_shape_that_no_format_divides_is_refused_in_vllm() -> None:
    odd = (Layer("model.layers.0.mlp.down_proj", "down_proj", 0, None, 64, 100),)
    with pytest.raises(PinConflictError, match="divisible by 64"):
        build_classes(odd, ladder(), VLLM, Rules())


def test_unmeasured_cells_are_named() -> None:
    layers = llama_layers(1)
    curves = curves_of(layers)
    status = curves.status.copy()
    status[3, 1] = ""
    classes = build_classes(layers, ladder(), GENERIC, Rules())
    with pytest.raises(UnmeasuredError, match="1 cells are not measured: formats INT3_G64"):
        group_curves(classes, replace(curves, status=status))


def test_a_cell_that_is_not_finite_takes_the_format_away() -> None:
    layers = llama_layers(1)
    curves = curves_of(layers)
    status, loss = curves.status.copy().astype("<U20"), curves.loss.copy()
    status[3, 1], loss[3, 1] = CellStatus.NON_FINITE, np.nan
    grouped = group_curves(build_classes(layers, ladder(), GENERIC, Rules()), replace(curves, status=status, loss=loss))
    assert np.isinf(grouped.loss[3, 1])
    assert np.isfinite(grouped.loss).sum() == grouped.loss.size - 1
    assert "could not be measured" in grouped.notes[0]


def test_an_expert_without_tokens_takes_its_siblings_worst() -> None:
    layers = expert_layers()
    curves = curves_of(layers)
    status, loss = curves.status.copy().astype("<U20"), curves.loss.copy()
    status[2], loss[2] = CellStatus.NO_TOKENS, np.nan
    grouped = group_curves(build_classes(layers, ladder(), GENERIC, Rules()), replace(curves, status=status, loss=loss))
    np.testing.assert_allclose(grouped.loss[2], curves.loss[[0, 4, 6]].max(axis=0))
    assert "saw no token" in grouped.notes[0]
    status[:], loss[:] = CellStatus.NO_TOKENS, np.nan
    with pytest.raises(UnmeasuredError, match="longer calibration text"):
        group_curves(build_classes(layers, ladder(), GENERIC, Rules()), replace(curves, status=status, loss=loss))


def test_groups_whose_losses_are_known_are_those_that_can_be_summed() -> None:
    layers = expert_layers()
    classes = build_classes(layers, ladder(), get_runtime("vllm"), Rules())
    curves = curves_of(layers)
    status = curves.status.copy().astype("<U20")
    status[2, 1] = CellStatus.NO_TOKENS  # its siblings saw some
    status[:, 2] = CellStatus.NO_TOKENS
    status[3, 0] = ""
    damaged = replace(curves, status=status)
    known = measured_groups(classes, damaged)
    assert not known[classes.group_of_layer[3], 0]
    assert not known[:, 2].any()
    assert known.sum() == known.size - 1 - len(known)
    assert np.isfinite(group_curves(replace(classes, legal=classes.legal & known), damaged).loss[known]).all()


def test_the_models_own_dtype_costs_nothing() -> None:
    layers = llama_layers(1)
    formats = ladder("INT4_G64", "BF16")
    shape = (len(layers), 2)
    curves = Curves(tuple(x.name for x in layers), formats, np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, ""))
    exact = curves.with_exact_formats("bfloat16")
    assert exact.loss[:, 1].tolist() == [0.0] * len(layers)
    assert np.isnan(exact.loss[:, 0]).all()
    assert curves.with_exact_formats("float16") is curves
