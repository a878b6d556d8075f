"""STS tasks of mteb as data sets: the scores are mteb's, and other tasks are refused."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.conftest import MakeOnce

from minilmx.eval.datasets.pairs import load_pairs
from minilmx.models.artifact import Artifact

needs_mteb = pytest.mark.skipif(
    importlib.util.find_spec("mteb") is None, reason="needs mteb: pip install mteb"
)
# What mteb itself finds for the same artifact and task.
BY_MTEB = """
import sys, mteb, minilmx
with minilmx.load(sys.argv[1]) as model:
    task = mteb.get_task(sys.argv[2])
    result = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
    print(result.task_results[0].scores["test"][0]["main_score"])
"""

# `mlx eval` for each data set, as JSON.
EACH = """
import json, sys, click
from click.testing import CliRunner
from minilmx.cli import main
words = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)
settings = {"ignore_unknown_options": True}
entry = click.Command("entry", settings, lambda words: main(list(words)), [words])
found = {}
for dataset in sys.argv[2:]:
    done = CliRunner().invoke(entry, ["eval", sys.argv[1], "--runner", "onnxruntime", "--dataset", dataset])
    found[dataset] = [done.exit_code, done.stdout, done.stderr]
print(json.dumps(found))
"""


def run(folder: Path, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """A Python process that reaches no hub. `datasets` finds mteb's data in its folder, by their names."""
    hub = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, cwd=folder, env=os.environ | hub | variables, capture_output=True, text=True, check=False
    )


def evaluate(folder: Path, artifact: Path, dataset: str, *words: str) -> subprocess.CompletedProcess[str]:
    runner = ("--runner", "onnxruntime")
    return run(folder, "-m", "minilmx", "eval", artifact, *runner, "--dataset", dataset, *words)


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


@needs_mteb
def test_the_score_of_a_task_is_mtebs(artifact: Artifact, tmp_path: Path) -> None:
    write_data(tmp_path / "mteb" / "stsbenchmark-sts", "score", ["en"])
    outcome = evaluate(tmp_path, artifact.path, "mteb:STSBenchmark", "--json")
    assert outcome.returncode == 0, outcome.stderr
    evaluation = json.loads(outcome.stdout)["evaluations"][0]
    assert (evaluation["dataset"], evaluation["split"]) == ("mteb:STSBenchmark", "test")
    assert (evaluation["pairs"], evaluation["language"]) == (40, None)
    by_mteb = run(tmp_path, "-c", BY_MTEB, artifact.path, "STSBenchmark")
    expected = float(by_mteb.stdout.splitlines()[-1])
    assert evaluation["runners"][0]["scores"]["spearman"] == pytest.approx(expected, abs=1e-5)


@needs_mteb
def test_a_language_and_a_split_of_a_task_can_be_chosen(tiny: Path, tmp_path: Path) -> None:
    write_data(tmp_path / "mteb" / "stsb_multi_mt", "similarity_score", ["en", "de"])
    words = ("mteb:STSBenchmarkMultilingualSTS", "--language", "de")
    outcome = evaluate(tmp_path, tiny, *words, "--split", "test", "--json")
    assert outcome.returncode == 0, outcome.stderr
    evaluation = json.loads(outcome.stdout)["evaluations"][0]
    assert (evaluation["language"], evaluation["split"]) == ("de", "test")
    gold = load_pairs("bundled").gold[40:80].tolist()
    assert evaluation["gold"] == gold
    assert "examples/s" not in outcome.stderr
    missing = evaluate(tmp_path, tiny, *words, "--split", "train")
    assert "has no split 'train'; its splits are test" in missing.stderr


REFUSED = {
    "mteb:SciFact": "a task of type Retrieval of text; expected STS of text. Use mteb.evaluate(minilmx.load",
    "mteb:Nothing": (
        "mteb has no task 'Nothing'; expected one of type STS. mteb.get_tasks(task_types=['STS']) lists"
    ),
    "mteb:STSBenchmarkMultilingualSTS": "no language; expected one of en, de, ",
    "mteb:STSBenchmark": "the data mteb/stsbenchmark-sts cannot be loaded: ",
}


@pytest.fixture(scope="module")
def refused(tiny_original: Artifact, make_once: MakeOnce) -> dict[str, list[object]]:
    """The exit code, standard output and standard error for each data set, from one process: mteb's import
    takes long."""

    def evaluate_each(folder: Path) -> None:
        outcome = run(folder, "-c", EACH, tiny_original.path, *REFUSED)
        assert outcome.returncode == 0, outcome.stderr
        (folder / "found.json").write_text(outcome.stdout, encoding="utf-8")

    made = make_once("refused by mteb", evaluate_each)
    found: dict[str, list[object]] = json.loads((made / "found.json").read_text(encoding="utf-8"))
    return found


@needs_mteb
@pytest.mark.parametrize("dataset", REFUSED)
def test_what_cannot_be_loaded_is_refused_in_one_sentence(
    dataset: str, refused: dict[str, list[object]]
) -> None:
    code, stdout, stderr = refused[dataset]
    assert (code, stdout) == (3, ""), stderr
    assert isinstance(stderr, str)
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
