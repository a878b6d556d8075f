"""A stand-in for servers of embeddings: it speaks their documented protocols on the loopback, and breaks.

It is not one of those servers: the protocols are those of their documents (OpenAI's /embeddings, TEI's
/embed, Ollama's /api/embed, KServe's v2 infer), and the vectors those of a function that the test gives.
"""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray

Encode = Callable[[list[str]], NDArray[np.float32]]
# The status, the headers and the body of an answer.
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class StandIn:
    """What the server got, and how it answers.

    `encode` makes the vectors. `spoil` may change an answer: it gets the number of the request, from 0, the
    texts, and the answer; None ends the connection without one.
    """

    encode: Encode
    spoil: Callable[[int, list[str], Answer], Answer | None] = lambda number, texts, answer: answer
    tokens: Callable[[dict[str, NDArray[np.int64]]], NDArray[np.float32]] | None = None
    url: str = ""
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, body: Any) -> tuple[list[str], Any]:
        """The texts of a request, and the document that answers it."""
        if path.endswith("/embeddings"):
            texts = body["input"]
            return texts, {"object": "list", "model": "stand-in", "data": self._items(texts, body)}
        if path == "/embed":
            return body["inputs"], self.encode(body["inputs"]).tolist()
        if path == "/api/embed":
            return body["input"], {"model": body["model"], "embeddings": self.encode(body["input"]).tolist()}
        if path.endswith("/infer") and self.tokens is not None:
            feeds = {each["name"]: np.array(each["data"]).reshape(each["shape"]) for each in body["inputs"]}
            return [], {"model_name": "stand-in", "outputs": [_tensor(self.tokens(feeds))]}
        if path.endswith("/infer"):
            texts = body["inputs"][0]["data"]
            return texts, {"model_name": "stand-in", "outputs": [_tensor(self.encode(texts))]}
        inputs = [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
        if self.tokens is not None:
            inputs = [{"name": "input_ids", "datatype": "INT64", "shape": [8, 48]}]
        return [], {"name": "stand-in", "inputs": inputs, "outputs": []}

    def _items(self, texts: list[str], body: Any) -> list[dict[str, Any]]:
        rows = self.encode(texts)
        if body["encoding_format"] == "base64":
            shown: list[Any] = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in rows]
        else:
            shown = rows.tolist()
        items = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(shown)]
        return items[::-1]  # the protocol orders by `index`, not by place


def _tensor(values: NDArray[np.float32]) -> dict[str, Any]:
    return {
        "name": "sentence_embedding",
        "datatype": "FP32",
        "shape": list(values.shape),
        "data": values.ravel().tolist(),
    }


@contextmanager
def serve(stand_in: StandIn) -> Iterator[StandIn]:
    """Serve on a free port of the loopback until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply(None)

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _reply(self, body: Any) -> None:
            with stand_in.lock:
                number = len(stand_in.requests)
                stand_in.requests.append((self.path, dict(self.headers), body))
                texts, document = stand_in.answer(self.path, body)
            content = json.dumps(document).encode()
            answer = stand_in.spoil(number, texts, (200, {}, content))
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that closed its connection is not a fault of the server."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
