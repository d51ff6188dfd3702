"""What an operator may set: environment variables ``BITPLAN_…``, read once where a process starts.

What others must not see in a process's environment may be in files: with ``BITPLAN_SECRETS_DIR``, the content of
``bitplan_database_url`` in that folder is the variable of that name, unless the variable itself is set.
"""

import os
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from planner.errors import InvalidRequestError
from planner.jobs.workers import LABEL_PATTERN

SECRETS_DIR: Final = "BITPLAN_SECRETS_DIR"


def default_data_dir() -> Path:
    """The XDG data folder of bitplan: ``$XDG_DATA_HOME/bitplan``, or ``~/.local/share/bitplan``."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "share") / "bitplan"


class Settings(BaseSettings):
    """Settings of one process; frozen.

    Every worker of one database must use the same ``lease_seconds``.
    """

    model_config = SettingsConfigDict(env_prefix="BITPLAN_", frozen=True, extra="forbid")

    data_dir: Annotated[Path, Field(description="folder of the default database and of everything bitplan writes")] = Field(
        default_factory=default_data_dir
    )
    database_url: Annotated[
        str | None,
        Field(
            repr=False,  # it may hold a password
            description="sqlite:////path/file.db or postgresql+psycopg://user:password@host/name; SQLite in data_dir",
        ),
    ] = None
    lease_seconds: Annotated[
        float, Field(ge=1.0, le=86_400.0, description="a worker that is silent for so long loses its unit to another")
    ] = 60.0
    host: Annotated[str, Field(min_length=1, description="address that `bitplan serve` listens on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="port that `bitplan serve` listens on; 0 picks one")] = 8000
    require_key: Annotated[
        bool | None,
        Field(
            description="whether requests from the service's own machine need an API key too: true, false, or unset for "
            "'from the first key on'. Requests from elsewhere always need one"
        ),
    ] = None
    requests_per_second: Annotated[
        float, Field(ge=0, le=1e6, description="of one key, or of an address without a good one; bursts of twice as many; 0: any")
    ] = 100.0
    max_requests: Annotated[
        int, Field(ge=1, le=65_536, description="requests under way at once, at work or waiting; more are refused with 503")
    ] = 256
    request_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=86_400,
            description="a request whose answer has not begun after so long is refused with 503; more than the greatest "
            "deadline that a request may give (240 s, of a batch of plans)",
        ),
    ] = 300.0
    torch_threads: Annotated[
        int, Field(ge=1, le=1024, description="threads of a worker's arithmetic; the machine's cores by default")
    ] = Field(default_factory=lambda: os.cpu_count() or 1)
    worker_niceness: Annotated[
        int,
        Field(
            ge=0,
            le=19,
            description="how far the worker beside the service gives way to whoever else wants the processor: 0 not at all; "
            "10: beside two busy requests on each processor it keeps a twentieth; 19: it measures with what requests leave",
        ),
    ] = 10
    worker_labels: Annotated[
        frozenset[Annotated[str, Field(pattern=LABEL_PATTERN)]],
        NoDecode,
        Field(description="what jobs may ask for of a worker, joined by commas: gpu,fast-disk"),
    ] = frozenset()
    worker_memory_bytes: Annotated[
        int | None,
        Field(ge=1, description="jobs that are forecast to need more are left to other workers; the machine's memory if unset"),
    ] = None
    job_retention_days: Annotated[
        float,
        Field(ge=0.0, le=36_500.0, description="units of jobs that ended so long ago are forgotten; jobs and cells stay"),
    ] = 30.0
    model_roots: Annotated[
        tuple[Path, ...] | None,
        NoDecode,
        Field(
            description=f"folders that requests may name files of, joined by {os.pathsep!r}; workers open models of these alone. "
            "Unset: any for requests from the service's own machine, none for others'"
        ),
    ] = None
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="least severity that is logged")] = (
        "INFO"
    )
    log_format: Annotated[
        Literal["auto", "json", "text"],
        Field(description="form of the logs on standard error: JSON lines or text; auto is text on a terminal alone"),
    ] = "auto"

    @field_validator("model_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(Path(part) for part in value.split(os.pathsep) if part) or None
        return value

    @field_validator("worker_labels", mode="before")
    @classmethod
    def _split_labels(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(label.strip() for label in value.split(",")) - {""}
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given, then variables, then the files of ``BITPLAN_SECRETS_DIR``.

        Raises:
            InvalidRequestError: there is no such folder: without its secrets, another database would be taken.
        """
        folder = os.environ.get(SECRETS_DIR) or None
        if folder is not None and not Path(folder).is_dir():
            msg = f"{SECRETS_DIR} is {folder}, which is no folder: make it, or unset the variable"
            raise InvalidRequestError(msg)
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=folder)

    @property
    def resolved_database_url(self) -> str:
        """``database_url``, or the SQLite file in the data folder."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'bitplan.db').absolute()}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody may read in a log: the password of the database."""
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            password = make_url(self.resolved_database_url).password
        except ArgumentError:  # ``Database`` says what is wrong with it
            return ()
        return (str(password),) if password else ()

    @classmethod
    def load(cls, **given: str) -> Self:
        """Settings from the environment, and those given instead, in the words of their variables.

        Raises:
            InvalidRequestError: a variable has no usable value; the message names it.
        """
        try:
            return cls.model_validate(given) if given else cls()
        except ValidationError as error:
            problems = "; ".join(
                f"BITPLAN_{'.'.join(str(part) for part in item['loc']).upper()}: {item['msg']}" for item in error.errors()
            )
            msg = f"the environment has settings that cannot be used: {problems}. Correct or unset them."
            raise InvalidRequestError(msg) from error
