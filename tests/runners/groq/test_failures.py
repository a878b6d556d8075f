"""Every failure that tests/groqware can inject, through the command line."""

import re
from pathlib import Path

import pytest

BUILD_FAILURES = {
    "analyzer crashes": (
        {"GROQWARE_ANALYZER": "crash"},
        ("in check_compatibility", "exit code 1", "injected crash"),
    ),
    "analyzer garbles": ({"GROQWARE_ANALYZER": "garbled"}, ("in check_compatibility", "could not read")),
    "op unsupported": (
        {"GROQWARE_ANALYZER": "unsupported:Erf"},
        ("in check_compatibility", "Erf", "not supported"),
    ),
    "compiler fails": (
        {"GROQWARE_COMPILER": "fail"},
        ("in compile", "groq-compiler ended with exit code 1", "nothing was written"),
    ),
    "compiler is cut off": ({"GROQWARE_COMPILER": "partial"}, ("in compile", "exit code 1", "No space left")),
    "compiler fails late": (
        {"GROQWARE_COMPILER": "late"},
        ("in compile", "exit code 1", "not to be trusted"),
    ),
    "two programs": ({"GROQWARE_COMPILER": "two"}, ("in compile", "output.1.aa", "output.aa")),
    "memory line": (
        {"GROQWARE_COMPILER": "memory"},
        ("in compile", "could not read", "Max memory usage is a secret"),
    ),
    "not UTF-8": ({"GROQWARE_COMPILER": "binary"}, ("in compile", "could not read", "UnicodeDecodeError")),
    "truncated program": ({"GROQWARE_COMPILER": "truncated"}, ("in assemble", "aa-latest ended", "damaged")),
    "assembler fails": ({"GROQWARE_ASSEMBLER": "fail"}, ("in assemble", "aa-latest ended with exit code 1")),
    "no SDK": ({"PATH": "/usr/bin:/bin"}, ("in check_compatibility", "onnxmodelanalyzer not found")),
}


def log_in(message):
    """The log that an error names, which exists and is not empty."""
    path = Path(re.search(r"ead the log (\S+)\.$", message).group(1))
    assert path.stat().st_size > 0
    return path


@pytest.mark.parametrize("case", BUILD_FAILURES)
def test_a_build_that_fails_says_why_and_leaves_only_its_logs(machine, tiny, case):
    switches, fragments = BUILD_FAILURES[case]
    message = machine.fails("groq", "build", tiny, "--bundle", "out.tar", **switches)
    for fragment in fragments:
        assert fragment in message
    assert log_in(message).is_relative_to(machine.cache)
    left = {path.name for path in machine.cache.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert "build.log" in left
    assert all(name.startswith("log_") for name in left - {"build.log"})
    assert not (machine.folder / "out.tar").exists()


def test_an_sdk_that_groqflow_refuses_is_refused_before_it_starts(machine, tiny):
    message = machine.fails("groq", "build", tiny, GROQWARE_DEVTOOLS="1:0.9.2-1")
    assert "the version of groq-devtools: 1:0.9.2-1; expected 0.9.2.1 or later" in message
    assert not list(machine.cache.glob("*/build.log"))


def test_after_a_failed_build_the_next_run_builds(machine, tiny):
    machine.fails("run", tiny, "--runner", "groq", GROQWARE_COMPILER="partial")
    outcome = machine.mlx("run", tiny, "--runner", "groq", stdin="a sentence\n")
    assert outcome.code == 0
    assert '"text": "a sentence"' in outcome.stdout


HELD_FAILURES = {
    "runtime broken": ("import", ("groq.runner.tsp", "injected failure of the import")),
    "not loaded": ("load", ("cannot be loaded", "injected failure of loading")),
    "first call": ("call", ("batch 1 failed", "injected failure of call 1")),
    "second call": ("call:2", ("batch 2 failed", "injected failure of call 2")),
    "dies": ("die:2", ("worker was killed by signal 6",)),
    "output missing": ("missing", ("batch 1 gave ['last_hidden_state']", "expected ['sentence_embedding']")),
    "output renamed": ("renamed", ("something_else", "expected ['sentence_embedding']")),
    "wrong shape": ("shape", ("returned float32 [4, 7]", "expected float32 [4, 8]")),
    "not a number": ("nan", ("not finite", "sentence 1: 'number 1'")),
}
SENTENCES = "".join(f"number {number}\n" for number in range(1, 11))  # three batches of four


@pytest.mark.parametrize("case", HELD_FAILURES)
def test_a_program_that_fails_says_why_and_writes_no_embeddings(ready, tiny, case):
    switch, fragments = HELD_FAILURES[case]
    words = ("run", tiny, "--runner", "groq", "-o", "e.npy")
    message = ready.fails(*words, stdin=SENTENCES, GROQWARE_RUNNER=switch)
    for fragment in fragments:
        assert fragment in message
    if switch not in ("import", "shape", "nan"):  # reported before it starts, or by the embedder
        assert "STAND-IN" in log_in(message).read_text()
    assert not list(ready.folder.glob("e.npy*"))
    assert not list((ready.folder / "tmp").glob("minilmx*"))


def test_a_truncated_program_is_found_when_it_is_loaded(machine, tiny):
    words = ("run", tiny, "--runner", "groq")
    message = machine.fails(*words, stdin=SENTENCES, GROQWARE_ASSEMBLER="truncated")
    assert "cannot be loaded" in message
    assert "damaged" in message


GROQFLOW_FAILURES = {
    "call": "injected failure of call 1",
    "die": "exit code -6",
    "renamed": "but got ['last_hidden_state', 'something_else']",
    "nan": "not finite for sentence 1",
}


@pytest.mark.parametrize("switch", GROQFLOW_FAILURES)
def test_a_failure_on_groqflows_own_path_says_why(ready, tiny, switch):
    words = ("run", tiny, "--runner", "groq", "--groq-execution", "groqflow")
    message = ready.fails(*words, stdin=SENTENCES, GROQWARE_RUNNER=switch)
    assert GROQFLOW_FAILURES[switch] in message
    if switch != "nan":
        assert "Error" in log_in(message).read_text()
    assert not list((ready.folder / "tmp").glob("minilmx*"))


def test_float32_outputs_give_the_same_embeddings_as_float16_ones(ready, tiny):
    words = ("run", tiny, "--runner", "groq")
    plain = ready.mlx(*words, stdin=SENTENCES)
    halves = ready.mlx(*words, stdin=SENTENCES, GROQWARE_RUNNER="float32")
    assert plain.code == halves.code == 0
    assert plain.stdout == halves.stdout


@pytest.mark.parametrize("switch", ["no-cycles", "no-stats"])
def test_a_build_without_an_estimate_succeeds_with_a_warning(machine, tiny, switch):
    outcome = machine.mlx("groq", "build", tiny, GROQWARE_COMPILER=switch)
    assert outcome.code == 0
    assert "no estimate of the latency" in outcome.stdout
    assert "on-chip" not in outcome.stdout
