"""The weight error against numpy in float64."""

import numpy as np
import pytest
import torch

from sensitivity.errors import CorruptCheckpointError
from sensitivity.loading import LoadedModel
from sensitivity.probes.weight_error import WeightError
from sensitivity.statistics import mean_and_error
from tests.sensitivity.probes.dense import FORMATS, NARROW_ONLY, make_run, rounding_error, run_all


def test_ratios_of_squared_norms(llama: LoadedModel) -> None:
    run = make_run(llama, None)
    found = run_all(WeightError(), run)
    for index, name in enumerate(run.layers):
        weight = llama.linears[name].weight.double().numpy()
        for k, fmt in enumerate(FORMATS):
            error = rounding_error(llama, name, fmt).numpy()
            expected = np.linalg.norm(error) ** 2 / np.linalg.norm(weight) ** 2
            assert found[index, k, 1] == pytest.approx(expected, rel=1e-10)


def test_one_sample_has_no_standard_error(llama: LoadedModel) -> None:
    found = run_all(WeightError(), make_run(llama, None))
    assert (found[..., 0] == 1).all()
    assert np.isnan(mean_and_error(found)[1]).all()


def test_every_layer_is_in_exactly_one_unit(llama: LoadedModel) -> None:
    run = make_run(llama, None)
    probe = WeightError()
    units = probe.units(blocks=2, sequences=0)
    touched = np.stack([probe.run(run, unit)[..., 0] for unit in units])
    assert (touched.sum(axis=0) == 1).all()
    assert touched[2, run.layers.index("lm_head")].all()


def test_an_all_zero_layer_has_loss_zero(llama: LoadedModel) -> None:
    name = next(iter(llama.linears))
    with torch.no_grad():
        llama.linears[name].weight.zero_()
    assert run_all(WeightError(), make_run(llama, None, layers=[name])).tolist() == [[[1.0, 0.0, 0.0]] * 3]


def test_a_refused_shape_has_no_sample(llama: LoadedModel) -> None:
    found = run_all(WeightError(), make_run(llama, None, formats=[NARROW_ONLY]))
    assert np.array_equal(found[:, 0, 0] == 0, [linear.in_features > 32 for linear in llama.linears.values()])


def test_weights_that_are_not_numbers_are_an_error(llama: LoadedModel) -> None:
    name = next(iter(llama.linears))
    with torch.no_grad():
        llama.linears[name].weight[0, 0] = float("nan")
    with pytest.raises(CorruptCheckpointError):
        run_all(WeightError(), make_run(llama, None, layers=[name]))
