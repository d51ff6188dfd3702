"""Requests of one service: authenticated, asked again where that is safe, and answers within a limit of size."""

import json
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeVar, final

import httpx2
from pydantic import BaseModel, ValidationError

from planner.client.addresses import authorization, checked_url
from planner.client.errors import UnreachableError, UnusableAnswerError
from planner.client.problems import error_of
from planner.client.retries import Retries
from planner.versions import BITPLAN_VERSION

Document = TypeVar("Document", bound=BaseModel)
Query = Mapping[str, str | float | bool | Sequence[str] | None]

_CONNECT_SECONDS: Final = 10.0
_STREAM_TIMEOUT: Final = httpx2.Timeout(60.0, connect=_CONNECT_SECONDS)  # the service sends a comment every 15 seconds
_NOTHING: Final[Query] = MappingProxyType({})


@final
class Connection:
    """A connection to one service; threads may share it.

    Args:
        url: of the service, ``https://host:port`` and a path before ``/v1`` if there is one.
        api_key: key of the service; ``None`` where it asks for none.
        timeout: seconds to wait for an answer.
        retries: when to ask again.
        most_bytes: largest answer that is read.
        transport: how requests are carried, for tests; by default over the network.

    Raises:
        InvalidRequestError: a URL or a key that cannot be one.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        timeout: float,
        retries: Retries,
        most_bytes: int,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.url = checked_url(url)
        self._timeout = timeout
        self._retries = retries
        self._most_bytes = most_bytes
        self._http = httpx2.Client(
            base_url=self.url,
            headers={"user-agent": f"bitplan/{BITPLAN_VERSION}"} | authorization(api_key),
            timeout=httpx2.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
            transport=transport,
        )

    def close(self) -> None:
        """Close what is open; the connection cannot be used again."""
        self._http.close()

    def get(self, path: str, schema: type[Document], query: Query = _NOTHING) -> Document:
        """The document at a path."""
        return self._document(schema, self._ask("GET", path, query=query).content, path)

    def get_object(self, path: str, query: Query = _NOTHING) -> dict[str, Any]:
        """A JSON object in the words of another tool, which has no schema here."""
        answer = self._ask("GET", path, query=query)
        try:
            found = json.loads(answer.content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            msg = f"the answer of {self.url} to {path} is no JSON object: use a client and a service of one version"
            raise UnusableAnswerError(msg)
        return found

    def get_text(self, path: str, query: Query = _NOTHING) -> str:
        """A text in UTF-8."""
        return self._ask("GET", path, query=query).content.decode("utf-8", errors="replace")

    def post(self, path: str, schema: type[Document], body: BaseModel | None = None, query: Query = _NOTHING) -> Document:
        """The document that a request is answered with."""
        return self._document(schema, self._ask("POST", path, body=body, query=query).content, path)

    def post_new(self, path: str, schema: type[Document], body: BaseModel | None = None) -> tuple[Document, bool]:
        """The document that a request is answered with, and whether it was made for this request (201)."""
        answer = self._ask("POST", path, body=body)
        return self._document(schema, answer.content, path), answer.status == 201

    def put(self, path: str, schema: type[Document], body: BaseModel) -> Document:
        """The document that is at a path from now on."""
        return self._document(schema, self._ask("PUT", path, body=body).content, path)

    def delete(self, path: str, query: Query = _NOTHING) -> None:
        """Delete what is at a path."""
        self._ask("DELETE", path, query=query)

    def events(self, path: str, schema: type[Document]) -> Generator[Document]:
        """The documents of server-sent events; a stream that breaks or ends is opened again where it was.

        It ends where the service says that nothing follows (204), or where the caller has heard enough.

        Raises:
            UnreachableError: the service stays away for as long as the retries last.
            UnusableAnswerError: an answer that is no stream of events, or an event that is too large or of another schema.
        """
        retries = replace(self._retries, attempts=self._retries.stream_attempts)
        last: dict[str, str] = {}
        failed = 0
        while True:
            broken: httpx2.TransportError = httpx2.ReadError("the stream of events ended")
            try:
                with self._http.sse(path, headers=last, timeout=_STREAM_TIMEOUT, max_event_size=self._most_bytes) as source:
                    if source.response.status_code == 204:
                        return
                    if source.response.is_success:
                        for event in source:
                            failed = 0
                            last = {"last-event-id": event.id} if event.id else {}
                            yield self._document(schema, event.data, path)
                    else:
                        failed += 1
                        self._pause_or_refuse(self._whole(source.response), failed, f"GET {path}", retries)
                        continue
            except (httpx2.SSEError, httpx2.DecodingError) as error:
                msg = f"the answer of {self.url} to {path} is no stream of events to read ({error}): check the URL of the service"
                raise UnusableAnswerError(msg) from error
            except httpx2.ReadTimeout as error:  # of a stream that is never silent
                broken = httpx2.ReadError(str(error))
            except httpx2.TransportError as error:
                broken = error
            failed += 1
            if not retries.after_error(broken, failed):
                self._give_up(broken, f"GET {path}")

    def _ask(self, method: str, path: str, *, query: Query = _NOTHING, body: BaseModel | None = None) -> "_Answer":
        """An answer of success, whole."""
        request = self._request(method, path, query, body)
        where = f"{method} {path}"
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self._send(request)
            except httpx2.TransportError as error:
                if not self._retries.after_error(error, attempt):
                    self._give_up(error, where)
                continue
            gone = method == "DELETE" and attempt > 1 and answer.status == 404  # by an attempt whose answer was lost
            if answer.status in range(200, 300) or gone:
                return answer
            self._pause_or_refuse(answer, attempt, where, self._retries)

    def _request(self, method: str, path: str, query: Query, body: BaseModel | None) -> httpx2.Request:
        """A request that may be sent again as it is."""
        headers = {"accept": "application/json"}
        if method == "POST":
            headers["idempotency-key"] = uuid.uuid4().hex
        if body is not None:
            headers["content-type"] = "application/json"
        return self._http.build_request(
            method,
            path,
            params={name: value for name, value in query.items() if value is not None},
            content=None if body is None else body.model_dump_json(exclude_unset=True),
            headers=headers,
        )

    def _send(self, request: httpx2.Request) -> "_Answer":
        response = self._http.send(request, stream=True)
        try:
            return self._whole(response)
        finally:
            response.close()

    def _whole(self, response: httpx2.Response) -> "_Answer":
        content = bytearray()
        where = f"{response.request.method} {response.url.path}"
        try:
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > self._most_bytes:
                    msg = (
                        f"the answer to {where} has more than {self._most_bytes:,} bytes: ask for less (fewer formats or "
                        f"layers), or give the client a larger most_bytes"
                    )
                    raise UnusableAnswerError(msg)
        except httpx2.DecodingError as error:
            msg = f"the answer to {where} is damaged ({error}): ask again"
            raise UnusableAnswerError(msg) from error
        return _Answer(response.status_code, response.headers.get("retry-after"), bytes(content))

    def _pause_or_refuse(self, answer: "_Answer", attempt: int, where: str, retries: Retries) -> None:
        """Pause before the next attempt, or raise what the answer says."""
        if not retries.after_answer(answer.status, answer.retry_after, attempt):
            raise error_of(answer.status, answer.content, where=f"{where} of {self.url}")

    def _document(self, schema: type[Document], content: bytes | str, path: str) -> Document:
        """A document of the service; fields that only a later version has are left out."""
        try:
            return schema.model_validate_json(content, extra="ignore")
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            msg = (
                f"the answer of {self.url} to {path} is no {schema.__name__} of bitplan {BITPLAN_VERSION} ({first['msg']}): use "
                f"a client and a service of one version"
            )
            raise UnusableAnswerError(msg) from error

    def _give_up(self, error: httpx2.TransportError, where: str) -> NoReturn:
        if isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout):
            msg = f"{self.url} did not answer {where} within {self._timeout:g} seconds; it may still be at work on it"
        else:
            reason = str(error) or type(error).__name__
            msg = f"{self.url} cannot be reached for {where} ({reason}): is the service up, and is this its URL?"
        raise UnreachableError(msg) from error


@final
@dataclass(frozen=True, slots=True)
class _Answer:
    """A whole answer.

    Attributes:
        status: HTTP status code.
        retry_after: the header.
        content: decoded body.
    """

    status: int
    retry_after: str | None
    content: bytes
