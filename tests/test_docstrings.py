"""The example of every public name runs and prints what it says, on real weights."""

import doctest
import inspect
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import MakeOnce

import minilmx
from minilmx.api import groq, report
from minilmx.models.artifact import Artifact
from minilmx.models.model_folder import ModelSource

FUNCTIONS = {
    name: function
    for module in (groq, report)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if function.__module__ == module.__name__
}
NAMES = sorted({*minilmx.__all__, *FUNCTIONS} - {"__version__"})
SLOW = ["export_model", "benchmark", "bisect"]  # take more than ten seconds; the first makes the artifact
# tests/runners/groq runs these
NEEDS_GROQ = ["build_for_groq", "groq_standalone", "reproduce_groq", "selftest_groq"]
CONTINUES = {"RunnerEntry": "Runner"}  # uses what the other's example defines


def examples(name: str) -> list[doctest.DocTest]:
    """The examples of a public name and of its public methods."""
    thing = FUNCTIONS.get(name) or getattr(minilmx, name)
    documented = {name: thing}
    if inspect.isclass(thing):
        documented |= {f"{name}.{key}": each for key, each in vars(thing).items() if not key.startswith("_")}
    parser = doctest.DocTestParser()
    found = [
        parser.get_doctest(inspect.getdoc(each) or "", {}, title, None, None)
        for title, each in documented.items()
    ]
    return [each for each in found if each.examples]


def run(name: str) -> None:
    names: dict[str, Any] = {"minilmx": minilmx}
    if name not in minilmx.__all__:
        names[name] = FUNCTIONS[name]
    failures: list[str] = []
    for each in [*(examples(CONTINUES[name]) if name in CONTINUES else []), *examples(name)]:
        each.globs = names
        doctest.DocTestRunner(verbose=False).run(each, out=failures.append, clear_globs=False)
    assert not failures, "".join(failures)


def write_inputs() -> None:
    """What the examples name beside the artifact `out`: texts, embeddings and a result."""
    Path("sentences.txt").write_text("One sentence.\nAnother one.\n", encoding="utf-8")
    Path("corpus").mkdir()
    Path("corpus/texts.csv").write_text("text\nOne sentence.\nAnother one.\n", encoding="utf-8")
    minilmx.embed_file("out", "sentences.txt", "cpu.npy")
    minilmx.embed_file("out", "sentences.txt", "card.npy", runner="groq-emulator")
    minilmx.compare("cpu.npy", "card.npy", limits={"max_abs": 1e-2}).save("result.json")
    minilmx.create_golden("golden.safetensors", "out", "sentences.txt")
    Path("pairs.jsonl").write_text(2 * '{"sentence1": "One sentence.", "sentence2": "Another one."}\n')


@pytest.fixture
def inputs(
    artifact: Artifact, reranker: Artifact, make_once: MakeOnce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work in a folder that has what the examples name; the artifact is one of the tests' own shape."""
    pytest.importorskip("pandas", reason="needs pandas for Result.to_dataframe")
    pytest.importorskip("pyarrow", reason="needs pyarrow for embed_corpus")

    def fill(folder: Path) -> None:
        shutil.copytree(artifact.path, folder / "out")
        shutil.copytree(reranker.path, folder / "reranker")
        with monkeypatch.context() as patch:
            patch.chdir(folder)
            write_inputs()

    monkeypatch.chdir(make_once("docstrings", fill))


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example(name: str) -> None:
    assert examples(name)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*SLOW, *NEEDS_GROQ)])
def test_the_example_runs(name: str, inputs: None) -> None:
    run(name)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_slow_examples_run_on_what_the_example_of_export_model_makes(
    real_source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("export_model")
    write_inputs()
    for name in SLOW[1:]:
        run(name)
