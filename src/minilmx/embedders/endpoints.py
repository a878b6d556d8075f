"""Endpoints that embed texts over HTTP, by the protocols of OpenAI, TEI, Ollama and KServe (v2).

Only the host that the user names is contacted. An answer is data: its size, order, count, width and numbers
are checked.
"""

import base64
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from minilmx.embedders.base import TextEmbedder
from minilmx.embedding.open_graph import map_in_threads
from minilmx.errors import EvalError, RunnerFailed, RunnerUnavailable, boundary
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import GraphKind
from minilmx.progress import Advance, Progress
from minilmx.runners.base import Batch, Details, NoOptions, Runner, RunnerEntry
from minilmx.wording import counted

if TYPE_CHECKING:
    import httpx2

KEY_VARIABLE = "OPENAI_API_KEY"
_BATCH_TEXTS = 32
_CONCURRENT_REQUESTS = 4
_ATTEMPTS = 4
_FIRST_WAIT_SECONDS = 0.5  # twice as long before each further attempt
_LONGEST_WAIT_SECONDS = 30.0  # of what a server may ask for
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 60.0
_REQUEST_SECONDS = 300.0
_MOST_BYTES = 64 * 1024**2
_MOST_REASON = 200  # characters of a server's own words
_TOO_LARGE = (400, 413, 422)  # how servers refuse a batch that has too many texts for them
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

Rows = NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Address:
    """Where an endpoint is, as the user spells it: PROTOCOL:URL?SETTING=VALUE."""

    protocol: str
    url: str
    settings: Mapping[str, str]

    @property
    def name(self) -> str:
        """What reports call the endpoint."""
        model = self.settings.get("model")
        return f"{self.protocol}:{self.url}" + (f"?model={model}" if model else "")

    @property
    def model(self) -> str:
        """The model that is asked for."""
        return self.settings["model"]


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer holds: one row of D numbers per text, and the model that the server names."""

    rows: list[NDArray[Any]]
    model: str | None = None


@dataclass(frozen=True, slots=True)
class _Protocol:
    """A protocol: where texts are sent, as what, and how the answer is read.

    `needed` settings must be in the address, and `optional` ones may be.
    """

    path: str
    request: Callable[[Address, Sequence[str]], Any]
    read: Callable[[bytes], Reply]
    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


class _OpenAIItem(msgspec.Struct):
    index: int
    embedding: list[float] | str


class _OpenAIAnswer(msgspec.Struct):
    data: list[_OpenAIItem]
    model: str | None = None


class _OllamaAnswer(msgspec.Struct):
    embeddings: list[list[float]]
    model: str | None = None


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any] = msgspec.field(default_factory=list)


class _KServeAnswer(msgspec.Struct):
    outputs: list[_Tensor]
    model_name: str | None = None


class _KServeModel(msgspec.Struct):
    inputs: list[_Tensor]


def _ask_openai(address: Address, texts: Sequence[str]) -> Any:
    form = address.settings.get("encoding_format", "float")
    return {"model": address.model, "input": texts, "encoding_format": form}


def _read_openai(content: bytes) -> Reply:
    answer = msgspec.json.decode(content, type=_OpenAIAnswer)
    items = sorted(answer.data, key=lambda item: item.index)
    if [item.index for item in items] != list(range(len(items))):
        raise ValueError(f"the indices {[item.index for item in items][:8]}; expected each once, from 0")
    return Reply([_numbers(item.embedding) for item in items], answer.model)


def _numbers(embedding: list[float] | str) -> NDArray[Any]:
    """One embedding: numbers, or the bytes of float32 numbers in base64."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
    return np.array(embedding, np.float64)


def _ask_tei(address: Address, texts: Sequence[str]) -> Any:
    return {"inputs": texts, "truncate": True}


def _read_tei(content: bytes) -> Reply:
    return Reply([np.array(row) for row in msgspec.json.decode(content, type=list[list[float]])])


def _ask_ollama(address: Address, texts: Sequence[str]) -> Any:
    return {"model": address.model, "input": texts}


def _read_ollama(content: bytes) -> Reply:
    answer = msgspec.json.decode(content, type=_OllamaAnswer)
    return Reply([np.array(row) for row in answer.embeddings], answer.model)


def _ask_kserve(address: Address, texts: Sequence[str]) -> Any:
    # `input` is the name that the server's own metadata gives the tensor; see KServeTexts.
    tensor = {"name": address.settings["input"], "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    return {"inputs": [tensor]}


def _read_kserve(content: bytes) -> Reply:
    answer = msgspec.json.decode(content, type=_KServeAnswer)
    found = [each for each in answer.outputs if each.name == "sentence_embedding"]
    found = found or [each for each in answer.outputs if len(each.shape) == 2]
    if len(found) != 1 or len(found[0].shape) < 2:
        shapes = ", ".join(f"{each.name} {each.shape}" for each in answer.outputs)
        raise ValueError(
            f"the outputs {shapes or 'none'}; expected one called sentence_embedding, or one [N, D]"
        )
    values = np.array(found[0].data, np.float64).reshape(found[0].shape)
    return Reply(list(values), answer.model_name)


_PROTOCOLS = {
    "openai": _Protocol("/embeddings", _ask_openai, _read_openai, ("model",), ("encoding_format",)),
    "tei": _Protocol("/embed", _ask_tei, _read_tei),
    "ollama": _Protocol("/api/embed", _ask_ollama, _read_ollama, ("model",)),
    "kserve": _Protocol("/v2/models/{model}/infer", _ask_kserve, _read_kserve, ("model",), ("artifact",)),
}
PROTOCOLS = tuple(_PROTOCOLS)


def read_address(protocol: str, spelled: str) -> Address:
    """The address in URL?SETTING=VALUE. Raises EvalError, without the URL's own secrets."""
    with boundary(EvalError, f"{protocol}: the URL cannot be read"):
        parts = urlsplit(spelled)
        port = "" if parts.port is None else f":{parts.port}"
        (parts.hostname or "").encode("idna")  # as the connection will
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EvalError(f"{protocol}: a URL without http:// or a host; expected {protocol}:http://HOST:PORT")
    if "@" in parts.netloc or parts.fragment:
        raise EvalError(
            f"{protocol}: a URL with a user or a fragment; expected http://HOST:PORT",
            f"Put a key into the environment variable {KEY_VARIABLE}." if protocol == "openai" else None,
        )
    kind, settings = _PROTOCOLS[protocol], dict(query)
    known = (*kind.needed, *kind.optional)
    wrong = [name for name in settings if name not in known]
    if wrong or len(settings) < len(query) or not all(settings.values()):
        found = f"the setting {wrong[0]}" if wrong else "a setting twice, or without a value"
        raise EvalError(f"{protocol}: {found}; expected {' and '.join(known) or 'no settings'}")
    for name in kind.needed:
        if name not in settings:
            raise EvalError(f"{protocol}: no {name}; expected {protocol}:URL?{name}=NAME")
    if settings.get("encoding_format", "float") not in ("float", "base64"):
        raise EvalError(
            f"{protocol}: encoding_format {settings['encoding_format']!r}; expected float or base64"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(
        protocol, urlunsplit((parts.scheme, host + port, parts.path.rstrip("/"), "", "")), settings
    )


class _Refused(Exception):
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
        """POST a body as JSON, or GET without one. Raises RunnerFailed, and _Refused for HTTP 4xx."""
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
            raise _Refused(status, self._reason(answer))
        self._closed.set()  # other requests need not be made again
        raise RunnerFailed(f"{self.name}: no answer in {_ATTEMPTS} attempts: {reason}")

    def read(self, answer: bytes, read: Callable[[bytes], T]) -> T:
        """What an answer holds. Raises RunnerFailed if it is not of the protocol."""
        with boundary(RunnerFailed, f"{self.name}: an answer that does not follow the protocol"):
            return read(answer)

    def refuse(self, error: _Refused) -> RunnerFailed:
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
        return f": {words[:_MOST_REASON]}" if words else ""


class Endpoint(TextEmbedder):
    """An endpoint that takes texts. Several requests run at a time; rows are in the order of the texts."""

    def __init__(self, address: Address) -> None:
        """Open nothing but a client; for KServe, ask what input the model takes.

        Raises RunnerUnavailable without httpx2, and RunnerFailed.
        """
        self.name = address.name
        self._client = Client(address)
        if address.protocol == "kserve":
            address = Address(
                address.protocol, address.url, {**address.settings, "input": self._text_input(address)}
            )
        self._address = address
        self._protocol = _PROTOCOLS[address.protocol]
        self._model: str | None = None

    @property
    def batch_seconds(self) -> Sequence[float]:  # type: ignore[override] # it grows
        """How long each request took that was answered."""
        return self._client.batch_seconds

    @property
    def details(self) -> Details:
        """The address, its settings, the model that answered, and how requests were made."""
        return {
            "runner": self._address.protocol,
            "url": self._address.url,
            **self._address.settings,
            **({"answered_by": self._model[:_MOST_REASON]} if self._model else {}),
            "texts_per_request": _BATCH_TEXTS,
            "concurrent_requests": _CONCURRENT_REQUESTS,
        }

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of the HTTP client."""
        return self._client.versions

    def encode(self, texts: Sequence[str], advance: Advance | None = None) -> Rows:
        """What the server returns, as float32 [N, D]. Raises RunnerFailed."""
        batches = [texts[start : start + _BATCH_TEXTS] for start in range(0, len(texts), _BATCH_TEXTS)]
        parts: list[Rows] = []
        for rows in map_in_threads(self._embed, batches, _CONCURRENT_REQUESTS, self.close):
            if parts and rows.shape[1] != parts[0].shape[1]:
                widths = f"{rows.shape[1]} numbers; expected {parts[0].shape[1]}, as before"
                raise RunnerFailed(f"{self.name}: embeddings of {widths}")
            parts.append(rows)
            if advance is not None:
                advance(len(rows))
        return np.concatenate(parts)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _embed(self, texts: Sequence[str]) -> Rows:
        """The rows of one batch, which is halved for a server that refuses as many texts at once."""
        try:
            path = self._protocol.path.format(model=quote(self._address.settings.get("model", ""), safe=""))
            answer = self._client.ask(path, self._protocol.request(self._address, texts))
        except _Refused as error:
            if len(texts) == 1 or error.status not in _TOO_LARGE:
                raise self._client.refuse(error) from error
            half = len(texts) // 2
            return np.concatenate([self._embed(texts[:half]), self._embed(texts[half:])])
        reply = self._client.read(answer, self._protocol.read)
        self._model = reply.model or self._model
        if len(reply.rows) != len(texts):
            raise RunnerFailed(f"{self.name}: {counted(len(reply.rows), 'embedding')}; expected {len(texts)}")
        return _as_rows(self.name, reply.rows)

    def _text_input(self, address: Address) -> str:
        """The name of the model's one input of texts."""
        try:
            answer = self._client.ask(f"/v2/models/{quote(address.model, safe='')}")
        except _Refused as error:
            raise self._client.refuse(error) from error
        inputs = self._client.read(
            answer, lambda content: msgspec.json.decode(content, type=_KServeModel)
        ).inputs
        texts = [each.name for each in inputs if each.datatype == "BYTES"]
        if len(inputs) != 1 or not texts:
            found = ", ".join(f"{each.name} {each.datatype}" for each in inputs)
            raise RunnerFailed(
                f"{self.name}: the inputs {found[:_MOST_REASON] or 'none'}; expected one of texts (BYTES)",
                "For a graph that takes tokens, name the artifact that it was made from: &artifact=PATH.",
            )
        return texts[0]


def _as_rows(name: str, rows: Sequence[NDArray[Any]]) -> Rows:
    """Rows as float32 [N, D]. Raises RunnerFailed for other widths, and numbers that are not finite."""
    widths = sorted({row.shape for row in rows})
    if len(widths) != 1 or len(widths[0]) != 1 or not widths[0][0]:
        found = " and ".join(str(list(width)) for width in widths[:2])
        raise RunnerFailed(f"{name}: embeddings of the shapes {found}; expected one width")
    with np.errstate(over="ignore"):
        values = np.stack(rows).astype(np.float32)
    if not np.isfinite(values).all():
        raise RunnerFailed(f"{name}: numbers that are not finite; expected finite float32 numbers")
    return values


class _TokenRunner(Runner):
    """The fixed graph of an artifact behind KServe's protocol."""

    name = "kserve"
    concurrency = _CONCURRENT_REQUESTS

    def __init__(self, address: Address) -> None:
        self._client = Client(address)
        self._address = address
        self._path = f"/v2/models/{quote(address.model, safe='')}/infer"

    @property
    def details(self) -> Details:
        """The address and the model."""
        return {"url": self._address.url, "model": self._address.model}

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of the HTTP client."""
        return self._client.versions

    def run(self, batch: Batch) -> Rows:
        """Embed one batch: int64 [B, S] inputs to float32 [B, D]. Raises RunnerFailed."""
        tensors = [
            {"name": name, "shape": list(array.shape), "datatype": "INT64", "data": array.ravel().tolist()}
            for name, array in batch.feeds().items()
        ]
        try:
            answer = self._client.ask(self._path, {"inputs": tensors})
        except _Refused as error:
            raise self._client.refuse(error) from error
        return _as_rows(self._client.name, self._client.read(answer, _read_kserve).rows)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def token_runner(address: Address) -> RunnerEntry:
    """The runner of an artifact's fixed graph that a server of KServe's protocol runs."""

    def open_runner(artifact: Artifact, options: NoOptions, progress: Progress) -> Runner:
        return _TokenRunner(address)

    return RunnerEntry(
        "kserve",
        "the fixed graph on a server of KServe's protocol",
        lambda options: None,
        open_runner,
        graphs=frozenset({GraphKind.FIXED}),
        verifies=True,
    )
