"""Secrets taken out of texts that leave the process: the last step of every log line.

Nothing logs a secret on purpose. This is for what others put into their words: a driver's error that quotes its connection, an
exception that shows the header it could not read, a traceback.
"""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

HIDDEN = "***"
_SHORTEST = 6
# The value ends at white space, a quote, a comma or what closes a call or an URL's query; JSON escapes quotes by a backslash.
_VALUE = r"[^\s\"'\\,;&)}\]]+"
_QUOTES = r"[\"'\\]"
_BETWEEN = rf"(?:{_QUOTES}*\s*[:=]\s*(?:b?{_QUOTES}+)?|{_QUOTES}+\s*,\s*b?{_QUOTES}+)"
_SECRET = re.compile(
    r"(?P<key>\bbitplan_[0-9a-f]+_)[\w-]{16,}"
    r"|(?P<url>://[^\s:/@\"'\\]*:)[^\s/\"'\\]+(?=@)"
    rf"|(?P<scheme>\b(?:bearer|basic)\s+){_VALUE}"
    r"|(?P<name>(?:password|\b(?:passwd|secret|token|x-api-key|api[_-]?key|cookie|authorization))"
    rf"{_BETWEEN}(?:(?:bearer|basic)\s+)?){_VALUE}",
    re.IGNORECASE,
)


class Redactor:
    """Replaces secrets in a text by ``***``: those that it was given, and what looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """A redactor that knows some secrets literally.

        Args:
            secrets: hidden wherever they stand, as they are or as an URL or JSON writes them. Those of less than six characters
                are passed over: they would hide words that are none.
        """
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def __call__(self, text: str) -> str:
        """The text without its secrets."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        return _SECRET.sub(_hide, text)


def _forms(secret: str) -> set[str]:
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}


def _hide(found: re.Match[str]) -> str:
    return (found["key"] or found["url"] or found["scheme"] or found["name"]) + HIDDEN
