"""STS tasks of mteb as data sets: the scores are mteb's, and other tasks are refused."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import MakeOnce

from minilmx.eval.datasets.pairs import load_pairs
from minilmx.models.artifact import Artifact

needs_mteb = pytest.mark.skipif(
    importlib.util.find_spec("mteb") is None, reason="needs mteb: pip install mteb"
)
# The exit code, standard output and standard error of `mlx eval` for each name and its words, in one process,
# because mteb's import takes long; and what mteb itself finds for one task.
ALL = """
import json, os, sys, click, mteb, minilmx
from click.testing import CliRunner
from minilmx.cli import main
words = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)
settings = {"ignore_unknown_options": True}
entry = click.Command("entry", settings, lambda words: main(list(words)), [words])
found = {}
for folder, commands in json.loads(sys.argv[1]).items():
    os.chdir(folder)
    for name, words in commands.items():
        done = CliRunner().invoke(entry, ["eval", *words])
        found[name] = [done.exit_code, done.stdout, done.stderr]
with minilmx.load(sys.argv[2]) as model:
    task = mteb.get_task("STSBenchmark")
    result = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
found["by mteb"] = result.task_results[0].scores["test"][0]["main_score"]
print(json.dumps(found), file=open(sys.argv[3], "w"))
"""


def run(folder: Path, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """A Python process that reaches no hub. `datasets` finds mteb's data in its folder, by their names."""
    hub = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, cwd=folder, env=os.environ | hub | variables, capture_output=True, text=True, check=False
    )


def write_data(folder: Path, score: str, languages: Sequence[str]) -> None:
    """Forty of the bundled pairs for each language, as mteb has its data."""
    folder.mkdir(parents=True)
    pairs = load_pairs("bundled")
    with (folder / "test.csv").open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["sentence1", "sentence2", score, "lang"])
        for number in range(40 * len(languages)):
            pair = pairs.sentences1[number], pairs.sentences2[number], pairs.gold[number]
            rows.writerow([*pair, languages[number // 40]])


REFUSED = {
    "mteb:SciFact": "a task of type Retrieval of text; expected STS of text. Use mteb.evaluate(minilmx.load",
    "mteb:Nothing": (
        "mteb has no task 'Nothing'; expected one of type STS. mteb.get_tasks(task_types=['STS']) lists"
    ),
    "mteb:STSBenchmarkMultilingualSTS": "no language; expected one of en, de, ",
    "mteb:STSBenchmark": "the data mteb/stsbenchmark-sts cannot be loaded: ",
}
Found = dict[str, Any]


@pytest.fixture(scope="module")
def found(artifact: Artifact, tiny_original: Artifact, make_once: MakeOnce) -> Found:
    """What ALL finds; the second folder has data."""

    def evaluate_all(folder: Path) -> None:
        for name in ("empty", "filled"):
            (folder / name).mkdir()
        write_data(folder / "filled" / "mteb" / "stsbenchmark-sts", "score", ["en"])
        write_data(folder / "filled" / "mteb" / "stsb_multi_mt", "similarity_score", ["en", "de"])

        def words(used: Artifact, dataset: str, *options: str) -> list[str]:
            return [str(used.path), "--runner", "onnxruntime", "--dataset", dataset, *options]

        german = ("mteb:STSBenchmarkMultilingualSTS", "--language", "de")
        commands = {
            "../empty": {dataset: words(tiny_original, dataset) for dataset in REFUSED},
            "../filled": {
                "score": words(artifact, "mteb:STSBenchmark", "--json"),
                "language": words(tiny_original, *german, "--split", "test", "--json"),
                "split": words(tiny_original, *german, "--split", "train"),
            },
        }
        output = folder / "found.json"
        outcome = run(folder / "empty", "-c", ALL, json.dumps(commands), artifact.path, output)
        assert outcome.returncode == 0, outcome.stderr

    made = make_once("evaluated with mteb", evaluate_all)
    loaded: Found = json.loads((made / "found.json").read_text(encoding="utf-8"))
    return loaded


def evaluation_of(outcome: tuple[int, str, str]) -> dict[str, Any]:
    """The only evaluation that a command printed."""
    code, stdout, stderr = outcome
    assert code == 0, stderr
    evaluation: dict[str, Any] = json.loads(stdout)["evaluations"][0]
    return evaluation


@needs_mteb
def test_the_score_of_a_task_is_mtebs(found: Found) -> None:
    evaluation = evaluation_of(found["score"])
    assert (evaluation["dataset"], evaluation["split"]) == ("mteb:STSBenchmark", "test")
    assert (evaluation["pairs"], evaluation["language"]) == (40, None)
    score = evaluation["runners"][0]["scores"]["spearman"]
    assert score == pytest.approx(found["by mteb"], abs=1e-5)


@needs_mteb
def test_a_language_and_a_split_of_a_task_can_be_chosen(found: Found) -> None:
    evaluation = evaluation_of(found["language"])
    assert (evaluation["language"], evaluation["split"]) == ("de", "test")
    gold = load_pairs("bundled").gold[40:80].tolist()
    assert evaluation["gold"] == gold
    assert "examples/s" not in found["language"][2]
    assert "has no split 'train'; its splits are test" in found["split"][2]


@needs_mteb
@pytest.mark.parametrize("dataset", REFUSED)
def test_what_cannot_be_loaded_is_refused_in_one_sentence(dataset: str, found: Found) -> None:
    code, stdout, stderr = found[dataset]
    assert (code, stdout) == (3, ""), stderr
    assert REFUSED[dataset] in stderr.splitlines()[-1]
    assert "Retrying" not in stderr


@needs_mteb
def test_offline_data_that_is_not_in_the_cache_needs_the_network(tiny: Path, tmp_path: Path) -> None:
    words = ("eval", tiny, "--runner", "onnxruntime", "--dataset", "mteb:STSBenchmark")
    outcome = run(tmp_path, "-m", "minilmx", *words, HF_HUB_OFFLINE="1")
    assert outcome.returncode == 3, outcome
    assert outcome.stderr.splitlines()[-1].endswith(" Unset HF_HUB_OFFLINE.")


def test_without_mteb_it_is_refused_with_the_package(tiny: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['mteb'] = None; from minilmx.cli import main; main(sys.argv[1:])"
    words = ("eval", tiny, "--runner", "onnxruntime", "--dataset", "mteb:STSBenchmark")
    outcome = run(tmp_path, "-c", code, *words)
    assert outcome.returncode == 3, outcome
    sentence = "mteb:STSBenchmark needs the package mteb, which is not installed. Run pip install mteb."
    assert sentence in outcome.stderr
