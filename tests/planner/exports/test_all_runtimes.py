"""Every runtime with every target: random legal plans are read back as they were, mutilated documents are not."""

import copy
import json
import random
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import ExportError
from planner.exports import ExportedModel, get_exporter
from planner.exports.target import Json
from planner.runtimes import get_runtime
from sensitivity.formats.registry import all_formats, get_format
from tests.planner.exports.every_runtime import (
    HYBRID,
    MODELS,
    NOTHING_LEFT_OUT,
    TARGETS,
    Plan,
    as_read,
    groups_of,
    legal_formats,
    legal_plan,
    rules_of,
)

EXAMPLES = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
UNLOADABLE = {("gptqmodel", "fused")}
"""Targets whose engine does not have the architecture of a model."""
WITHOUT_A_FORMAT = {("exllamav3", "narrow"), ("evopress", "narrow")}
"""Targets that have no format for the widths of a model."""
TIED = [pair for pair in TARGETS if get_runtime(pair[0]).tied_kinds]
Rename = Callable[[str], str | None]


def exported(runtime: str, target: str, model: ExportedModel, plan: Plan) -> Json:
    found: Json = json.loads(json.dumps(get_exporter(target).export(plan, model, get_runtime(runtime))))
    return found


def random_export(runtime: str, target: str, model: ExportedModel, seed: int) -> tuple[Plan, Json]:
    plan = legal_plan(get_runtime(runtime), target, model, random.Random(seed))
    return plan, exported(runtime, target, model, plan)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("runtime", "target"), TARGETS)
@given(seed=st.integers(0, 2**32))
@EXAMPLES
def test_legal_plans_are_read_back_as_they_were(runtime: str, target: str, name: str, seed: int) -> None:
    model = MODELS[name]
    if (target, name) in UNLOADABLE:
        with pytest.raises(ExportError, match="cannot be loaded") as caught:
            random_export(runtime, target, model, seed)
        assert caught.value.fields["rule"] == "architecture"
        return
    if not legal_plan(get_runtime(runtime), target, model, random.Random(seed)):
        assert (target, name) in WITHOUT_A_FORMAT
        return
    plan, document = random_export(runtime, target, model, seed)
    assert get_exporter(target).read(document, model) == as_read(plan, model)


@pytest.mark.parametrize(("runtime", "target"), TARGETS)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(MODELS)))
@EXAMPLES
def test_a_format_that_the_runtime_cannot_load_is_refused(runtime: str, target: str, seed: int, name: str) -> None:
    chooser, model = random.Random(seed), MODELS[name]
    profile = get_runtime(runtime)
    bad = [(layer, fmt) for layer in model.layers for fmt in all_formats() if profile.refusal(fmt, layer) is not None]
    if not bad:
        assert runtime == "generic"
        return
    layer, fmt = chooser.choice(bad)
    plan = {**legal_plan(profile, target, model, chooser), layer.name: fmt}
    with pytest.raises(ExportError, match=re.escape(f"{layer.name} cannot be loaded by {runtime}")) as caught:
        get_exporter(target).export(plan, model, profile)
    assert caught.value.fields == {"layers": [layer.name], "rule": "runtime"}


@pytest.mark.parametrize(("runtime", "target"), TIED)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(["dense", "mixture"]))
@EXAMPLES
def test_a_tie_that_is_broken_is_refused(runtime: str, target: str, seed: int, name: str) -> None:
    chooser, model = random.Random(seed), MODELS[name]
    profile = get_runtime(runtime)
    tied = [layers for layers in groups_of(profile, model) if len(layers) > 1 and len(legal_formats(profile, target, layers)) > 1]
    group = chooser.choice(tied)
    one, other = chooser.sample(legal_formats(profile, target, group), 2)
    plan = {**legal_plan(profile, target, model, chooser), **dict.fromkeys((layer.name for layer in group), one)}
    broken = chooser.choice(group).name
    without = {layer: fmt for layer, fmt in plan.items() if layer != broken}
    for bad in ({**plan, broken: other}, {**plan, broken: get_format("BF16")}, without):
        with pytest.raises(ExportError, match="rule R1") as caught:
            get_exporter(target).export(bad, model, profile)
        assert caught.value.fields == {"layers": [layer.name for layer in group], "rule": "R1"}


@pytest.mark.parametrize(("runtime", "target"), TIED)
def test_trap_pairs_of_linear_attention_are_fused(runtime: str, target: str) -> None:
    """``in_proj_qkv`` with ``in_proj_z``, ``in_proj_b`` with ``in_proj_a``; a rule for the first begins the fused name."""
    profile = get_runtime(runtime)
    pairs = [tuple(layer.kind for layer in group) for group in groups_of(profile, HYBRID) if len(group) > 1]
    assert pairs == [("in_proj_qkv", "in_proj_z"), ("in_proj_b", "in_proj_a"), ("gate_proj", "up_proj")] * 2
    legal = legal_formats(profile, target, HYBRID.layers[:4])
    of_kind = {"in_proj_qkv": legal[0], "in_proj_z": legal[0], "in_proj_b": legal[1], "in_proj_a": legal[1]}
    plan = {layer.name: of_kind[layer.kind] for layer in HYBRID.layers if layer.kind in of_kind}
    document = exported(runtime, target, HYBRID, plan)
    assert get_exporter(target).read(document, HYBRID) == as_read(plan, HYBRID)
    for kind, other in (("in_proj_qkv", "in_proj_z"), ("in_proj_a", "in_proj_b")):
        name, partner = (f"model.layers.1.linear_attn.{one}" for one in (kind, other))
        wrong = next(fmt for fmt in legal if fmt != plan[name])
        for broken in ({**plan, name: wrong}, {key: fmt for key, fmt in plan.items() if key != name}):
            with pytest.raises(ExportError, match="rule R1") as caught:
                exported(runtime, target, HYBRID, broken)
            assert caught.value.fields["layers"] in ([name, partner], [partner, name])


@pytest.mark.parametrize(("runtime", "target"), TIED)
def test_trap_a_fused_module_with_a_missing_member_is_still_one(runtime: str, target: str) -> None:
    """Some models have blocks without ``v_proj``: q and k share a format all the same."""
    profile = get_runtime(runtime)
    model = replace(MODELS["dense"], layers=tuple(layer for layer in MODELS["dense"].layers if layer.kind != "v_proj"))
    q, k = (layer.name for layer in model.layers[:2])
    one, other = legal_formats(profile, target, model.layers[:2])[:2]
    document = exported(runtime, target, model, {q: one, k: one})
    assert get_exporter(target).read(document, model) == as_read({q: one, k: one}, model)
    with pytest.raises(ExportError, match="rule R1") as caught:
        exported(runtime, target, model, {q: one, k: other})
    assert caught.value.fields == {"layers": [q, k], "rule": "R1"}


@pytest.mark.parametrize(("runtime", "target"), TARGETS)
def test_a_layer_that_the_model_does_not_have_is_refused(runtime: str, target: str) -> None:
    model = MODELS["dense"]
    plan = legal_plan(get_runtime(runtime), target, model, random.Random(0))
    bad = {**plan, "model.layers.12.mlp.down_proj": next(iter(plan.values()))}
    with pytest.raises(ExportError, match=r"model\.layers\.12\.mlp\.down_proj") as caught:
        get_exporter(target).export(bad, model, get_runtime(runtime))
    assert caught.value.fields["layers"] == ["model.layers.12.mlp.down_proj"]


def renamed(document: Json, rule: str, rename: Rename, *, first: bool) -> Json:
    """The document with one of its rules renamed wherever it stands, or dropped; ``first``: put before all others."""
    text = document.get("text")
    if isinstance(text, str):
        lines = [line for line in text.splitlines() if line != rule]
        new = rename(rule)
        at = 0 if first else text.splitlines().index(rule)
        lines[at:at] = [] if new is None else [new]
        return {**document, "text": "\n".join(lines) + "\n"}
    found = copy.deepcopy(document)
    for container, name, _ in list(rules_of(found)):
        if name == rule:
            _rename_in(container, name, rename(name), first=first)
    return found


def _rename_in(container: dict[str, object] | list[object], name: str, new: str | None, *, first: bool) -> None:
    if isinstance(container, list):
        at = 0 if first else container.index(name)
        container.remove(name)
        container[at:at] = [] if new is None else [new]
        return
    entries = [
        (key, value) if key != name else (new, value) for key, value in container.items() if key != name or new is not None
    ]
    if first:
        entries.sort(key=lambda entry: entry[0] != new)
    container.clear()
    container.update({key: value for key, value in entries if key is not None})


def rules(document: Json) -> dict[str, bool]:
    """The rules of a document, and whether it says as much without them."""
    text = document.get("text")
    if isinstance(text, str):
        return {line: False for line in text.splitlines() if "blk" in line or "layers" in line}
    return {name: needless for _, name, needless in rules_of(document)}


def dropped(rule: str) -> None:
    """A rule that is missing."""


def misspelt(rule: str) -> str:
    return re.sub("layers|blk", "blocks", rule, count=1)


def index_cut(rule: str) -> str:
    r"""The prefix trap: ``layers\.1`` for ``layers\.1\.…``, which is the beginning of the names of layer 10, too."""
    return re.sub(r"((?:layers|blk)\\?\.(?:\(?[\d|]+\)?)).*?(?==|$)", r"\1", rule, count=1)


def any_block(rule: str) -> str:
    """A pattern for all blocks instead of some."""
    return re.sub(r"((?:layers|blk)\\?\.)\(?[\d|]+\)?", r"\1\\d+", rule, count=1)


def is_pattern(rule: str) -> bool:
    return "\\." in rule or "(" in rule


def bare(rule: str) -> str:
    """The pattern of a rule, without the marks around it."""
    return re.sub(r"^(re:|[+-]:)", "", rule.partition("=")[0])


def is_same_anywhere(rule: str, plan: Plan, model: ExportedModel) -> bool:
    """Whether all layers that a pattern hits have one format, so that it may as well hit them all."""
    formats = as_read(plan, model)
    return len({fmt.name for name, fmt in formats.items() if re.search(bare(rule), name)}) == 1


def assert_noticed(document: Json, target: str, plan: Plan, model: ExportedModel) -> None:
    """The reader refuses a document, or does not find the plan in it."""
    try:
        found = get_exporter(target).read(document, model)
    except ExportError:
        return
    assert found != as_read(plan, model)


MUTATIONS = {"dropped": dropped, "misspelt": misspelt, "index_cut": index_cut, "any_block": any_block}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize(("runtime", "target"), TARGETS)
@given(seed=st.integers(0, 2**32))
@EXAMPLES
def test_a_mutilated_document_is_not_read_as_the_plan(runtime: str, target: str, mutation: str, seed: int) -> None:
    model, rename = MODELS["dense"], MUTATIONS[mutation]
    plan, document = random_export(runtime, target, model, seed)
    found = rules(document)
    possible = [rule for rule, needless in found.items() if rename(rule) != rule and not (rename is dropped and needless)]
    if mutation in {"index_cut", "any_block"}:
        possible = [rule for rule in possible if is_pattern(rule) and not is_same_anywhere(any_block(rule), plan, model)]
    for rule in random.Random(seed).sample(possible, min(3, len(possible))):
        assert_noticed(renamed(document, rule, rename, first=True), target, plan, model)


PATTERNED = [("vllm", "compressed-tensors"), ("gptqmodel", "gptqmodel"), ("torchao", "torchao")]
"""Targets in whose documents patterns stand for layers of this naming."""


def patterns_of(document: Json, model: ExportedModel) -> list[tuple[str, list[str]]]:
    """Each rule as a bare pattern, with the layers in whose full names it is found anywhere, the most permissive reading."""
    found = []
    for rule in rules(document):
        pattern = bare(rule)
        found.append((pattern, [layer.name for layer in model.layers if re.search(pattern, layer.name)]))
    return found


def one_block_apart(runtime: str, target: str) -> tuple[ExportedModel, Plan]:
    """Block 1 in one format, blocks 10 and 11 in another, the rest left out or in a third."""
    model, profile = MODELS["dense"], get_runtime(runtime)
    legal = [fmt for fmt in legal_formats(profile, target, model.layers[:-1]) if fmt.is_quantized]
    plan = {layer.name: legal[layer.block > 1] for layer in model.layers if layer.block in {1, 10, 11}}
    rest = model.layers[:-1] if runtime in NOTHING_LEFT_OUT else ()
    return model, {**dict.fromkeys((layer.name for layer in rest), legal[-1]), **plan}


@pytest.mark.parametrize(("runtime", "target"), TARGETS)
def test_trap_layers_1_is_the_beginning_of_layers_10(runtime: str, target: str) -> None:
    model, plan = one_block_apart(runtime, target)
    document = exported(runtime, target, model, plan)
    assert get_exporter(target).read(document, model) == as_read(plan, model)
    for rule in rules(document):
        cut = index_cut(rule)
        if is_pattern(rule) and "11" not in cut and "10" not in cut and cut != rule:
            assert_noticed(renamed(document, rule, index_cut, first=True), target, plan, model)


@pytest.mark.parametrize(("runtime", "target"), PATTERNED)
def test_trap_v_proj_is_found_in_qkv_proj(runtime: str, target: str) -> None:
    """A rule may hit a fused module only where it hits all of its members."""
    model = MODELS["dense"]
    _, document = random_export(runtime, target, model, 3)
    members = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
    for pattern, _hit in patterns_of(document, model):
        for fused, kinds in members.items():
            for block in range(12):
                parent = f"model.layers.{block}.{'self_attn' if fused == 'qkv_proj' else 'mlp'}"
                if re.search(pattern, f"{parent}.{fused}"):
                    assert all(re.search(pattern, f"{parent}.{kind}") for kind in kinds), pattern


@pytest.mark.parametrize(("runtime", "target"), PATTERNED)
def test_trap_dots_are_escaped(runtime: str, target: str) -> None:
    """No pattern takes another character for a dot of a name; exact names are compared as they are."""
    model = MODELS["dense"]
    _, document = random_export(runtime, target, model, 4)
    for pattern, hit in patterns_of(document, model):
        if is_pattern(pattern):
            assert not any(re.search(pattern, name.replace(".", "x", 1)) for name in hit)


def test_trap_autoround_escapes_dots_itself() -> None:
    _, document = random_export("autoround", "autoround", MODELS["dense"], 4)
    assert not any("\\" in rule for rule in rules(document) if rule.startswith("model"))


@pytest.mark.parametrize(("runtime", "target"), PATTERNED)
def test_trap_alphabetical_precedence(runtime: str, target: str) -> None:
    """compressed-tensors sorts its patterns, GPTQModel puts negative ones first, others take the first: no two rules meet."""
    model = MODELS["mixture" if target == "compressed-tensors" else "dense"]
    _, document = random_export(runtime, target, model, 5)
    hits = [name for _, hit in patterns_of(document, model) for name in hit]
    assert len(hits) == len(set(hits))


@pytest.mark.parametrize(("runtime", "target"), TARGETS)
def test_trap_columns_that_256_does_not_divide(runtime: str, target: str) -> None:
    """Nothing is demoted in silence: a format whose groups do not divide the columns is refused, with the layer."""
    model, profile = MODELS["narrow"], get_runtime(runtime)
    layer = model.layers[0]
    assert layer.in_features % 64 == 32
    too_wide = [fmt for fmt in all_formats() if fmt.group_size is not None and layer.in_features % fmt.group_size]
    assert {fmt.name for fmt in too_wide} >= {"Q4_K", "INT4_G128"}
    for fmt in too_wide:
        if runtime == "generic" and fmt.refusal(layer.shape) is None:
            continue  # padded, and counted so
        with pytest.raises(ExportError, match=re.escape(layer.name)):
            get_exporter(target).export({layer.name: fmt}, model, profile)
