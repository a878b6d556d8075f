"""The examples as a user runs them: LanceDB, and a real PostgreSQL that the example starts itself."""

import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.conftest import MakeOnce

from minilmx.eval.datasets.pairs import load_pairs
from minilmx.models.artifact import Artifact, seal
from minilmx.models.onnx_file import load_onnx

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
Command = Callable[..., list[str]]

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-examples" / "bin" / "python"
TYPES = "encoder.embeddings.token_type_embeddings.weight"
QUERY, ANSWER = "How do I bake bread?", "Bake the bread for 40 minutes."


@pytest.fixture(params=["lancedb", "pgvector"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def command(store: str, tmp_path: Path) -> Iterator[Command]:
    """The words of an example's command line, over a store of this test's own."""
    if not PYTHON.exists():
        pytest.skip("needs .venv-examples: tests/examples/environments.sh makes it")

    def words(folder: Path, *options: object) -> list[str]:
        return words_of(store, folder, tmp_path / "store", *options)

    yield words
    assert servers(tmp_path) == []


def words_of(store: str, artifact: Path, folder: Path, *options: object) -> list[str]:
    script = ROOT / "examples" / f"{store}_search.py"
    return [str(word) for word in [PYTHON, "-u", script, artifact, QUERY, "--store", folder, *options]]


@pytest.fixture
def indexed(command: Command, artifact: Artifact, make_once: MakeOnce, tmp_path: Path, store: str) -> str:
    """Fill the store with 100 of the bundled sentences; what that printed."""

    def index(folder: Path) -> None:
        corpus = folder / "sentences.txt"
        corpus.write_text("\n".join([*load_pairs("bundled").texts[:99], ANSWER]), encoding="utf-8")
        printed = run(words_of(store, artifact.path, folder / "store", "--corpus", corpus))
        (folder / "printed.txt").write_text(printed, encoding="utf-8")
        corpus.unlink()  # all that is needed is in the store

    made = make_once(f"indexed-{store}", index)  # PostgreSQL takes no space in it
    # With the owner of each file, who is another user if root runs the tests: PostgreSQL refuses root.
    subprocess.run(["cp", "-a", made / "store", tmp_path / "store"], check=True)
    return (made / "printed.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def altered(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact with noise on every token, sealed anew."""
    folder = tmp_path_factory.mktemp("artifacts") / "altered"
    shutil.copytree(artifact.path, folder, ignore=shutil.ignore_patterns("mlx.json"))
    for path in (artifact.manifest.fixed.path, artifact.manifest.dynamic.path):
        model = load_onnx(folder / path)
        [types] = [tensor for tensor in model.graph.initializer if tensor.name == TYPES]
        noise = np.random.default_rng(0).normal(0, 0.05, tuple(types.dims))
        weights = numpy_helper.to_array(types) + noise.astype(np.float32)
        types.CopyFrom(numpy_helper.from_array(weights, TYPES))
        onnx.save(model, str(folder / path))
    return seal(folder, artifact.manifest).path


def run(words: list[str], code: int = 0) -> str:
    """What it printed; both streams where it fails."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def found(output: str) -> list[str]:
    """The sentences found, nearest first."""
    return re.findall(r"^-?\d\.\d{4}  (.+)$", output, re.M)


def servers(folder: Path) -> list[str]:
    """The PostgreSQL servers that run here with their data in the folder."""
    running = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode("utf-8", "replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        if words[0].endswith("postgres") and str(folder / "store") in words:
            running.append(" ".join(words))
    return running


def test_a_query_finds_its_sentence(artifact: Artifact, command: Command, indexed: str) -> None:
    assert indexed.startswith("Indexed 100 sentences by onnxruntime, all-MiniLM-L6-v2-b8-s48 ")
    assert found(indexed)[0] == ANSWER
    again = run(command(artifact.path))
    assert again.startswith("The index is by onnxruntime, all-MiniLM-L6-v2-b8-s48 ")
    assert found(again) == found(indexed)


@pytest.mark.usefixtures("indexed")
def test_a_runner_with_little_drift_keeps_the_index(artifact: Artifact, command: Command) -> None:
    for _ in range(2):  # the embeddings are still the first runner's, so it is judged each time
        swapped = run(command(artifact.path, "--runner", "groq-emulator"))
        assert "The index is by onnxruntime, " in swapped
        assert "The queries are by groq-emulator, " in swapped
        assert re.search(r"An existing index can be kept: new queries find (99|100)\.", swapped)
        assert "Indexed" not in swapped
        assert found(swapped)[0] == ANSWER


@pytest.mark.usefixtures("indexed")
def test_a_runner_with_much_drift_is_refused_and_the_corpus_is_embedded_again(
    artifact: Artifact, altered: Path, command: Command
) -> None:
    swapped = run(command(altered))
    assert re.search(r"Embed the index again: new queries find only \d\d\.\d\d% of", swapped), swapped
    assert "Indexed 100 sentences by onnxruntime, altered " in swapped
    settled = run(command(altered))
    assert settled.startswith("The index is by onnxruntime, altered ")
    assert "queries" not in settled
    assert found(settled) == found(swapped)
    back = run(command(artifact.path))
    assert "Embed the index again: " in back
    assert found(back)[0] == ANSWER


def test_an_empty_store_is_an_error(artifact: Artifact, command: Command) -> None:
    assert "error: the store is empty: give --corpus" in run(command(artifact.path), code=1)


@pytest.mark.usefixtures("indexed")
def test_a_sample_too_small_for_a_verdict_is_refused(artifact: Artifact, command: Command) -> None:
    swapped = run(command(artifact.path, "--runner", "groq-emulator", "--sample", 11))
    assert "No verdict: too few sentences" in swapped
    assert "Indexed 100 sentences by groq-emulator, " in swapped


@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize("store", ["pgvector"], indirect=True)
def test_killing_an_example_stops_its_postgresql(
    artifact: Artifact, command: Command, tmp_path: Path
) -> None:
    words = command(artifact.path, "--runner", "groq-emulator")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("The index is by ")
        assert len(servers(tmp_path)) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 1
    assert servers(tmp_path) == []
