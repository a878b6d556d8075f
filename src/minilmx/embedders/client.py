"""Requests to one endpoint over HTTP: only to the host that the user names, and bounded in time and size."""

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from minilmx.embedders.protocols import KEY_VARIABLE, Address
from minilmx.errors import EvalError, RunnerFailed, RunnerUnavailable, boundary

if TYPE_CHECKING:
    import httpx2

MOST_REASON = 200  # characters of a server's own words
_ATTEMPTS = 4
_FIRST_WAIT_SECONDS = 0.5  # twice as long before each further attempt
_LONGEST_WAIT_SECONDS = 30.0  # of what a server may ask for
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 60.0
_REQUEST_SECONDS = 300.0
_MOST_BYTES = 64 * 1024**2
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

T = TypeVar("T")


class Refused(Exception):
    """An answer that is an error of the client's: its status, and the server's reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"HTTP {status}{reason}")
        self.status = status


class Client:
    """Sends requests to one endpoint, again after what may pass, and bounds what comes back."""

    def __init__(self, address: Address) -> None:
        """Open nothing yet. Raises RunnerUnavailable without httpx2."""
        try:
            import httpx2
        except ImportError as error:
            raise RunnerUnavailable(
                f"{address.name} needs httpx2, which is not installed",
                "Run pip install 'minilmx[endpoints]'.",
            ) from error
        self.name = address.name
        self.batch_seconds: list[float] = []
        self.versions = {"httpx2": httpx2.__version__}
        self._url = address.url
        self._key = os.environ.get(KEY_VARIABLE, "").strip() if address.protocol == "openai" else ""
        if not (self._key.isascii() and self._key.isprintable()):
            raise EvalError(f"{KEY_VARIABLE}: characters that no key has; expected printable ASCII")
        self._closed = threading.Event()
        headers = {"Accept-Encoding": "identity", "User-Agent": "minilmx"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        with boundary(RunnerFailed, f"{self.name} cannot be reached"):
            self._client = httpx2.Client(
                headers=headers,
                timeout=httpx2.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS),
                follow_redirects=False,
                trust_env=urlsplit(address.url).hostname not in _LOOPBACK,  # for a proxy
            )

    def ask(self, path: str, body: Any = None) -> bytes:
        """POST a body as JSON, or GET without one. Raises RunnerFailed, and Refused for HTTP 4xx."""
        import httpx2

        content = None if body is None else msgspec.json.encode(body)
        reason, wait = "", 0.0
        for attempt in range(_ATTEMPTS):
            if attempt and self._closed.wait(wait):
                break
            wait = _FIRST_WAIT_SECONDS * 2**attempt
            started = time.perf_counter()
            try:
                response, answer = self._send(path, content)
            except httpx2.ReadTimeout as error:  # also of a server that sends no status but 1xx
                self._closed.set()
                raise RunnerFailed(f"{self.name}: no answer within {_SILENCE_SECONDS:.0f} s") from error
            except (httpx2.TransportError, httpx2.StreamError, RuntimeError) as error:
                reason = f"{type(error).__name__} {error}".strip()
                continue
            status = response.status_code
            if status == 200:
                self.batch_seconds.append(time.perf_counter() - started)
                return answer
            reason = f"HTTP {status}{self._reason(answer)}"
            if status == 429 or status >= 500:
                asked = response.headers.get("retry-after", "")
                wait = min(float(asked), _LONGEST_WAIT_SECONDS) if asked.isdecimal() else wait
                continue
            if 300 <= status < 400:
                raise RunnerFailed(
                    f"{self.name}: a redirect, HTTP {status}; expected an answer from the host that is named",
                    "Name the address that it redirects to, if you trust it.",
                )
            raise Refused(status, self._reason(answer))
        self._closed.set()  # other requests need not be made again
        raise RunnerFailed(f"{self.name}: no answer in {_ATTEMPTS} attempts: {reason}")

    def read(self, answer: bytes, read: Callable[[bytes], T]) -> T:
        """What an answer holds. Raises RunnerFailed if it is not of the protocol."""
        with boundary(RunnerFailed, f"{self.name}: an answer that does not follow the protocol"):
            return read(answer)

    def refuse(self, error: Refused) -> RunnerFailed:
        """The error for a request that the server refuses."""
        hint = None
        if error.status in (401, 403) and self.name.startswith("openai:"):
            hint = f"Set {KEY_VARIABLE} to a key that the server accepts."
        return RunnerFailed(f"{self.name}: {error}; expected HTTP 200", hint)

    def close(self) -> None:
        """End what waits, and close every connection."""
        self._closed.set()
        self._client.close()

    def _send(self, path: str, content: bytes | None) -> "tuple[httpx2.Response, bytes]":
        method, headers = ("GET", {}) if content is None else ("POST", {"Content-Type": "application/json"})
        end = time.monotonic() + _REQUEST_SECONDS
        answer = bytearray()
        with self._client.stream(method, self._url + path, content=content, headers=headers) as response:
            for piece in response.iter_raw():
                answer += piece
                if len(answer) > _MOST_BYTES:
                    raise RunnerFailed(
                        f"{self.name}: an answer of more than {_MOST_BYTES // 1024**2} MiB; expected less"
                    )
                if time.monotonic() > end:
                    raise RunnerFailed(
                        f"{self.name}: an answer that takes more than {_REQUEST_SECONDS:.0f} s; expected less"
                    )
        return response, bytes(answer)

    def _reason(self, answer: bytes) -> str:
        """What a server says about an error, as ": WORDS", without the key."""
        try:
            said = msgspec.json.decode(answer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return ""
        for name in ("error", "message", "detail"):
            if isinstance(said, dict) and name in said:
                said = said[name]
        words = " ".join(said.split()) if isinstance(said, str) else ""
        if self._key:
            words = words.replace(self._key, "(the key)")
        return f": {words[:MOST_REASON]}" if words else ""
