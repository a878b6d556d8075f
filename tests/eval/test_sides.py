"""A comparison of anything with anything: what is joined, converted, refused and named as the reason."""

import json
import warnings
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import Mlx
from tests.endpoint_server import StandIn, serve

import minilmx
from minilmx.errors import DatasetError, EvalError, ModelError, RunnerFailed
from minilmx.models.artifact import Artifact
from minilmx.models.model_folder import ModelSource

TEXTS = ["one sentence", "another one", "a third, longer than both", "and the last of them"]


@pytest.fixture
def vectors(tiny: Path) -> NDArray[np.float32]:
    with minilmx.load(tiny) as embedder:
        return embedder.encode(TEXTS)


def sides(mlx: Mlx, *words: object) -> list[Any]:
    """The runners of a comparison's document."""
    outcome = mlx("compare", *words, "--json")
    assert outcome.code in (0, 1), outcome
    runners: list[Any] = json.loads(outcome.stdout)["evaluations"][0]["runners"]
    return runners


def write_texts(path: Path, ids: list[Any]) -> None:
    rows = [{"id": each, "text": text} for each, text in zip(ids, TEXTS, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_vectors(path: Path, ids: list[Any], values: NDArray[Any]) -> None:
    rows = [{"id": each, "embedding": row} for each, row in zip(ids, values.tolist(), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_two_artifacts_are_compared_on_the_bundled_pairs(tiny: Path, mlx: Mlx) -> None:
    outcome = mlx("compare", tiny, tiny)
    assert outcome.code == 0, outcome
    assert outcome.stdout.startswith("SAME: 2: tiny-b4-s16, compared with 1: tiny-b4-s16, ")
    assert "bundled en: 208 pairs" in outcome.stdout
    assert "2: tiny-b4-s16: the same token batches, normalised, " in outcome.stdout
    assert "Spearman x100" in outcome.stdout


def test_one_runner_at_two_settings_is_two_embedders(tiny: Path, mlx: Mlx) -> None:
    pytest.importorskip("openvino", reason="needs openvino")
    spelled = [
        f"{tiny}@onnxruntime:threads=1",
        f"{tiny}@onnxruntime:threads=2,graph=fixed",
        f"{tiny}@openvino",
    ]
    first, second, third = sides(mlx, *spelled)
    names = ["1: tiny-b4-s16@onnxruntime:threads=1", "2: tiny-b4-s16@onnxruntime:threads=2,graph=fixed"]
    assert [first["runner"], second["runner"]] == names
    assert (first["graph"], second["graph"]) == ("dynamic", "fixed")
    assert (first["details"]["threads"], second["details"]["threads"]) == (1, 2)
    assert third["details"]["runner"] == "openvino"


def test_the_data_set_decides_the_pairs(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("sentence1,sentence2,score\na b,b a,1\nc d,d e,2\nf,g,3\n")
    outcome = mlx("compare", tiny, tiny, "--dataset", "p.csv")
    assert "p.csv: 3 pairs" in outcome.stdout
    assert mlx("compare", tiny, tiny, "--dataset", "p.csv", "--texts", "p.csv").code == 2
    assert mlx("compare", tiny, tiny, "--column", "a").code == 2


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_saved_rows_are_joined_with_the_texts_by_id(
    suffix: str, tiny: Path, vectors: NDArray[np.float32], mlx: Mlx, tmp_path: Path
) -> None:
    write_texts(tmp_path / "texts.jsonl", [7, "b", 9, "d"])
    ids, rows = ["d", "extra", "9", "b", "7"], vectors[[3, 0, 2, 1, 0]]
    rows[1] = 5
    if suffix == ".jsonl":
        write_vectors(tmp_path / "old.jsonl", ids, rows)
    else:
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
        import pyarrow

        table = pyarrow.table(
            {"id": ids, "vector": pyarrow.array(rows.tolist(), pyarrow.list_(pyarrow.float32()))}
        )
        parquet.write_table(table, str(tmp_path / "old.parquet"))
    runners = sides(mlx, tiny, f"old{suffix}", "--texts", "texts.jsonl")
    assert runners[1]["comparison"]["drift"]["max_abs"] < 1e-6
    assert runners[1]["details"]["inputs"] == "rows of the same ids"
    worst = runners[1]["comparison"]["profile"]["worst"]
    assert {each["text"] for each in worst} == {"id 7", "id b", "id 9", "id d"}


def test_two_files_with_ids_are_joined_without_texts(
    vectors: NDArray[np.float32], mlx: Mlx, tmp_path: Path
) -> None:
    write_vectors(tmp_path / "a.jsonl", [1, 2, 3, 4], vectors)
    write_vectors(tmp_path / "b.jsonl", [4, 3, 2, 1], vectors[::-1])
    runners = sides(mlx, "a.jsonl", "b.jsonl")
    assert runners[1]["comparison"]["drift"]["max_abs"] == 0
    assert runners[1]["details"]["inputs"] == "rows of the same ids"


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ([1, 2, 3, 5], "2: b.jsonl: 1 missing id, the first is '4'; expected all 4 of texts.jsonl"),
        ([1, 2, 3, 3], "2: b.jsonl: the id '3' twice; expected each once"),
    ],
)
def test_ids_that_do_not_fit_are_refused(
    ids: list[int], sentence: str, tiny: Path, vectors: NDArray[np.float32], mlx: Mlx, tmp_path: Path
) -> None:
    write_texts(tmp_path / "texts.jsonl", [1, 2, 3, 4])
    write_vectors(tmp_path / "b.jsonl", ids, vectors)
    outcome = mlx("compare", tiny, "b.jsonl", "--texts", "texts.jsonl")
    assert outcome.code == 3
    assert sentence in outcome.stderr


def test_another_number_of_rows_or_width_is_refused_by_name(
    tiny: Path, vectors: NDArray[np.float32], mlx: Mlx, tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    np.save(tmp_path / "few.npy", vectors[:3])
    np.save(tmp_path / "narrow.npy", vectors[:, :7])
    few = mlx("compare", tiny, "few.npy", "--texts", "texts.txt")
    assert few.code == 3
    assert "2: few.npy: 3 embeddings; expected 4, one per text of texts.txt" in few.stderr
    narrow = mlx("compare", tiny, "narrow.npy", "--texts", "texts.txt")
    assert narrow.code == 3
    assert (
        "2: narrow.npy: embeddings with a different shape from 1: tiny-b4-s16: [4, 7]; expected"
        in narrow.stderr
    )


def test_saved_embeddings_need_their_texts_beside_an_embedder(
    tiny: Path, vectors: NDArray[np.float32], mlx: Mlx, tmp_path: Path
) -> None:
    np.save(tmp_path / "old.npy", vectors)
    outcome = mlx("compare", tiny, "old.npy")
    assert outcome.code == 3
    assert (
        "texts to embed: none; expected the texts of the saved embeddings. Name their file." in outcome.stderr
    )


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_other_floating_point_types_are_converted_and_it_is_said(
    dtype: str, mlx: Mlx, tmp_path: Path
) -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    np.save(tmp_path / "a.npy", vectors)
    np.save(tmp_path / "b.npy", vectors.astype(dtype))
    outcome = mlx("compare", "a.npy", "b.npy")
    assert outcome.stdout.startswith("DRIFTED" if dtype == "float16" else "SAME"), outcome
    assert (f"converted from {dtype}" in outcome.stdout) is (dtype != ">f4")
    if dtype == "float16":
        assert "; its numbers are float16, and the reference's are float32" in outcome.stdout.splitlines()[0]


def test_texts_of_the_user_are_not_in_the_document(
    tiny: Path, vectors: NDArray[np.float32], mlx: Mlx, tmp_path: Path
) -> None:
    (tmp_path / "texts.csv").write_text("label,text\n" + "".join(f'x,"{text}"\n' for text in TEXTS))
    np.save(tmp_path / "moved.npy", vectors + np.float32(0.1))
    words = ("compare", tiny, "moved.npy", "--texts", "texts.csv", "--column", "text", "-o", "r.json")
    outcome = mlx(*words)
    assert outcome.code == 1, outcome
    shown = outcome.stdout + (tmp_path / "r.json").read_text()
    assert "row 3" in shown
    assert not any(text in shown for text in TEXTS)
    mlx(*words, "--keep-text", "--force")
    kept = (tmp_path / "r.json").read_text()
    assert "row 3" not in kept
    assert all(text in kept for text in TEXTS)


def test_a_saved_run_of_other_texts_is_refused(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("a\nb\nc\nd\n")
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    assert mlx("run", tiny, "other.txt", "-o", "other.npy").code == 0
    assert mlx("run", tiny, "texts.txt", "-o", "same.npy").code == 0
    outcome = mlx("compare", tiny, "other.npy", "--texts", "texts.txt")
    assert outcome.code == 3
    assert "2: other.npy: different inputs from 1: tiny-b4-s16" in outcome.stderr
    runners = sides(mlx, tiny, "same.npy", "--texts", "texts.txt")
    assert runners[1]["details"]["inputs"] == "the same token batches"


class Halved:
    """Somebody's own object with `encode`."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def encode(self, texts: list[str]) -> Any:
        return self.values


def test_the_function_takes_objects_arrays_and_strings(tiny: Path, vectors: NDArray[np.float32]) -> None:
    with minilmx.load(tiny, graph="fixed") as embedder:
        result = minilmx.compare(
            str(tiny), embedder, Halved(vectors.astype(np.float64)), vectors, texts=TEXTS
        )
        assert embedder.encode(TEXTS[:1]).shape == (1, 8)  # still open
    assert result.verdict.answer == "SAME"
    names = [each.runner for each in result.evaluations[0].runners]
    assert names == ["1: tiny-b4-s16", "2: tiny-b4-s16", "3: Halved", "array 4"]
    assert minilmx.compare(minilmx.open_artifact(tiny), tiny, texts=TEXTS).passed


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.ones((3, 8)), r"float64 \[3, 8\]; expected float32 \[4, D\]"),
        (np.ones((4, 8), int), "int64"),
        (["a"] * 4, r"\[4\]"),
    ],
)
def test_an_object_that_returns_something_else_is_refused(tiny: Path, values: Any, sentence: str) -> None:
    with pytest.raises(RunnerFailed, match=f"Halved returned .*{sentence}"):
        minilmx.compare(tiny, Halved(values), texts=TEXTS)


def test_what_cannot_be_compared_is_refused(tiny: Path, vectors: NDArray[np.float32]) -> None:
    for arguments, options, kind in (
        ((tiny,), {"texts": TEXTS}, EvalError),
        ((tiny, tiny), {"texts": TEXTS, "dataset": "bundled"}, EvalError),
        ((tiny, tiny), {"texts": TEXTS, "column": "a"}, EvalError),
        ((vectors, vectors.astype(int)), {}, EvalError),
        ((tiny, tiny), {"texts": []}, EvalError),
        ((tiny, tiny), {"texts": "nowhere.txt"}, DatasetError),
    ):
        with pytest.raises(kind):
            minilmx.compare(*arguments, **options)


def test_a_model_with_foreign_modules_or_pickles_is_not_loaded(tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    with pytest.raises(ModelError, match="has no weights"):
        minilmx.compare(f"model:{tiny_folder}", f"model:{tiny_folder}", texts=TEXTS)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "modules.json").write_text('[{"type": "os.Path", "path": ""}]')
    with pytest.raises(ModelError, match=r"the module os\.Path; expected those of sentence-transformers"):
        minilmx.compare(f"model:{tmp_path}", f"model:{tmp_path}", texts=TEXTS)


# Real weights, behind a stand-in for a server of OpenAI's protocol.


@pytest.fixture(scope="module")
def model(real_source: ModelSource) -> Any:
    """all-MiniLM-L6-v2 in sentence-transformers, at the artifact's sequence length."""
    made = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    loaded = made.SentenceTransformer(str(real_source.folder), device="cpu", local_files_only=True)
    loaded.max_seq_length = 48
    return loaded


@pytest.fixture(scope="module")
def other_model(real_source: ModelSource) -> Any:
    """Another model of 384 numbers: random weights, with the tokenizer of all-MiniLM-L6-v2."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    made = pytest.importorskip("sentence_transformers")
    torch.manual_seed(3)
    config = transformers.BertConfig(hidden_size=384, num_hidden_layers=2, num_attention_heads=4)
    encoder = transformers.BertModel(config).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(real_source.folder))

    class Other:
        def encode(self, texts: list[str]) -> Any:
            tokens = tokenizer(texts, padding=True, truncation=True, max_length=48, return_tensors="pt")
            with torch.inference_mode():
                mean = encoder(**tokens).last_hidden_state.mean(dim=1)
            return torch.nn.functional.normalize(mean, dim=1).numpy()

    assert made
    return Other()


@pytest.fixture
def server(model: Any) -> Iterator[StandIn]:
    with serve(StandIn(lambda texts: np.asarray(model.encode(texts, show_progress_bar=False)))) as stand_in:
        yield stand_in


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """The first 20 of the bundled pairs."""
    lines = (resources.files("minilmx.eval.datasets") / "pairs.csv").read_text("utf-8").splitlines()
    (tmp_path / "few.csv").write_text("\n".join(lines[:21]))
    return tmp_path / "few.csv"


def first_line(mlx: Mlx, artifact: Artifact, server: StandIn, few: Path) -> str:
    outcome = mlx("compare", artifact.path, f"openai:{server.url}/v1?model=minilm", "--dataset", few)
    assert outcome.code in (0, 1), outcome
    return str(outcome.stdout.splitlines()[0])


def test_a_server_with_the_same_weights_is_the_same(
    artifact: Artifact, server: StandIn, few: Path, mlx: Mlx
) -> None:
    assert first_line(mlx, artifact, server, few).startswith(
        f"SAME: 2: openai:{server.url}/v1?model=minilm, "
    )


def test_a_server_that_does_not_normalise_has_drifted_and_it_is_the_reason(
    artifact: Artifact, server: StandIn, model: Any, few: Path, mlx: Mlx
) -> None:
    server.encode = lambda texts: 3 * np.asarray(model.encode(texts, show_progress_bar=False))
    said = first_line(mlx, artifact, server, few)
    assert said.startswith("DRIFTED: ")
    assert "; it is not normalised (norms 3 to 3), and the reference is normalised" in said


def test_a_server_in_float16_has_drifted_and_it_is_the_reason(
    artifact: Artifact, server: StandIn, model: Any, few: Path, mlx: Mlx
) -> None:
    server.encode = lambda texts: np.asarray(model.encode(texts, show_progress_bar=False)).astype(np.float16)
    said = first_line(mlx, artifact, server, few)
    assert said.startswith("DRIFTED: ")
    assert "; its numbers are float16, and the reference's are float32" in said


def test_a_server_with_another_model_is_different_and_it_is_the_reason(
    artifact: Artifact, server: StandIn, other_model: Any, few: Path, mlx: Mlx
) -> None:
    server.encode = other_model.encode
    said = first_line(mlx, artifact, server, few)
    assert said.startswith("DIFFERENT: ")
    assert "; the mean cosine of the same texts is " in said
    assert "which suggests another model or other texts" in said


def test_sentence_transformers_itself_reads_more_tokens_and_it_is_the_reason(
    artifact: Artifact, real_source: ModelSource, mlx: Mlx, tmp_path: Path
) -> None:
    (tmp_path / "long.txt").write_text("".join(f"{text} {'word ' * 60}\n{text}\n" for text in TEXTS))
    outcome = mlx("compare", artifact.path, f"model:{real_source.folder}", "--texts", "long.txt")
    said = outcome.stdout.splitlines()[0]
    assert said.startswith("DIFFERENT: ")
    assert "; it has a limit of 256 tokens, and the reference has 4 texts truncated to 48 tokens" in said


def test_sentence_transformers_itself_is_the_same_on_short_texts(
    artifact: Artifact, real_source: ModelSource
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = minilmx.compare(artifact, f"model:{real_source.folder}", texts=TEXTS)
    assert result.verdict.answer == "SAME"
    assert "sentence-transformers" in result.evaluations[0].runners[1].versions
