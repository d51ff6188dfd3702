"""What every probe that runs on text promises, whatever it measures."""

import numpy as np
import pytest
import torch

from sensitivity.errors import CalibrationError, CorruptCheckpointError
from sensitivity.formats.registry import get_format
from sensitivity.loading import LoadedModel
from sensitivity.probes.base import AbstractProbe
from sensitivity.probes.fisher import Fisher
from sensitivity.probes.hessian_trace import HessianTrace
from sensitivity.probes.kl import KLDivergence
from sensitivity.probes.linearity import Linearity
from sensitivity.probes.output_error import OutputError
from sensitivity.statistics import CellStatus, cell_status
from tests.sensitivity.probes.dense import make_run, random_tokens, run_all

PROBES = (Fisher(), HessianTrace(), KLDivergence(), Linearity(), OutputError())
INTERRUPTED = ((HessianTrace(draws=2), 0), (KLDivergence(), 12), (Linearity(), 12))
SINGLE_CHANGES = (KLDivergence(), KLDivergence(arithmetic="float32"), Linearity())


def name_of(value: object) -> str:
    return value.facts.name if isinstance(value, AbstractProbe) else str(value)


@pytest.mark.parametrize("probe", PROBES, ids=name_of)
def test_text_is_needed(llama: LoadedModel, probe: AbstractProbe) -> None:
    with pytest.raises(CalibrationError, match="calibration set"):
        probe.run(make_run(llama, None), probe.units(blocks=2, sequences=2)[0])


@pytest.mark.parametrize("probe", PROBES, ids=name_of)
def test_weights_that_are_not_numbers_are_an_error(llama: LoadedModel, probe: AbstractProbe) -> None:
    name = next(iter(llama.linears))
    with torch.no_grad():
        llama.linears[name].weight[0, 0] = float("nan")
    with pytest.raises(CorruptCheckpointError):
        run_all(probe, make_run(llama, random_tokens(2, 8), layers=[name]))


@pytest.mark.parametrize("probe", [Fisher(), HessianTrace(), Linearity()], ids=name_of)
def test_activations_that_are_not_finite_have_a_status(llama: LoadedModel, probe: AbstractProbe) -> None:
    """The first block multiplies to infinity; layers behind it cannot be measured."""
    with torch.no_grad():
        llama.blocks[0].get_parameter("input_layernorm.weight").fill_(float("inf"))
    found = run_all(probe, make_run(llama, random_tokens(4, 8)))
    assert set(cell_status(found).flat) == {CellStatus.NON_FINITE}


@pytest.mark.parametrize("probe", SINGLE_CHANGES, ids=name_of)
def test_a_format_that_overflows_is_not_finite_and_spoils_no_other(llama: LoadedModel, probe: AbstractProbe) -> None:
    name = "model.layers.0.mlp.down_proj"
    with torch.no_grad():
        llama.linears[name].weight[0, 0] = 1e6
    formats = [get_format("FP16"), get_format("INT4_G32")]
    status = cell_status(run_all(probe, make_run(llama, random_tokens(2, 8), formats=formats)))
    place = list(llama.linears).index(name)
    assert status[place, 0] == CellStatus.NON_FINITE
    status[place, 0] = CellStatus.MEASURED
    assert set(status.flat) == {CellStatus.MEASURED}


@pytest.mark.parametrize(("probe", "calls"), INTERRUPTED, ids=name_of)
def test_the_model_is_left_as_it_was_also_after_an_interruption(llama: LoadedModel, probe: AbstractProbe, calls: int) -> None:
    before = {name: tensor.clone() for name, tensor in llama.module.state_dict().items()}
    run = make_run(llama, random_tokens(4, 8))
    expected = run_all(probe, make_run(llama, run.tokens))
    left = iter(range(calls, -1, -1))

    def interrupt(*_: object) -> None:
        if next(left) == 0:
            raise KeyboardInterrupt

    handle = llama.blocks[1].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_all(probe, run)
    handle.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in llama.module.modules())
    assert not any("forward" in vars(module) for module in llama.module.modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in llama.module.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in llama.module.state_dict().items())
    assert np.array_equal(run_all(probe, run), expected)
