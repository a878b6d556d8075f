"""Several cards at once: who runs what changes no byte, and a card that fails costs only its batches."""

import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

ROWS = 200


@pytest.fixture
def cards(ready, tiny):
    """A machine with four cards, and a file with fifty batches of texts of many lengths."""
    lines = ("a b c d e f g h"[: 1 + 2 * (row % 8)] + f" {row}" for row in range(ROWS))
    (ready.folder / "in.txt").write_text("".join(f"{line}\n" for line in lines))
    ready.variables |= {"GROQWARE_CARD_LOCK": str(ready.folder / "card"), "GROQWARE_CARDS": "4"}
    return ready


def embed(machine, tiny, *words, **switches):
    outcome = machine.mlx(
        "run", tiny, "in.txt", "--runner", "groq", *words, "-o", "e.npy", "--force", **switches
    )
    assert outcome.code == 0, outcome
    record = json.loads((machine.folder / "e.npy.run.json").read_text())
    return np.load(machine.folder / "e.npy"), record, outcome.stderr


def held(machine):
    """The cards that are locked."""
    return sorted(path.name for path in machine.folder.glob("card*"))


def test_a_card_that_dies_costs_only_its_batches(cards, tiny):
    expected, one, _ = embed(cards, tiny)
    assert one["details"]["cards"] == 1
    dying = {"GROQWARE_RUNNER": "die:3", "GROQWARE_FAILING_CARD": "3", "GROQWARE_OTHERS_WAIT": "1"}
    found, record, stderr = embed(cards, tiny, "--cards", "all", GROQWARE_CALL_MS="5", **dying)
    np.testing.assert_array_equal(found, expected)
    assert record["details"]["cards"] == 3
    failed = r"card 3 of 4 failed: .* was killed by signal 6; the run continues on 3 cards"
    pattern = failed + r"\. Read the log (\S+)\."
    log = re.search(pattern, stderr).group(1)
    assert "loading" in Path(log).read_text()
    assert held(cards) == ["card-3"]  # its program did not end in order
    assert [str(path) for path in cards.cache.glob("run-*.log")] == [log]


def test_without_a_card_left_it_is_an_error_and_no_file(cards, tiny):
    words = ("run", tiny, "in.txt", "--runner", "groq", "--cards", 2, "-o", "e.npy")
    message = cards.fails(*words, GROQWARE_RUNNER="call:3")
    assert re.match(
        r"Error: card [12] of 2 failed, and no other is left: GroqFlow failed: batch 3 failed: RuntimeError: "
        r"injected failure of call 3\. Read the log \S+\.$",
        message,
    )
    assert not list(cards.folder.glob("*e.npy*"))
    assert held(cards) == []


def test_a_batch_that_fails_on_two_cards_is_not_tried_on_a_third(cards, tiny):
    (cards.folder / "in.txt").write_text("a text\n")
    words = ("run", tiny, "in.txt", "--runner", "groq", "--cards", "4", "-o", "e.npy")
    dying = {"GROQWARE_RUNNER": "die:1"}
    message = cards.fails(*words, **dying)
    assert re.match(
        r"Error: two cards failed on the same batches: the Groq worker was killed by signal 6\. "
        r"Read the log \S+\.$",
        message,
    )
    assert len(held(cards)) == 2  # only these two did not end in order


@pytest.mark.parametrize(
    ("words", "count", "shards"),
    [
        (("--cards", "3", "-o", "e.npy"), 3, 0),
        (("--cards", "3", "-o", "e/"), 3, 0),
        pytest.param(
            ("--engine", "ray", "--workers", "2", "--shard-rows", "50", "-o", "e/"),
            2,
            3,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["a file", "a folder", "ray"],
)
def test_a_signal_closes_every_program(cards, tiny, words, count, shards):
    """One card hangs in a call; the others are between calls of 100 ms."""
    if "ray" in words:
        pytest.importorskip("ray", reason="needs ray")
    switches = {"GROQWARE_RUNNER": "hang:2", "GROQWARE_FAILING_CARD": "2", "GROQWARE_CALL_MS": "100"}
    switches["GROQWARE_OTHERS_WAIT"] = "1"
    words = ("run", tiny, "in.txt", "--runner", "groq", *words)
    process = cards.start(*words, **switches, TMPDIR="/tmp")  # Ray's sockets: short paths
    deadline = time.monotonic() + 120
    while len(held(cards)) < count:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr.splitlines()[-1]) == (130, "Error: interrupted")
    assert "failed" not in stderr
    assert not cards.processes()
    assert held(cards) == []
    assert (
        len([*cards.folder.glob("*e.npy*"), *cards.folder.glob("e/*.parquet")]) <= shards
    )  # the complete ones


def test_cards_of_a_corpus_change_no_byte_and_a_resumed_run_may_have_others(cards, tiny):
    words = ("run", tiny, "in.txt", "--runner", "groq", "--shard-rows", "50", "-o")
    assert cards.run(*words, "one/")[0] == 0
    dying = {"GROQWARE_RUNNER": "die:3", "GROQWARE_FAILING_CARD": "2", "GROQWARE_OTHERS_WAIT": "1"}
    code, _, stderr = cards.run(*words, "two/", "--cards", "2", **dying)
    assert code == 0
    assert "card 2 of 2 failed" in stderr
    assert held(cards) == ["card-2"]
    shards = sorted(path.name for path in (cards.folder / "one").glob("*.parquet"))
    assert len(shards) == 4
    for name in shards:
        assert (cards.folder / "two" / name).read_bytes() == (cards.folder / "one" / name).read_bytes()
    code, _, stderr = cards.run(*words, "two/", "--cards", "3")
    assert code == 0
    assert "200 of them already done" in stderr


def test_eval_runs_on_several_cards(cards, tiny):
    words = ("eval", tiny, "--runner", "onnxruntime", "--runner", "groq", "--limit", 3)
    assert cards.mlx(*words, "--cards", "2", "-o", "r.json").code == 0
    document = json.loads((cards.folder / "r.json").read_text())
    assert document["evaluations"][0]["runners"][1]["details"]["cards"] == 2


@pytest.mark.slow
def test_of_eight_cards_one_may_be_killed(cards, tiny):
    (cards.folder / "in.txt").write_text("".join(f"text {'a ' * (row % 9)}\n" for row in range(4000)))
    expected, *_ = embed(cards, tiny)
    words = ("run", tiny, "in.txt", "--runner", "groq", "--cards", "all", "-o", "e.npy", "--force")
    process = cards.start(*words, GROQWARE_CARDS="8", GROQWARE_CALL_MS="30")
    workers = cards.find("worker.py", 8, seconds=60)
    deadline = time.monotonic() + 30
    while len(held(cards)) < 8:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)
    os.kill(workers[4], signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    failed = r"^card \d of 8 failed: the Groq worker was killed by signal 9; the run continues on 7 cards\."
    assert len(re.findall(failed, stderr, re.MULTILINE)) == 1
    np.testing.assert_array_equal(np.load(cards.folder / "e.npy"), expected)
    record = json.loads((cards.folder / "e.npy.run.json").read_text())
    assert (record["sentences"], record["details"]["cards"]) == (4000, 7)
    assert cards.is_quiet()
    assert len(held(cards)) == 1


@pytest.mark.slow
def test_each_worker_of_ray_has_a_card_and_one_that_dies_costs_only_its_shards(cards, tiny):
    pytest.importorskip("ray", reason="needs ray")
    words = ("run", tiny, "in.txt", "--runner", "groq", "--shard-rows", "50", "-o")
    assert cards.run(*words, "one/")[0] == 0
    switches = {
        "GROQWARE_CARDS": "2",
        "GROQWARE_CALL_MS": "50",
        "TMPDIR": "/tmp",  # Ray's sockets: short paths
        "GROQWARE_RUNNER": "die:3",
        "GROQWARE_FAILING_CARD": "2",
        "GROQWARE_OTHERS_WAIT": "1",
    }
    process = cards.start(*words, "two/", "--engine", "ray", **switches)
    most = 0
    while process.poll() is None:
        most = max(most, len(held(cards)))
        time.sleep(0.02)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert most == min(2, os.cpu_count() or 1)
    if most == 2:
        assert re.search(
            r"^a worker failed: .* was killed by signal 6; the run continues on 1 worker", stderr, re.M
        )
        assert held(cards) == ["card-2"]
    for shard in (cards.folder / "one").glob("*.parquet"):
        assert (cards.folder / "two" / shard.name).read_bytes() == shard.read_bytes()


@pytest.mark.slow
def test_bench_measures_several_cards(cards, tiny):
    words = ("bench", tiny, "in.txt", "--runner", "groq", "--graph", "fixed", "--rounds", 1)
    code, stdout, stderr = cards.run(*words, "--cards", "2", "--json")
    assert code == 0, stderr
    (timing,) = json.loads(stdout)["timings"]
    assert timing["details"]["cards"] == 2
    assert held(cards) == []


@pytest.mark.parametrize(
    ("words", "switches", "code", "message"),
    {
        "more than there are": (
            ("--runner", "groq", "--cards", "9"),
            {"GROQWARE_CARDS": "8"},
            3,
            "Error: the runner groq cannot run here: cards: 9; expected at most the 8 that lspci lists",
        ),
        "more by workers": (
            ("--runner", "groq", "--cards", "3", "--workers", "2", "-o", "out/"),
            {},
            3,
            "Error: the runner groq cannot run here: cards: 6; expected at most the 4 that lspci lists",
        ),
        "GroqFlow's own path": (
            ("--runner", "groq", "--cards", "2", "--groq-execution", "groqflow"),
            {},
            3,
            "Error: the runner groq cannot run here: cards: 2; expected 1, because GroqFlow's own path "
            "holds no program",
        ),
        "another runner": (
            ("--runner", "onnxruntime", "--cards", "2"),
            {},
            2,
            "Error: --cards is not an option of the runner onnxruntime; expected --device, --device-option, "
            "--graph-optimization, --threads.",
        ),
        "no number": (
            ("--runner", "groq", "--cards", "0"),
            {},
            2,
            "Error: Invalid value for '--cards': '0'; expected a whole number from 1, or all.",
        ),
    }.values(),
    ids=["nine", "workers", "groqflow", "onnxruntime", "zero"],
)
def test_what_cannot_be_is_refused_in_one_sentence(cards, tiny, words, switches, code, message):
    outcome = cards.mlx("run", tiny, "in.txt", *words, **switches)
    assert outcome.code == code
    assert outcome.stderr.splitlines()[-1] == message
