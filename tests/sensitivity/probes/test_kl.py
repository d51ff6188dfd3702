"""KL cells against float64 models with one layer replaced, whichever way their units are run."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from sensitivity.evaluation import Metric, evaluate
from sensitivity.formats.registry import get_format
from sensitivity.loading import LoadedModel
from sensitivity.probes import kl, single_changes
from sensitivity.probes.base import ProbeRun, Unit
from sensitivity.probes.block_walk import enter
from sensitivity.probes.fisher import Fisher
from sensitivity.probes.kl import ALL_BLOCKS, KLDivergence
from sensitivity.probes.lockstep import Walk
from sensitivity.probes.single_changes import walks
from sensitivity.statistics import CellStatus, cell_status, mean_and_error, observe
from tests.sensitivity.probes.dense import (
    FORMATS,
    NARROW_ONLY,
    doubled,
    log_probabilities,
    make_run,
    random_tokens,
    rounding_error,
    run_all,
    run_units,
)
from tests.tiny_models import BUILDERS

FLOAT32 = KLDivergence(arithmetic="float32")
WIDE = tuple(get_format(name) for name in ("INT2_G32", "INT4_G32", "INT8_G32"))


@torch.no_grad()
def dense_kl(model: LoadedModel, tokens: torch.Tensor, run: ProbeRun) -> np.ndarray:
    """Mean over the tokens of each sequence, whole logits, float64: (sequences, layers, formats)."""
    reference = doubled(model)
    expected = log_probabilities(reference, tokens)
    result = np.zeros((len(tokens), len(run.layers), len(run.formats)))
    for i, name in enumerate(run.layers):
        weight = reference.linears[name].weight
        original = weight.clone()
        for k, fmt in enumerate(run.formats):
            weight.copy_(original + rounding_error(model, name, fmt))
            found = log_probabilities(reference, tokens)
            result[:, i, k] = (expected.exp() * (expected - found)).sum(-1).mean(-1)
        weight.copy_(original)
    return result


@pytest.mark.parametrize("family", [*BUILDERS, "cohere2", "granite", "phi", "stablelm"])
def test_cells_are_those_of_float64_models_with_one_layer_replaced(
    load_family: Callable[[str], LoadedModel], family: str
) -> None:
    model = load_family(family)
    tokens = random_tokens(3, 16)
    run = make_run(model, tokens, formats=WIDE)
    expected = dense_kl(model, tokens, run)
    found = run_all(FLOAT32, run)
    np.testing.assert_allclose(found[..., 1], expected.sum(axis=0), rtol=1e-4, atol=1e-11)
    np.testing.assert_allclose(found[..., 2], np.square(expected).sum(axis=0), rtol=1e-4, atol=1e-11)


@pytest.mark.parametrize("family", ["llama", "gemma2", "opt", "phi3", "qwen2_moe"])
def test_bfloat16_changes_a_cell_by_less_than_a_hundredth(load_family: Callable[[str], LoadedModel], family: str) -> None:
    """Where tokens are routed, a rounded change may send one elsewhere: a jump that the two arithmetics need not share."""
    run = make_run(load_family(family), random_tokens(4, 40), formats=WIDE)
    exact, rounded = (mean_and_error(run_all(probe, run))[0] for probe in (FLOAT32, KLDivergence()))
    deviation = np.abs(rounded / exact - 1)
    assert np.quantile(deviation, 0.9 if "moe" in family else 1.0) < 0.01


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "mixtral"])
@pytest.mark.parametrize("probe", [KLDivergence(), FLOAT32], ids=lambda probe: probe.arithmetic)
def test_bits_depend_neither_on_the_order_of_units_nor_on_their_grouping(
    load_family: Callable[[str], LoadedModel], family: str, probe: KLDivergence
) -> None:
    """Nor on what else is measured: other sequences, layers or formats."""
    model = load_family(family)
    tokens = random_tokens(3, 8)
    run = make_run(model, tokens, formats=FORMATS[:2])
    blocks = len(model.blocks)
    together = np.stack([probe.run(run, unit) for unit in probe.units(blocks=blocks, sequences=3)])
    backwards = np.stack([probe.run(run, unit) for unit in reversed(probe.units(blocks=blocks, sequences=3))])[::-1]
    assert np.array_equal(together, backwards)
    singly = [Unit(f"{s}-{b}", (b, s)) for b in reversed(range(blocks + 1)) for s in (1, 0, 2)]
    np.testing.assert_allclose(
        run_units(probe, make_run(model, tokens, formats=FORMATS[:2]), singly), together.sum(axis=0), rtol=1e-12
    )
    layer, last = run.layers[-2], run.layers[-1]
    few = make_run(model, tokens, layers=[layer, last], formats=FORMATS[1:2])
    alone = run_units(probe, few, probe.units(blocks=blocks, sequences=3))
    places = [run.layers.index(name) for name in few.layers]
    assert np.array_equal(alone, run_units(probe, run, probe.units(blocks=blocks, sequences=3))[places, 1:2])


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "mixtral"])
@pytest.mark.parametrize("room", [1, 3, 1_000])
def test_named_cells_have_the_same_bits_with_one_reference_a_sequence(
    load_family: Callable[[str], LoadedModel], monkeypatch: pytest.MonkeyPatch, family: str, room: int
) -> None:
    """However many variants have room together; the head, experts without a token and cells of no change among them."""
    model = load_family(family)
    tokens = random_tokens(3, 8)
    width = next(iter(model.linears.values())).in_features
    monkeypatch.setattr(single_changes, "VARIANT_BYTES", room * 8 * width * 4)
    run = make_run(model, tokens)
    random, names = np.random.default_rng(0), [fmt.name for fmt in run.formats]
    run.cells = {name: [fmt for fmt in names if random.random() < 0.3] for name in run.layers[::2]} | {run.layers[-1]: names}
    blocks, probe = len(model.blocks), KLDivergence()
    units = probe.cell_units(blocks=blocks, sequences=3, cells=sum(map(len, run.cells.values())))
    assert [unit.indices for unit in units] == [(ALL_BLOCKS, sequence) for sequence in range(3)]
    for unit in units:
        singly = [Unit(f"{block}", (block, unit.indices[1])) for block in range(blocks + 1)]
        assert np.array_equal(probe.run(run, unit), run_units(probe, run, singly))
    many = probe.cell_units(blocks=blocks, sequences=3, cells=1_000)
    assert many == probe.units(blocks=blocks, sequences=3)


def test_named_cells_whose_changes_have_no_room_together_are_measured_in_parts(
    llama: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(llama, random_tokens(2, 8))
    run.cells = {name: [fmt.name for fmt in run.formats] for name in run.layers}
    unit = Unit("", (ALL_BLOCKS, 1))
    together = KLDivergence().run(run, unit)
    begun: list[int] = []

    def noting(run: ProbeRun, sequences: Sequence[int]) -> list[Walk]:
        begun.extend(sequences)
        return walks(run, sequences)

    monkeypatch.setattr(kl, "walks", noting)
    for kept, room, parts in ((1 << 30, 1, 1), (1, 1 << 30, 1), (1, 1, len(llama.blocks) + 1)):
        monkeypatch.setattr(kl, "KEPT_BYTES", kept)
        monkeypatch.setattr(kl, "VARIANT_BYTES", room)
        begun.clear()
        assert np.array_equal(KLDivergence().run(run, unit), together)
        assert begun == [1] * parts


def test_a_unit_without_a_cell_has_no_sample(llama: LoadedModel) -> None:
    run = make_run(llama, random_tokens(1, 8))
    run.cells = {}
    assert not KLDivergence().run(run, Unit("", (ALL_BLOCKS, 0))).any()


def test_an_unchanged_layer_has_loss_zero(llama: LoadedModel) -> None:
    """The checkpoint is bfloat16, so BF16 stores it as it is; an all-zero matrix stays so in every format."""
    name = next(iter(llama.linears))
    with torch.no_grad():
        llama.linears[name].weight.zero_()
    for probe in (FLOAT32, KLDivergence()):
        found = run_all(probe, make_run(llama, random_tokens(4, 8)))
        assert set(cell_status(found).flat) == {CellStatus.MEASURED}
        assert not found[:, FORMATS.index(get_format("BF16")), 1:].any()
        assert not found[0, :, 1:].any()


def test_a_cell_is_what_an_evaluation_of_its_assignment_measures(llama: LoadedModel) -> None:
    tokens = random_tokens(4, 24)
    run = make_run(llama, tokens, formats=WIDE)
    assignments = [{name: fmt} for name in run.layers for fmt in WIDE]
    expected = evaluate(llama, assignments, tokens)[:, Metric.KL].reshape(len(run.layers), len(WIDE), 3)
    found = mean_and_error(run_all(FLOAT32, run))
    np.testing.assert_allclose(found, mean_and_error(expected), rtol=1e-3, atol=2e-7)


def test_the_fisher_form_is_its_second_order(llama: LoadedModel) -> None:
    """Many label draws bring the sampling error of ``fisher`` below what the higher orders leave."""
    run = make_run(llama, random_tokens(4, 24), formats=[get_format("INT6_G32")])
    exact = mean_and_error(run_all(FLOAT32, run))[0]
    estimate = mean_and_error(run_all(Fisher(draws=200), run))[0]
    np.testing.assert_allclose(estimate, exact, rtol=0.25)


def test_statistics_are_of_sequences(llama: LoadedModel) -> None:
    tokens = random_tokens(5, 12)
    run = make_run(llama, tokens, formats=WIDE[:1])
    np.testing.assert_allclose(run_all(FLOAT32, run), observe(dense_kl(llama, tokens, run)), rtol=1e-4)


def test_an_expert_without_a_token_has_no_number(mixture: LoadedModel) -> None:
    """Not even in a format that would not change it; a sequence that misses an expert counts as zero."""
    tokens = random_tokens(3, 4)
    run = make_run(mixture, tokens)
    found = run_all(FLOAT32, run)
    last = np.array([".experts.4." in name for name in mixture.linears])
    assert set(cell_status(found)[last].flat) == {CellStatus.NO_TOKENS}
    assert set(cell_status(found)[~last].flat) == {CellStatus.MEASURED}
    expected = observe(dense_kl(mixture, tokens, run))[~last]
    np.testing.assert_allclose(found[~last], expected, rtol=1e-4, atol=1e-11)
    assert np.array_equal(found[~last][..., 0], expected[..., 0])


def test_a_refused_shape_has_no_sample(llama: LoadedModel) -> None:
    tokens = random_tokens(2, 8)
    found = run_all(FLOAT32, make_run(llama, tokens, formats=[NARROW_ONLY, *FORMATS]))
    refused = np.array([[linear.in_features > 32, False, False, False] for linear in llama.linears.values()])
    assert np.array_equal(found[..., 0] == 0, refused)
    assert np.array_equal(found[:, 1:], run_all(FLOAT32, make_run(llama, tokens)))


def test_few_variants_at_a_time_give_the_same_bits(mixture: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a group has no variant whose expert saw a token."""
    run = make_run(mixture, random_tokens(2, 4), formats=FORMATS[:2])
    expected = run_all(KLDivergence(), run)
    monkeypatch.setattr("sensitivity.probes.single_changes.VARIANT_BYTES", 1)
    assert np.array_equal(run_all(KLDivergence(), run), expected)


def test_units_of_following_blocks_share_the_way_to_their_doors(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[int] = []
    monkeypatch.setattr("sensitivity.probes.lockstep.enter", _counting(entered))
    run = make_run(llama, random_tokens(4, 8))
    run_all(FLOAT32, run)
    assert len(entered) == 4
    assert [walk.block for walk in run.cache["walks"].values()] == [2] * 4


def _counting(entered: list[int]) -> Callable[[LoadedModel, torch.Tensor], object]:
    def count(model: LoadedModel, tokens: torch.Tensor) -> object:
        entered.append(len(tokens))
        return enter(model, tokens)

    return count


def test_blocks_without_a_layer_to_measure_cost_nothing(llama: LoadedModel) -> None:
    run = make_run(llama, random_tokens(4, 8), layers=["model.layers.1.mlp.up_proj"])
    assert not FLOAT32.run(run, Unit("0", (0, 0, 1))).any()
    assert not FLOAT32.run(run, Unit("2", (2, 0, 1))).any()
    assert not run.cache


def test_a_walk_goes_back_to_a_door_behind_it(llama: LoadedModel) -> None:
    walk = Walk(llama, random_tokens(1, 8))
    walk.to(1)
    first = walk.states.clone()
    walk.to(2)
    walk.to(1)
    assert walk.block == 1
    assert torch.equal(walk.states, first)
