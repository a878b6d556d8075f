"""Endpoints as embedders: one that takes texts, and one that runs an artifact's fixed graph.

An answer is data: its size, order, count, width and numbers are checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
from numpy.typing import NDArray

from minilmx.embedders.base import TextEmbedder
from minilmx.embedders.client import MOST_REASON, Client, Refused
from minilmx.embedders.protocols import PROTOCOLS, Address, KServeModel, read_kserve
from minilmx.errors import RunnerFailed
from minilmx.models.manifest import GraphKind
from minilmx.progress import Advance
from minilmx.runners.base import Batch, Details, Runner, RunnerEntry
from minilmx.threads import map_in_threads
from minilmx.wording import counted

_BATCH_TEXTS = 32
_CONCURRENT_REQUESTS = 4
_TOO_LARGE = (400, 413, 422)  # how servers refuse a batch that has too many texts for them

Rows = NDArray[np.float32]


class Endpoint(TextEmbedder):
    """An endpoint that takes texts. Several requests run at a time; rows are in the order of the texts."""

    def __init__(self, address: Address) -> None:
        """Open nothing but a client; for KServe, ask what input the model takes.

        Raises RunnerUnavailable without httpx2, and RunnerFailed.
        """
        self.name = address.name
        self._client = Client(address)
        if address.protocol == "kserve":
            address = replace(address, settings={**address.settings, "input": self._text_input(address)})
        self._address = address
        self._protocol = PROTOCOLS[address.protocol]
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
            **({"answered_by": self._model[:MOST_REASON]} if self._model else {}),
            "texts_per_request": _BATCH_TEXTS,
            "concurrent_requests": _CONCURRENT_REQUESTS,
        }

    @property
    def versions(self) -> Mapping[str, str]:
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
        self._client.close()

    def _embed(self, texts: Sequence[str]) -> Rows:
        """The rows of one batch, which is halved for a server that refuses as many texts at once."""
        try:
            path = self._protocol.path.format(model=quote(self._address.settings.get("model", ""), safe=""))
            answer = self._client.ask(path, self._protocol.request(self._address, texts))
        except Refused as error:
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
        except Refused as error:
            raise self._client.refuse(error) from error
        inputs = self._client.read(
            answer, lambda content: msgspec.json.decode(content, type=KServeModel)
        ).inputs
        texts = [each.name for each in inputs if each.datatype == "BYTES"]
        if len(inputs) != 1 or not texts:
            found = ", ".join(f"{each.name} {each.datatype}" for each in inputs)
            raise RunnerFailed(
                f"{self.name}: the inputs {found[:MOST_REASON] or 'none'}; expected one of texts (BYTES)",
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
        return {"url": self._address.url, "model": self._address.model}

    @property
    def versions(self) -> Mapping[str, str]:
        return self._client.versions

    def run(self, batch: Batch) -> Rows:
        """Embed one batch: int64 [B, S] inputs to float32 [B, D]. Raises RunnerFailed."""
        tensors = [
            {"name": name, "shape": list(array.shape), "datatype": "INT64", "data": array.ravel().tolist()}
            for name, array in batch.feeds().items()
        ]
        try:
            answer = self._client.ask(self._path, {"inputs": tensors})
        except Refused as error:
            raise self._client.refuse(error) from error
        return _as_rows(self._client.name, self._client.read(answer, read_kserve).rows)

    def close(self) -> None:
        self._client.close()


def token_runner(address: Address) -> RunnerEntry:
    """The runner of an artifact's fixed graph that a server of KServe's protocol runs."""
    return RunnerEntry(
        "kserve",
        "the fixed graph on a server of KServe's protocol",
        lambda options: None,
        lambda artifact, options, progress: _TokenRunner(address),
        graphs=frozenset({GraphKind.FIXED}),
        verifies=True,
    )
