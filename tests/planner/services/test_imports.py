"""Imports as cells and as plans: all or nothing, with provenance, ready to plan with."""

import json
import math

import numpy as np
import pytest

from planner.errors import InvalidImportError, InvalidRequestError, PinConflictError, UnmeasuredError
from planner.importers import SourceFile
from planner.schemas.frontiers import FrontierRequest
from planner.schemas.imports import ImportDocument
from planner.schemas.plans import EvaluateRequest, PlanDocument, PlanRequest
from planner.services import curve_fits, curves, evaluations, exporting, frontiers, imports, plan_listing, plans
from planner.storage.database import Database
from sensitivity.errors import UnknownFormatError
from sensitivity.formats.registry import resolve_format
from tests import synthetic
from tests.planner.importers import files


@pytest.fixture
def toy(database: Database) -> str:
    with database.session() as session:
        return synthetic.add_model(session)


def imported(database: Database, *sources: SourceFile, **options: int | str) -> ImportDocument:
    with database.read_session() as session:
        read = imports.read_files(session, "toy", sources, options=options)
    with database.session() as session:
        return imports.store(session, read)


def planned(database: Database, **request: object) -> PlanDocument:
    asked = {"model": "toy", "budget": {"effective_bits": 4.2}} | request
    with database.read_session() as session:
        return plans.make_plan(session, PlanRequest.model_validate(asked))


def test_an_exllamav2_measurement_is_planned_module_by_module(database: Database, toy: str) -> None:
    done = imported(database, files.stored(files.MEASUREMENT))
    assert (done.probe, done.layers, done.missing, done.skipped) == ("imported_exllamav2", 14, 0, [])
    assert done == imported(database, files.stored(files.MEASUREMENT))
    plan = planned(database)
    assert plan.provenance.setting == done.setting
    assert plan.provenance.probe_parameters["file_sha256"] == files.stored(files.MEASUREMENT).sha256 == done.sha256
    assert plan.predicted.unit == "relative"
    assert [len(group.layers) for group in plan.groups] == [4, 3, 4, 3]
    best = _best(4.2)
    assert plan.predicted.loss == pytest.approx(best, rel=1e-9)
    assert plan.size.effective_bits <= 4.2
    with database.read_session() as session:
        listed = curves.get_curves(session, "toy", formats=[plan.formats[0].lower()])
        assert {cell.status for cell in listed.items} == {"measured", "unsupported_shape"}
        request = FrontierRequest.model_validate({"model": "toy", "points": 3})
        assert frontiers.make_frontier(session, request).probe == "imported_exllamav2"
        assert [item.points for item in curve_fits.fit(session, "toy").items] == [3] * 14


def test_a_table_makes_a_runtime_plannable_whose_formats_nothing_here_rounds(database: Database) -> None:
    with database.session() as session:
        synthetic.add_model(session, synthetic.description(hidden=256))
    done = imported(database, files.table())
    assert (done.probe, done.tool, done.cells) == ("imported_table", "a table", 56)
    plan = planned(database, runtime="exllamav3", budget={"effective_bits": 3.6})
    assert set(plan.formats) <= {f"EXL3_K{bits}" for bits in range(1, 9)}
    with database.session() as session:
        plans.store_plan(session, plan)
        document = exporting.export_plan(session, plan.id, "exllamav3")
    losses = {tuple(line.split(",")[:3:2]): float(line.split(",")[3]) for line in files.table().text.splitlines()[1:]}
    assert plan.predicted.loss == pytest.approx(sum(losses[choice.layer, choice.format] for choice in plan.choices), rel=1e-12)
    for choice in plan.choices:
        assert f'"{choice.layer}.*", "source": "k{choice.format[-1]}"' in str(document["text"])


def test_a_menu_that_a_runtime_has_nothing_of_says_where_others_come_from(database: Database) -> None:
    with database.session() as session:
        described = synthetic.description()
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(synthetic.add_calibration(session)))
    with pytest.raises(PinConflictError, match=r"exllamav3 has no .*, only its own trellis.*`bitplan import`"):
        planned(database, runtime="exllamav3")


def _best(bits: float) -> float:
    """Least sum of 1 − accuracy over one option for each module, by trying all."""
    measured = [m for m in json.loads(files.stored(files.MEASUREMENT).text)["measurement"].values() if m]
    weights = sum(layer.parameters for layer in synthetic.description().layers if layer.block is not None)
    options = np.stack(np.meshgrid(*(range(len(m)) for m in measured)), axis=-1).reshape(-1, len(measured))
    losses = np.array([[1 - measured[i][k]["accuracy"] for i, k in enumerate(row)] for row in options]).sum(axis=1)
    # a share of a module's bits is rounded up for each of its layers: a bit a layer is allowed for
    sizes = np.array([[measured[i][k]["total_bits"] + 4 for i, k in enumerate(row)] for row in options]).sum(axis=1)
    return float(losses[sizes <= bits * weights].min())


def test_foreign_formats_are_planned_with_but_never_rounded_or_packed(database: Database, toy: str) -> None:
    imported(database, files.stored(files.SENSITIVITIES))
    plan = planned(database, budget={"effective_bits": 5.0})
    assert {choice.format for choice in plan.choices} == {"MLX_AFFINE4_G64", "MLX_AFFINE5_G64"}
    with database.session() as session:
        plans.store_plan(session, plan)
        calibration = synthetic.add_calibration(session)
    with database.session() as session:
        with pytest.raises(InvalidRequestError, match=r"formats of another tool \(MLX_AFFINE4_G64, MLX_AFFINE5_G64\)"):
            evaluations.submit_evaluation(session, plan.id, EvaluateRequest(calibration=calibration))
        exported = exporting.export_plan(session, plan.id, "json")
        assert exported["runtime"] == "generic"
        with pytest.raises(Exception, match="compressed-tensors has no MLX_AFFINE"):
            exporting.export_plan(session, plan.id, "compressed-tensors")
    with pytest.raises(InvalidRequestError, match="left without"):
        planned(database, runtime="vllm", budget={"effective_bits": 5.0})


def test_schemes_of_autoround_are_planned_like_measured_curves(database: Database, toy: str) -> None:
    done = imported(database, *map(files.stored, files.SCHEMES))
    assert done.formats == ["INT2_G64", "INT4_G64"]
    assert done.cells == 28
    plan = planned(database, runtime="vllm", budget={"effective_bits": 3.0})
    assert plan.proof.status == "optimal"
    assert {choice.format for choice in plan.choices} == {"INT2_G64", "INT4_G64"}
    with database.session() as session:  # own curves are trusted more, whatever their age
        synthetic.add_cells(session, synthetic.description(), synthetic.setting())
    imported(database, *map(files.stored, files.SCHEMES))
    assert planned(database).provenance.probe == "fisher"


def test_a_configuration_becomes_a_plan_of_exactly_its_size(database: Database, toy: str) -> None:
    with pytest.raises(UnmeasuredError):
        imported(database, files.stored(files.CONFIGURATION), level_format="INT{level}_G64")
    with database.session() as session:
        synthetic.add_cells(session, synthetic.description(), synthetic.setting())
        assert plan_listing.list_plans(session).items == []
    done = imported(database, files.stored(files.CONFIGURATION), level_format="INT{level}_G64")
    assert done.plan is not None
    with database.read_session() as session:
        plan = plans.get_plan(session, done.plan)
    levels = dict(line.split(": ") for line in files.stored(files.CONFIGURATION).text.splitlines())
    assert {choice.layer: choice.format for choice in plan.choices} == {k: f"INT{v}_G64" for k, v in levels.items()}
    shapes = {layer.name: layer.shape for layer in synthetic.description().layers}
    assert plan.size.layer_bits == sum(resolve_format(c.format).size_bits(shapes[c.layer]) for c in plan.choices)
    assert plan.proof.slack_bits == 0
    best = planned(database, budget={"effective_bits": plan.size.effective_bits}, formats=plan.formats)
    assert best.predicted.loss <= plan.predicted.loss
    assert any(f"loses {best.predicted.loss:.6g} nats/token" in note for note in plan.notes)
    assert any(files.stored(files.CONFIGURATION).sha256 in note for note in plan.notes)


def test_nothing_is_stored_of_a_file_with_one_bad_key(database: Database, toy: str) -> None:
    pairs = json.loads(files.stored(files.SENSITIVITIES).text)
    pairs.append(["model.layers.5.mlp.down_proj", 1.0])
    with pytest.raises(InvalidImportError, match=r"model.layers.5.mlp.down_proj"):
        imported(database, SourceFile("s.json", json.dumps(pairs).encode()))
    with database.read_session() as session:
        assert curves.list_settings(session, "toy").items == []


def test_layers_that_a_file_leaves_out_are_counted(database: Database, toy: str) -> None:
    pairs = json.loads(files.stored(files.SENSITIVITIES).text)
    kept = [pair for pair in pairs if "down_proj" not in pair[0]]
    done = imported(database, SourceFile("s.json", json.dumps(kept).encode()))
    assert done.missing == 2
    assert "2 layers of the blocks are not in it" in done.notes[-1]
    with pytest.raises(UnmeasuredError):
        planned(database, budget={"effective_bits": 5.0})
    assert planned(database, budget={"effective_bits": 5.0}, ignore=["*.down_proj", "lm_head"]).predicted.loss < math.inf


def test_moments_need_the_weights_and_options_their_type(database: Database, toy: str) -> None:
    with pytest.raises(InvalidImportError, match="second moments of inputs, no losses"):
        imported(database, files.imatrix_dat(files.toy_moments()))
    with pytest.raises(InvalidImportError, match="mlx_lm has no option low_bits of type str"):
        imported(database, files.stored(files.SENSITIVITIES), low_bits="4")
    with pytest.raises(InvalidImportError, match="exllamav2 has no option depth of type int; it has: none"):
        imported(database, files.stored(files.MEASUREMENT), depth=4)


@pytest.mark.parametrize(
    "name", ["MLX_AFFINE7_G64", "EXL2_A00_0_1", "EXL2_B00_1_1", "AUTOROUND_INT9_G64_A8", "AUTOROUND_FP8_A16"]
)
def test_names_of_no_format(name: str) -> None:
    with pytest.raises(UnknownFormatError):
        resolve_format(name)
