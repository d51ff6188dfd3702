"""Where a service is, what lies where in it, and who asks."""

from urllib.parse import quote

import httpx2

from planner.errors import InvalidRequestError, NotFoundError


def path_of(template: str, **keys: str) -> str:
    """``/v1/models/{model}/layers`` with its keys, each as one segment of the path.

    Raises:
        NotFoundError: an empty key, which nothing has.
        InvalidRequestError: a name that is no segment of a path: ``.``, ``..``, or with a slash.
    """
    for what, key in keys.items():
        if not key:
            msg = f"the {what} is empty: give an id or a name"
            raise NotFoundError(msg)
        if key in (".", "..") or "/" in key or not _is_text(key):
            msg = f"no address has a {what} of the name {key!r} in it: ask for it by its id"
            raise InvalidRequestError(msg)
    return template.format(**{what: quote(key, safe="") for what, key in keys.items()})


def _is_text(key: str) -> bool:
    """Without half a surrogate pair, which undecodable arguments of a command have."""
    return key.isascii() or not any("\ud800" <= character <= "\udfff" for character in key)


def checked_url(url: str) -> str:
    """The URL of a service, without a slash at its end.

    Raises:
        InvalidRequestError: it is none, or it holds a password.
    """
    try:
        parsed = httpx2.URL(url.strip())
    except httpx2.InvalidURL:
        parsed = httpx2.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        msg = "the URL of a service is http:// or https://, a host, and a port and a path if it has them: http://127.0.0.1:8000"
        raise InvalidRequestError(msg)
    if parsed.userinfo:
        msg = "the URL of the service has a name or a password in it, which others may see: leave it out and use an API key"
        raise InvalidRequestError(msg)
    return str(parsed).rstrip("/")


def authorization(api_key: str | None) -> dict[str, str]:
    """The header that carries the key, if there is one.

    Raises:
        InvalidRequestError: it cannot be a key; the message does not show it.
    """
    if api_key is None:
        return {}
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key or not api_key:
        msg = "the API key is no line of printable ASCII characters: give it as `bitplan keys create` showed it"
        raise InvalidRequestError(msg)
    return {"authorization": f"Bearer {api_key}"}
