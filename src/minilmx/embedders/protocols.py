"""The protocols of OpenAI, TEI, Ollama and KServe (v2): how an endpoint is spelled, asked, and read."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from minilmx.errors import EvalError, boundary

KEY_VARIABLE = "OPENAI_API_KEY"


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
    """What an answer contains: one row of D numbers per text, and the model that the server names."""

    rows: list[NDArray[Any]]
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Protocol:
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


class KServeModel(msgspec.Struct):
    inputs: list[_Tensor]


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


def _read_tei(content: bytes) -> Reply:
    return Reply([np.array(row) for row in msgspec.json.decode(content, type=list[list[float]])])


def _read_ollama(content: bytes) -> Reply:
    answer = msgspec.json.decode(content, type=_OllamaAnswer)
    return Reply([np.array(row) for row in answer.embeddings], answer.model)


def read_kserve(content: bytes) -> Reply:
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


PROTOCOLS = {
    "openai": Protocol(
        "/embeddings",
        lambda address, texts: {
            "model": address.model,
            "input": texts,
            "encoding_format": address.settings.get("encoding_format", "float"),
        },
        _read_openai,
        ("model",),
        ("encoding_format",),
    ),
    "tei": Protocol("/embed", lambda _, texts: {"inputs": texts, "truncate": True}, _read_tei),
    "ollama": Protocol(
        "/api/embed",
        lambda address, texts: {"model": address.model, "input": texts},
        _read_ollama,
        ("model",),
    ),
    "kserve": Protocol(
        "/v2/models/{model}/infer",
        # `input` is the name that the server's own metadata gives the tensor: see Endpoint.
        lambda address, texts: {
            "inputs": [
                {"name": address.settings["input"], "shape": [len(texts)], "datatype": "BYTES", "data": texts}
            ]
        },
        read_kserve,
        ("model",),
        ("artifact",),
    ),
}


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
    kind, settings = PROTOCOLS[protocol], dict(query)
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
