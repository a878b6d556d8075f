"""Endpoints as a side of `mlx compare`, against a stand-in on the loopback that speaks their protocols."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import Mlx
from tests.endpoint_server import Answer, StandIn, serve

import minilmx
from minilmx.models.artifact import Artifact

pytest.importorskip("httpx2", reason="needs httpx2, the extra endpoints")

Spoil = Callable[[int, list[str], Answer], Answer | None]

TEXTS = [f"text {number}" for number in range(100)]
PATHS = {
    "openai": "openai:{url}/v1?model=m",
    "openai in base64": "openai:{url}/v1?model=m&encoding_format=base64",
    "tei": "tei:{url}",
    "ollama": "ollama:{url}?model=m",
    "kserve": "kserve:{url}?model=m",
}


@pytest.fixture(scope="module")
def embedder(tiny_original: Artifact) -> Iterator[minilmx.Embedder]:
    with minilmx.load(tiny_original) as opened:
        yield opened


@pytest.fixture
def server(embedder: minilmx.Embedder) -> Iterator[StandIn]:
    """A stand-in that returns the vectors of the tiny artifact."""
    with serve(StandIn(embedder.encode)) as stand_in:
        yield stand_in


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS))
    return path


def refusal(mlx: Mlx, server: StandIn, spoil: Spoil, kind: str = "openai") -> str:
    """The one sentence that a spoiled answer ends with."""
    server.spoil = spoil
    outcome = mlx("compare", "tiny-b4-s16", PATHS[kind].format(url=server.url), "--texts", "texts.txt")
    assert outcome.code == 3, outcome
    assert outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == 1
    assert "fault in minilmx" not in outcome.stderr
    return str(outcome.stderr)


def changed(change: Callable[[Any], Any], at: int = 0) -> Spoil:
    """Change the JSON document of the answers from the `at`-th request."""

    def spoil(number: int, texts: list[str], answer: Answer) -> Answer:
        status, headers, content = answer
        if number < at:
            return answer
        return status, headers, json.dumps(change(json.loads(content))).encode()

    return spoil


def refused(status: int, body: object, **headers: str) -> Spoil:
    return lambda number, texts, answer: (status, headers, json.dumps(body).encode())


@pytest.mark.parametrize("kind", PATHS)
def test_every_protocol_gives_the_vectors_in_the_order_of_the_texts(
    kind: str, server: StandIn, tiny: Path, texts: Path, mlx: Mlx
) -> None:
    spelled = PATHS[kind].format(url=server.url)
    outcome = mlx("compare", tiny, spelled, "--texts", texts, "--json")
    assert outcome.code == 0, outcome
    (evaluation,) = json.loads(outcome.stdout)["evaluations"]
    run = evaluation["runners"][1]
    assert run["comparison"]["drift"]["max_abs"] < 1e-6
    assert run["details"]["inputs"] == "the same texts"
    assert run["details"]["runner"] == kind.split()[0]
    assert run["timing"]["batches"] >= 4
    assert run["timing"]["sentences_per_second"] > 0
    assert not any(text in outcome.stdout for text in TEXTS)


def test_an_answer_has_at_most_32_texts(server: StandIn, tiny: Path, texts: Path, mlx: Mlx) -> None:
    assert mlx("compare", tiny, PATHS["openai"].format(url=server.url), "--texts", texts).code == 0
    sizes = [len(body["input"]) for _, _, body in server.requests]
    assert sorted(sizes) == [4, 32, 32, 32]


@pytest.mark.parametrize("status", [413, 422])
def test_a_server_that_takes_fewer_texts_gets_fewer(
    status: int, server: StandIn, tiny: Path, texts: Path, mlx: Mlx
) -> None:
    def limit(number: int, asked: list[str], answer: Answer) -> Answer:
        return answer if len(asked) <= 10 else (status, {}, b'{"error": "batch size 32 > 10"}')

    server.spoil = limit
    outcome = mlx("compare", tiny, PATHS["tei"].format(url=server.url), "--texts", texts)
    assert outcome.code == 0, outcome
    assert outcome.stdout.startswith("SAME: ")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_asked_again(
    status: int, server: StandIn, tiny: Path, texts: Path, mlx: Mlx
) -> None:
    def busy(number: int, asked: list[str], answer: Answer) -> Answer:
        return answer if number > 4 else (status, {"Retry-After": "0"}, b"busy")

    server.spoil = busy
    outcome = mlx("compare", tiny, PATHS["openai"].format(url=server.url), "--texts", texts)
    assert outcome.code == 0, outcome
    assert len(server.requests) == 9


BREAKS: dict[str, tuple[str, Spoil, str]] = {
    "always busy": ("openai", refused(503, {}, **{"Retry-After": "0"}), "no answer in 4 attempts: HTTP 503"),
    "a wrong path": ("openai", refused(404, {"error": {"message": "no model m"}}), "HTTP 404: no model m"),
    "a wrong key": ("openai", refused(401, {}), "HTTP 401; expected HTTP 200. Set OPENAI_API_KEY to"),
    "a text that is refused": ("tei", refused(422, {"error": "bad text"}), "HTTP 422: bad text"),
    "a redirect": ("tei", refused(307, {}, Location="http://127.0.0.1:1/"), "a redirect, HTTP 307"),
    "no JSON": ("tei", lambda number, texts, answer: (200, {}, b"<html>"), "does not follow the protocol"),
    "another document": ("openai", changed(lambda it: {"embeddings": []}), "does not follow the protocol"),
    "an embedding too few": ("tei", changed(lambda it: it[1:]), " embeddings; expected "),
    "an embedding too many": ("ollama", changed(lambda it: it | {"embeddings": [*it["embeddings"], [1.0]]}),
                              " embeddings; expected "),
    "no embedding": ("ollama", changed(lambda it: it | {"embeddings": []}), "0 embeddings; expected"),
    "an index twice": (
        "openai",
        changed(lambda it: it | {"data": [each | {"index": 0} for each in it["data"]]}),
        "expected each once, from 0",
    ),
    "a null": ("tei", changed(lambda it: [[None, *it[0][1:]], *it[1:]]), "Expected `float`, got `null`"),
    "a null of KServe": (
        "kserve",
        changed(lambda it: it | {"outputs": [each | {"data": [None] * len(each["data"])}
                                             for each in it.get("outputs", [])]}),
        "numbers that are not finite",
    ),
    "NaN": ("tei", changed(lambda it: [[float("nan"), *it[0][1:]], *it[1:]]), "does not follow the protocol"),
    "a number beyond float32": ("tei", changed(lambda it: [[1e300, *it[0][1:]], *it[1:]]), "not finite"),
    "rows of two widths": ("tei", changed(lambda it: [it[0][1:], *it[1:]]), "the shapes [7] and [8]"),
    "empty rows": ("tei", changed(lambda it: [[] for _ in it]), "the shapes [0]"),
    "another width later": ("tei", changed(lambda it: [row[1:] for row in it], at=3), "expected 8"),
    "half of an answer": (
        "tei",
        lambda number, texts, answer: (200, {"Content-Length": "9999999", "Connection": "close"}, answer[2]),
        "no answer in 4 attempts",
    ),
    "base64 that is none": (
        "openai in base64",
        changed(lambda it: it | {"data": [each | {"embedding": "?"} for each in it["data"]]}),
        "does not follow the protocol",
    ),
    "a base64 of 3 bytes": (
        "openai in base64",
        changed(lambda it: it | {"data": [each | {"embedding": "AAAA"} for each in it["data"]]}),
        "does not follow the protocol",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_answer_is_one_sentence(
    name: str, server: StandIn, tiny: Path, texts: Path, mlx: Mlx
) -> None:
    kind, spoil, sentence = BREAKS[name]
    message = refusal(mlx, server, spoil, kind)
    assert message.startswith(f"Error: {kind.split()[0]}:http://127.0.0.1:")
    assert sentence in message, message


def test_a_server_that_dies_in_the_middle_is_one_sentence(
    server: StandIn, tiny: Path, texts: Path, mlx: Mlx
) -> None:
    message = refusal(mlx, server, lambda number, asked, answer: answer if number < 2 else None)
    assert "no answer in 4 attempts" in message


@pytest.mark.slow
def test_a_server_that_is_silent_is_asked_once(server: StandIn, tiny: Path, texts: Path, mlx: Mlx) -> None:
    message = refusal(mlx, server, lambda number, asked, answer: (199, {}, b""), "tei")
    assert "no answer within 60 s" in message
    assert len(server.requests) <= 4  # as many are asked at a time


def test_a_server_that_does_not_exist_is_one_sentence(tiny: Path, texts: Path, mlx: Mlx) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outcome = mlx("compare", tiny, f"tei:http://127.0.0.1:{port}", "--texts", texts)
    assert outcome.code == 3, outcome
    assert "no answer in 4 attempts: ConnectError" in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_an_answer_of_any_size_is_not_read(server: StandIn, tiny: Path, texts: Path, mlx: Mlx) -> None:
    large = b" " * (65 * 1024**2)
    assert "more than 64 MiB" in refusal(mlx, server, lambda number, asked, answer: (200, {}, large), "tei")


def test_the_key_is_sent_and_never_shown(
    server: StandIn, tiny: Path, texts: Path, mlx: Mlx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    spelled = PATHS["openai"].format(url=server.url)
    outcome = mlx("compare", tiny, spelled, "--texts", texts, "-o", "r.json")
    assert outcome.code == 0, outcome
    assert {headers["Authorization"] for _, headers, _ in server.requests} == {"Bearer sk-secret"}
    assert "sk-secret" not in f"{outcome}{Path('r.json').read_text()}"
    message = refusal(mlx, server, refused(401, {"error": {"message": "the key sk-secret is wrong"}}))
    assert "HTTP 401: the key (the key) is wrong" in message
    assert "sk-secret" not in message


def test_a_key_that_cannot_be_sent_is_refused_without_it(
    tiny: Path, mlx: Mlx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-sec\nret")
    outcome = mlx("compare", "openai:http://127.0.0.1:9?model=m", tiny)
    assert outcome.code == 3
    assert "OPENAI_API_KEY: characters that no key has; expected printable ASCII" in outcome.stderr
    assert "sk-sec" not in outcome.stderr


def test_the_key_is_only_for_openais_protocol(
    server: StandIn, tiny: Path, texts: Path, mlx: Mlx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert mlx("compare", tiny, f"tei:{server.url}", "--texts", texts).code == 0
    assert not any("Authorization" in headers for _, headers, _ in server.requests)


@pytest.mark.parametrize(
    ("spelled", "sentence"),
    [
        ("openai:http://127.0.0.1:9/v1", "openai: no model; expected openai:URL?model=NAME"),
        ("openai:127.0.0.1:9?model=m", "openai: a URL without http:// or a host"),
        ("openai:http://?model=m", "openai: a URL without http:// or a host"),
        ("openai:http://127.0.0.1:x?model=m", "openai: the URL cannot be read"),
        ("openai:http://u:secret@127.0.0.1:9?model=m", "openai: a URL with a user or a fragment"),
        ("openai:http://127.0.0.1:9?model=m&key=secret", "openai: the setting key; expected model"),
        ("openai:http://127.0.0.1:9?model=m&model=n", "openai: a setting twice, or without a value"),
        ("openai:http://127.0.0.1:9?model=", "openai: a setting twice, or without a value"),
        ("openai:http://127.0.0.1:9?model=m&encoding_format=f2", "openai: encoding_format 'f2'"),
        ("tei:http://127.0.0.1:9?model=m", "tei: the setting model; expected no settings"),
        ("ftp:http://127.0.0.1:9", "ftp:http://127.0.0.1:9 does not exist; expected an artifact"),
        ("model:nowhere", "unknown model 'nowhere'"),
        ("tiny-b4-s16@nothing", "the runner 'nothing' does not exist"),
        ("tiny-b4-s16@onnxruntime:depth=1", "the setting depth of the runner onnxruntime; expected one of"),
        ("tiny-b4-s16@onnxruntime:threads=x", "the settings of the runner onnxruntime: Expected"),
        ("tiny-b4-s16@onnxruntime:threads", "the setting threads; expected NAME=VALUE"),
        ("tiny-b4-s16@onnxruntime:graph=round", "round"),
    ],
)
def test_a_wrong_spelling_is_one_sentence_without_secrets(
    spelled: str, sentence: str, tiny: Path, mlx: Mlx
) -> None:
    outcome = mlx("compare", tiny, spelled)
    assert outcome.code == 3, outcome
    assert sentence in outcome.stderr
    assert "secret" not in outcome.stderr
    assert len(outcome.stderr.splitlines()) <= 2  # one of them may be the data set's
    assert "fault in minilmx" not in outcome.stderr


def test_an_option_of_a_device_is_refused_for_the_cpu(tiny: Path, mlx: Mlx) -> None:
    outcome = mlx("compare", tiny, "tiny-b4-s16@onnxruntime:device_options=a=b")
    assert outcome.code == 2, outcome
    assert "the options of a device: a=b; expected none for the device cpu" in outcome.stderr


def test_a_graph_that_takes_tokens_is_asked_with_the_artifacts_tokens(
    tiny: Path, tiny_original: Artifact, mlx: Mlx, texts: Path
) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tiny_original.path / tiny_original.graph_file))

    def run(feeds: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        values: NDArray[np.float32] = session.run(["sentence_embedding"], feeds)[0]
        return values

    with serve(StandIn(lambda asked: np.zeros((len(asked), 8), np.float32), tokens=run)) as stand_in:
        spelled = f"kserve:{stand_in.url}?model=m&artifact={tiny}"
        outcome = mlx("compare", tiny, spelled, "--texts", texts, "--json")
        assert outcome.code == 0, outcome
        run_of_server = json.loads(outcome.stdout)["evaluations"][0]["runners"][1]
        assert run_of_server["details"]["inputs"] == "the same token batches"
        assert run_of_server["comparison"]["drift"]["max_abs"] < 1e-6
        alone = mlx("compare", tiny, f"kserve:{stand_in.url}?model=m", "--texts", texts)
        assert alone.code == 3
        assert "expected one of texts (BYTES)" in alone.stderr


def test_without_the_library_the_extra_is_named(tiny: Path, texts: Path) -> None:
    from tests.cli.test_base_install import start

    done = start(texts.parent, "compare", tiny, "tei:http://127.0.0.1:9", refused=("httpx2",))
    assert done.returncode == 3
    assert "needs httpx2, which is not installed. Run pip install 'minilmx[endpoints]'" in done.stderr
    assert "OPENAI_API_KEY" not in os.environ or os.environ["OPENAI_API_KEY"] not in done.stderr
