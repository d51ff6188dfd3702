"""Which files a request may name."""

import os
from pathlib import Path

import pytest

from planner.errors import InvalidRequestError
from planner.services.confinement import confine, confine_found
from planner.services.models import inspect, register
from planner.storage.database import Database
from planner.worker.registered_files import registered_files
from sensitivity.checkpoint import describe
from sensitivity.checkpoint.description import ModelDescription
from tests.sensitivity.checkpoint.sparse_checkpoints import small_llama


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "inside").mkdir(parents=True)
    (tmp_path / "root-of-another").mkdir()
    (tmp_path / "outside.txt").write_text("secret")
    return root


def test_without_roots_every_path_may_be_named() -> None:
    confine("/etc/passwd", None)


@pytest.mark.parametrize("source", ["", "inside", "inside/new.txt", "inside/../inside"])
def test_what_lies_below_a_root_may_be_named_whether_it_exists_or_not(root: Path, source: str) -> None:
    confine(str(root / source), [root / "nowhere", root])


@pytest.mark.parametrize(
    "source",
    ["..", "../outside.txt", "../missing.txt", "../root-of-another", "inside/../../outside.txt", "/etc/passwd", "/", "/missing"],
)
def test_what_does_not_is_refused_in_the_same_words_whether_it_exists_or_not(root: Path, source: str) -> None:
    path = str(root / source)
    with pytest.raises(InvalidRequestError) as refused:
        confine(path, [root])
    assert str(refused.value).replace(repr(path), "PATH") == (
        "PATH is not below a folder that this service may read: move it there, "
        "or ask the operator to add its folder to BITPLAN_MODEL_ROOTS"
    )


def test_no_root_at_all_refuses_everything(root: Path) -> None:
    with pytest.raises(InvalidRequestError):
        confine(str(root), [])


def test_links_are_followed_before_they_are_judged(root: Path, tmp_path: Path) -> None:
    (root / "inside" / "shard").symlink_to(root / "blob")
    confine(str(root / "inside"), [root])
    (root / "inside" / "leak").symlink_to(tmp_path / "outside.txt")
    for source in ("inside", "inside/leak"):
        with pytest.raises(InvalidRequestError):
            confine(str(root / source), [root])


def test_a_root_that_is_a_link_is_the_folder_that_it_leads_to(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    confine(str(root / "inside"), [tmp_path / "alias"])
    confine(str(tmp_path / "alias" / "inside"), [root])


def test_a_hub_id_passes_only_where_ids_are_taken_and_no_such_path_is_here(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    confine("organisation/model-1.5", [root], hub_ids=True)
    for source, ids in (("organisation/model", False), ("a/b/c", True), ("../model", True), (".hidden/model", True)):
        with pytest.raises(InvalidRequestError):
            confine(source, [root], hub_ids=ids)
    os.makedirs("organisation/model-1.5")
    with pytest.raises(InvalidRequestError):
        confine("organisation/model-1.5", [root], hub_ids=True)


@pytest.mark.parametrize("source", ["a\0b", "\ud800"])
def test_what_is_no_path_is_refused(root: Path, source: str) -> None:
    with pytest.raises(InvalidRequestError):
        confine(f"{root}/{source}", [root])


def test_a_folder_that_may_not_be_read_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InvalidRequestError, match="permissions"):
        confine(str(root / "inside"), [root])


def test_what_was_found_is_judged_again_and_a_hub_ids_cache_is_allowed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    snapshot = str(tmp_path / "cache" / "models--me--tiny" / "snapshots" / "0")
    confine_found(snapshot, [root], source="me/tiny")
    confine_found("/etc", None, source="/etc")
    for path, source in ((snapshot, snapshot), ("/etc", "me/tiny"), (str(root / ".."), str(root))):
        with pytest.raises(InvalidRequestError):
            confine_found(path, [root], source=source)


def test_a_folder_that_became_a_link_while_it_was_read_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer would tell what lies outside, though it was inside when it was named."""
    small_llama(tmp_path / "outside")

    def exchange(source: str, *, revision: str | None) -> ModelDescription:
        (root / "inside").rmdir()
        (root / "inside").symlink_to(tmp_path / "outside")
        return describe(source, revision=revision)

    monkeypatch.setattr("planner.services.models.describe", exchange)
    with pytest.raises(InvalidRequestError):
        inspect(str(root / "inside"), roots=[root])


def test_a_worker_opens_only_what_lies_below_its_own_roots(database: Database, root: Path, tmp_path: Path) -> None:
    model = small_llama(root / "model")
    with database.session() as session:
        identity = register(session, inspect(str(model), roots=[root]))[0].id
    assert registered_files(database, identity, roots=[root]).fingerprint == identity
    with pytest.raises(InvalidRequestError, match="BITPLAN_MODEL_ROOTS"):
        registered_files(database, identity, roots=[tmp_path / "elsewhere"])
    model.rename(tmp_path / "moved")
    model.symlink_to(tmp_path / "moved")
    with pytest.raises(InvalidRequestError, match="BITPLAN_MODEL_ROOTS"):
        registered_files(database, identity, roots=[root])
    assert registered_files(database, identity).fingerprint == identity
