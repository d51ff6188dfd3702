"""`bitplan keys`: API keys of the service, made and revoked where its database is."""

from datetime import datetime, timedelta
from typing import Annotated

import typer

from planner.cli.reporting import AsJson, out, say, show_json, show_table
from planner.cli.workspace import open_database
from planner.errors import InvalidRequestError
from planner.schemas.keys import AccessScope, ApiKey
from planner.services import keys as service
from planner.services.pagination import PAGE_LIMIT

keys = typer.Typer(no_args_is_help=True, help="API keys of the service. They are made on the machine that has its database.")


@keys.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, or what it is for.")],
    scope: Annotated[
        list[AccessScope],
        typer.Option("--scope", help="read, plan (and read), measure (and read), or admin (everything); repeatable."),
    ],
    days: Annotated[float | None, typer.Option("--days", help="Refuse it after so many days; by default never.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: the only time that it is shown. A running service knows it within ten seconds."""
    with open_database().session() as session:
        created = service.create_key(session, name, scope, valid_for=None if days is None else _duration(days))
    if as_json:
        show_json(created)
        return
    out.print(created.key, highlight=False, soft_wrap=True)
    until = "for ever" if created.expires_at is None else f"until {created.expires_at:%Y-%m-%d %H:%M} UTC"
    say(f"{created.prefix} of {created.name!r} may {', '.join(created.scopes)} {until}. Keep the key: it is not shown again.")


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """Every key that was made, newest first, without the keys themselves."""
    with open_database().read_session() as session:
        page = service.list_keys(session, limit=PAGE_LIMIT)
        items = page.items
        while page.next is not None:
            page = service.list_keys(session, cursor=page.next, limit=PAGE_LIMIT)
            items = [*items, *page.items]
    if as_json:
        show_json(page.model_copy(update={"items": items}))
        return
    rows = [[key.name, key.id, ", ".join(key.scopes), _day(key.last_used_at), _end(key)] for key in items]
    show_table("keys", ["name", "id", "scopes", "last used", "ends"], rows)
    if not rows:
        say("no keys yet: bitplan keys create NAME --scope plan")


@keys.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(help="Id of the key, as `bitplan keys list` shows it; not the key itself.")],
    as_json: AsJson = False,
) -> None:
    """Refuse a key from now on; a running service does so within ten seconds."""
    with open_database().session() as session:
        revoked = service.revoke_key(session, key)
    if as_json:
        show_json(revoked)
        return
    out.print(f"revoked: {revoked.prefix} of {revoked.name!r}", markup=False, highlight=False)


def _duration(days: float) -> timedelta:
    try:
        return timedelta(days=days)
    except (OverflowError, ValueError) as error:
        msg = f"--days {days}: write a number of days below a million"
        raise InvalidRequestError(msg) from error


def _day(time: datetime | None) -> str:
    return "never" if time is None else f"{time:%Y-%m-%d}"


def _end(key: ApiKey) -> str:
    return f"revoked {_day(key.revoked_at)}" if key.revoked_at is not None else _day(key.expires_at)
