"""The part around every runner: what it feeds, and what it refuses to take back."""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
from msgspec import UNSET, structs
from numpy.typing import NDArray
from tokenizers import Tokenizer as HubTokenizer

from minilmx.embedding.embedder import Embedder
from minilmx.embedding.open_graph import require_finite
from minilmx.embedding.record import RunRecord
from minilmx.errors import ArtifactError, RunnerFailed
from minilmx.models.artifact import Artifact, open_artifact, seal
from minilmx.models.tokenizer import TokenBatch, Tokenizer
from minilmx.runners.base import Batch, Details, Runner, RunnerEntry


class Scripted(Runner):
    """A runner of our own, as a plug-in could be: it answers with what it is given."""

    name = "scripted"

    def __init__(self, answer: Callable[[TokenBatch], Any]) -> None:
        self._answer = answer
        self.batches: list[TokenBatch] = []

    @property
    def details(self) -> Details:
        return {"answers": len(self.batches)}

    def run(self, batch: Batch) -> Any:
        assert isinstance(batch, TokenBatch)
        self.batches.append(batch)
        return self._answer(batch)


def open_scripted(artifact: Artifact, runner: Scripted) -> Embedder:
    entry = RunnerEntry("scripted", "answers", lambda options: None, lambda *_: runner)
    return Embedder(artifact, entry, "fixed")


def embed(artifact: Artifact, runner: Scripted, texts: list[str]) -> NDArray[np.float32]:
    with open_scripted(artifact, runner) as embedder:
        return embedder.encode(texts)


def record_of(artifact: Artifact, runner: Scripted, texts: list[str]) -> RunRecord:
    with open_scripted(artifact, runner) as embedder:
        embedder.encode(texts)
        return embedder.record()


def second_token(batch: TokenBatch) -> np.ndarray[Any, np.dtype[np.float32]]:
    """An embedding that tells which text a row held: its first letter's id, eight times."""
    return np.repeat(batch.input_ids[:, 1:2], 8, axis=1).astype(np.float32)


def letters(artifact: Artifact, texts: list[str]) -> list[int]:
    tokens = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(texts).tokens
    return [int(row[1]) for row in tokens.input_ids]


class Grouped(Scripted):
    """It takes three batches in a call."""

    batches_per_call = 3

    def __init__(self, answer: Callable[[TokenBatch], Any]) -> None:
        super().__init__(answer)
        self.calls: list[int] = []

    def run_all(self, batches: Sequence[Batch]) -> list[Any]:
        self.calls.append(len(batches))
        return super().run_all(batches)


@pytest.mark.parametrize(
    ("count", "threads", "calls"),
    [(100, 2, [3] * 8 + [1]), (100, 4, [1] * 25), (17, 1, [1] * 5), (32, 1, [2] * 4)],
)
def test_a_call_takes_several_batches_if_that_leaves_each_thread_four_calls(
    count: int, threads: int, calls: list[int], tiny_original: Artifact
) -> None:
    texts = [f"{'abcdefgh'[row % 8]} {row}" for row in range(count)]
    runner = Grouped(second_token)
    runner.concurrency = threads
    assert embed(tiny_original, runner, texts)[:, 0].tolist() == letters(tiny_original, texts)
    assert sorted(runner.calls, reverse=True) == calls  # threads may begin theirs in another order
    record = record_of(tiny_original, Grouped(second_token), texts)
    assert record.timing.batches == -(-count // 4)


def test_a_runner_that_answers_fewer_batches_than_it_was_given_is_refused(tiny_original: Artifact) -> None:
    class Short(Scripted):
        def run_all(self, batches: Sequence[Batch]) -> list[Any]:
            return []

    with pytest.raises(RunnerFailed, match=r"the runner scripted returned 0 arrays; expected 1"):
        embed(tiny_original, Short(second_token), ["a"])


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9])
def test_every_text_gets_its_own_row_in_order(count: int, tiny_original: Artifact) -> None:
    texts = list("hgfedcbai"[:count])
    runner = Scripted(second_token)
    embeddings = embed(tiny_original, runner, texts)
    assert embeddings.shape == (count, 8)
    assert embeddings[:, 0].tolist() == letters(tiny_original, texts)
    assert len(runner.batches) == -(-count // 4)
    for batch in runner.batches:
        assert batch.input_ids.shape == (4, 16)


def test_progress_counts_the_texts_and_not_the_padding(tiny_original: Artifact) -> None:
    tokenized = Tokenizer(tiny_original.tokenizer_file, tiny_original.shape).encode(list("abcdef"))
    told: list[int] = []
    with open_scripted(tiny_original, Scripted(second_token)) as embedder:
        found = embedder.encode_tokenized(tokenized, told.append)
    assert told == [4, 2]
    assert len(found.batch_seconds) == 2
    assert found.seconds > 0
    assert found.finite


def test_a_runner_is_called_from_as_many_threads_as_it_says(tiny_original: Artifact) -> None:
    at_once, most, lock = 0, 0, Lock()

    def answer(batch: TokenBatch) -> Any:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02 if batch.input_ids[0, 1] % 2 else 0.001)  # so that some overtake others
        with lock:
            at_once -= 1
        return second_token(batch)

    texts = [letter for _ in range(8) for letter in "hgfedcbai"]
    runner = Scripted(answer)
    runner.concurrency = 3
    assert embed(tiny_original, runner, texts)[:, 0].tolist() == letters(tiny_original, texts)
    assert most == 3
    del runner.concurrency
    most = 0
    embed(tiny_original, runner, texts)
    assert most == 1


def test_a_failure_in_a_thread_ends_the_run(tiny_original: Artifact) -> None:
    def answer(batch: TokenBatch) -> Any:
        if len(runner.batches) == 3:
            raise RuntimeError("the third one")
        return second_token(batch)

    runner = Scripted(answer)
    runner.concurrency = 2
    with pytest.raises(RunnerFailed, match="the third one"):
        embed(tiny_original, runner, ["a"] * 400)
    assert len(runner.batches) < 40


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (np.zeros((3, 8), np.float32), "float32 [3, 8]"),
        (np.zeros((4, 7), np.float32), "float32 [4, 7]"),
        (np.zeros((4, 16, 8), np.float32), "float32 [4, 16, 8]"),
        (np.zeros((4, 8), np.float64), "float64 [4, 8]"),
        (np.zeros((4, 8), np.float16), "float16 [4, 8]"),
        (np.zeros((4, 8), np.float32).tolist(), "a list"),
        (None, "a NoneType"),
    ],
)
def test_embeddings_of_a_wrong_shape_or_dtype_are_refused(
    answer: object, got: str, tiny_original: Artifact
) -> None:
    with pytest.raises(RunnerFailed) as caught:
        embed(tiny_original, Scripted(lambda batch: answer), ["a"])
    assert str(caught.value) == f"the runner scripted returned {got}; expected float32 [4, 8]"


def test_an_exception_in_a_runner_is_reported_with_its_name(tiny_original: Artifact) -> None:
    def fail(batch: TokenBatch) -> None:
        raise ZeroDivisionError("no chip")

    with pytest.raises(RunnerFailed, match="scripted failed on a batch: ZeroDivisionError: no chi"):
        embed(tiny_original, Scripted(fail), ["a"])


@pytest.mark.parametrize("stated", [True, False], ids=["stated", "read from the graph"])
@pytest.mark.parametrize("runner", ["onnxruntime", "openvino"])
def test_a_tokenizer_with_ids_beyond_the_graph_is_refused_at_opening(
    tiny: Path, runner: str, stated: bool
) -> None:
    if runner == "openvino":
        pytest.importorskip("openvino", reason="needs openvino")
    artifact = open_artifact(tiny)
    assert artifact.manifest.token_rows == 140
    tokenizer = HubTokenizer.from_file(str(tiny / "tokenizer.json"))
    tokenizer.add_tokens(["[ENTITY]"])
    tokenizer.save(str(tiny / "tokenizer.json"))
    (tiny / "mlx.json").unlink()
    manifest = artifact.manifest if stated else structs.replace(artifact.manifest, token_rows=UNSET)
    changed = seal(tiny, manifest)
    for graph in ("fixed", "dynamic"):
        with pytest.raises(ArtifactError) as caught:
            Embedder(changed, runner, graph)
        assert "the token '[ENTITY]' has the id 140, and the model has 140 token embeddings" in str(
            caught.value
        )


def test_ctrl_c_inside_a_runner_stays_a_keyboard_interrupt(tiny_original: Artifact) -> None:
    def interrupt(batch: TokenBatch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(tiny_original, Scripted(interrupt), ["a"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("number", [1, 6, 4097, 4500])
def test_a_number_that_is_not_finite_is_reported_with_its_sentence(
    value: float, number: int, tiny_original: Artifact
) -> None:
    """Also past the first 4,096, which are tokenized on their own."""
    texts = [f"b{i}" for i in range(4502)]
    texts[number - 1] = "z is the odd one"
    odd = letters(tiny_original, ["z"])[0]

    def answer(batch: TokenBatch) -> Any:
        rows = second_token(batch)
        rows[batch.input_ids[:, 1] == odd, 5] = value
        return rows

    with pytest.raises(RunnerFailed) as caught:
        embed(tiny_original, Scripted(answer), texts)
    assert f"sentence {number}: 'z is the odd one'" in str(caught.value)


def test_finite_numbers_pass() -> None:
    require_finite(np.full((2, 3), np.finfo(np.float32).max), ["a", "b"], "any")
    with pytest.raises(RunnerFailed, match="sentence 2: 'b'"):
        require_finite(np.array([[1], [np.nan]], np.float32), ["a", "b"], "any")


def test_many_texts_give_the_same_embeddings_as_a_few_at_a_time(tiny_original: Artifact) -> None:
    texts = [f"{'abcdefgh'[i % 8]} {i}" for i in range(5003)]
    with Embedder(tiny_original, "onnxruntime", tiny_original.graph_kind) as runner:
        values = runner.encode(texts)
        record = runner.record()
        parts = [runner.encode(texts[i : i + 1001]) for i in range(0, 5003, 1001)]
    assert np.array_equal(values, np.concatenate(parts))
    assert record.sentences == 5003
    assert record.timing.batches == 1251


def test_equal_inputs_have_equal_digests_and_different_ones_do_not(tiny_original: Artifact) -> None:
    def digest(texts: list[str]) -> str:
        return record_of(tiny_original, Scripted(second_token), texts).inputs_sha256

    assert digest(["ab", "c"]) == digest(["AB", "c"])  # the same tokens
    different = [["ab", "c"], ["c", "ab"], ["ab"], ["ab", "c", "c"], ["a", "bc"]]
    assert len({digest(texts) for texts in different}) == len(different)


def test_the_digest_is_that_of_the_token_arrays_row_by_row(tiny_original: Artifact) -> None:
    texts = ["a cat", "two"]
    tokens = Tokenizer(tiny_original.tokenizer_file, tiny_original.shape).encode(texts).tokens
    expected = hashlib.sha256()
    for row in range(2):
        for array in (tokens.input_ids, tokens.attention_mask, tokens.token_type_ids):
            expected.update(array[row].astype("<i8").tobytes())
    record = record_of(tiny_original, Scripted(second_token), texts)
    assert record.inputs_sha256 == expected.hexdigest()


def test_the_record_says_what_ran(tiny_original: Artifact) -> None:
    texts = ["a", "b c d e f g h i j k l m n o p q r s t u v", "c", "d", "e"]
    runner = Scripted(second_token)
    record = record_of(tiny_original, runner, texts)
    assert record.artifact_sha256 == tiny_original.digest
    assert (record.sentences, record.truncated_sentences, record.timing.batches) == (5, 1, 2)
    assert record.details == {"answers": 2}
    assert record.timing.sentences_per_second == 5 / record.timing.seconds
    assert record.provenance.cpus >= 1
