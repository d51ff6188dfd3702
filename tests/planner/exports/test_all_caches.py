"""Every runtime with every target: random legal plans of caches are read back with the weights, illegal ones are refused."""

import json
import random
from collections.abc import Hashable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import ExportError
from planner.exports import get_exporter
from planner.exports.kv_cache import read_caches, with_caches
from planner.exports.target import Json
from planner.runtimes import RuntimeProfile, get_runtime
from planner.runtimes.kv_rules import UNQUANTIZED, KVTie
from planner.schemas.choices import KVChoice
from sensitivity.formats.kv_cache import CachedTensor, kv_cache_formats, without_tensor
from tests.planner.exports.every_runtime import SHORT, TARGETS, as_read, legal_plan

EXAMPLES = settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
BLOCKS = 2
ALL = {tensor: sorted(without_tensor(fmt.name) for fmt in kv_cache_formats() if fmt.tensor is tensor) for tensor in CachedTensor}


def legal_caches(runtime: RuntimeProfile, target: str, chooser: random.Random) -> list[KVChoice]:
    """A format for each group of caches that shares one, of those that the runtime keeps and the target has words for."""
    chosen: dict[Hashable, str] = {}
    both = set(ALL[CachedTensor.KEYS]) & set(ALL[CachedTensor.VALUES])
    anything = chooser.random() < 0.8 and (runtime.name, target) != ("generic", "compressed-tensors")
    found = []
    for block in range(BLOCKS):
        for tensor in CachedTensor:
            shared = both if runtime.kv.tie in {KVTie.LAYER, KVTie.ALL} else ALL[tensor]
            names = [name for name in sorted(shared) if runtime.kv.refusal(name, runtime.name) is None]
            menu = names if anything else [name for name in names if name in UNQUANTIZED]
            name = chosen.setdefault(runtime.kv.group_key(block, tensor), chooser.choice(menu))
            found.append(cache(block, tensor, name))
    return found


def cache(block: int, tensor: CachedTensor, name: str) -> KVChoice:
    return KVChoice(
        layer=f"model.layers.{block}.self_attn.{tensor.value.lower()}_cache",
        block=block,
        tensor=tensor.value,
        group=0,
        format=f"{tensor}_{name}",
        size_bits=4096,
    )


def exported(runtime: RuntimeProfile, target: str, caches: list[KVChoice], seed: int) -> Json:
    """The document of a random plan of the weights with those caches; the weights are read from it as they were."""
    plan = legal_plan(runtime, target, SHORT, random.Random(seed))
    weights = get_exporter(target).export(plan, SHORT, runtime)
    document: Json = json.loads(json.dumps(with_caches(weights, caches, target=target, runtime=runtime)))
    assert get_exporter(target).read(document, SHORT) == as_read(plan, SHORT)
    return document


EVERY = (*TARGETS, *((name, "json") for name, _ in TARGETS if name != "generic"))


@pytest.mark.parametrize(("runtime", "target"), EVERY)
@given(seed=st.integers(0, 2**32))
@EXAMPLES
def test_legal_caches_are_read_back_with_the_weights(runtime: str, target: str, seed: int) -> None:
    profile = get_runtime(runtime)
    caches = legal_caches(profile, target, random.Random(seed))
    document = exported(profile, target, caches, seed)
    found = read_caches(document, [choice.layer for choice in caches], target=target)
    for choice in caches:
        said = found[choice.layer]
        assert said == choice.format or (said is None and without_tensor(choice.format) in UNQUANTIZED)


@pytest.mark.parametrize(("runtime", "target"), [pair for pair in EVERY if get_runtime(pair[0]).kv.formats is not None])
@given(seed=st.integers(0, 2**32))
@EXAMPLES
def test_a_cache_that_the_engine_does_not_keep_is_refused(runtime: str, target: str, seed: int) -> None:
    chooser, profile = random.Random(seed), get_runtime(runtime)
    caches = legal_caches(profile, target, chooser)
    at = chooser.randrange(len(caches))
    tensor = CachedTensor(caches[at].tensor)
    bad = [name for name in ALL[tensor] if profile.kv.refusal(name, runtime) is not None]
    caches[at] = cache(at // 2, tensor, chooser.choice(bad))
    with pytest.raises(ExportError, match=f"{caches[at].layer} cannot be kept in") as caught:
        with_caches({}, caches, target=target, runtime=profile)
    assert caught.value.fields == {"layers": [caches[at].layer], "rule": "runtime"}


@pytest.mark.parametrize(("runtime", "target"), [pair for pair in EVERY if get_runtime(pair[0]).kv.tie is not KVTie.FREE])
@given(seed=st.integers(0, 2**32))
@EXAMPLES
def test_a_tie_of_caches_that_is_broken_is_refused(runtime: str, target: str, seed: int) -> None:
    chooser, profile = random.Random(seed), get_runtime(runtime)
    caches = legal_caches(profile, target, chooser)
    at = chooser.randrange(len(caches))
    here = without_tensor(caches[at].format)
    others = sorted((profile.kv.formats or set()) - {here}) if here in UNQUANTIZED else sorted(UNQUANTIZED)
    caches[at] = cache(at // 2, CachedTensor(caches[at].tensor), chooser.choice(others))
    with pytest.raises(ExportError, match="rule R1") as caught:
        with_caches({}, caches, target=target, runtime=profile)
    assert caches[at].layer in str(caught.value.fields["layers"])
    assert caught.value.fields["rule"] == "R1"
