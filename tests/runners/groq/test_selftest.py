"""What `mlx groq selftest` answers over the stand-ins, and each answer when the stand-ins break it."""

import json
import re
import resource
import shutil
from collections import Counter

import onnx
import pytest
from tests.runners.conftest import Machine
from tests.runners.groq.selftest_model import ARTIFACT, export_selftest

from minilmx.models.artifact import open_artifact
from minilmx.models.manifest import GraphKind

KINDS = ("fixed", "packed")
ANSWERS = ("compiles", "inputs", "outputs", "repeats", "time", "error")


def answers(stdout):
    """{name: (state, what was found)} of the printed lines."""
    lines = (re.fullmatch(r"(\S+) +(\w+: \w+) +(.*)", line) for line in stdout.splitlines())
    return {line[2]: (line[1], line[3]) for line in lines if line}


def failed(machine, **switches):
    """The answers that failed, {name: found}, of a self-test that failed."""
    outcome = machine.mlx("groq", "selftest", **switches)
    assert outcome.code == 3, outcome
    return {name: found for name, (state, found) in answers(outcome.stdout).items() if state == "FAILED"}


def processor_seconds():
    """CPU time of all child processes that have ended, which does not depend on other processes."""
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


@pytest.fixture(scope="session")
def passed(make_once, groqflow_python):
    """A machine on which the self-test has passed, with what it printed and its CPU time."""

    def make(folder):
        started = processor_seconds()
        code, stdout, stderr = Machine(folder, python=groqflow_python).run("groq", "selftest")
        assert code == 0, stderr
        (folder / "printed.json").write_text(json.dumps([stdout, processor_seconds() - started]))

    machine = Machine(make_once("selftest", make), python=groqflow_python)
    machine.stdout, machine.seconds = json.loads((machine.folder / "printed.json").read_text())
    return machine


@pytest.fixture
def compiled(machine, passed):
    """A machine of the test's own that has the programs of the self-test in its cache."""
    shutil.copytree(passed.cache, machine.cache)
    return machine


def test_every_answer_is_given_for_both_graphs_in_less_than_a_minute(passed):
    assert passed.seconds < 60
    found = answers(passed.stdout)
    assert list(found) == [f"{kind}: {answer}" for kind in KINDS for answer in ANSWERS]
    assert {state for state, _ in found.values()} == {"ok"}
    assert "Cast 1, " in found["fixed: compiles"][1]
    assert "Cast" not in found["packed: compiles"][1]
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert f"{name} int64" in found["fixed: inputs"][1]
    assert "each sent as int32" in found["packed: inputs"][1]
    assert "last_hidden_state float16 [2, 128, 32]" in found["fixed: outputs"][1]
    assert found["packed: outputs"][1] == "sentence_embedding float16 [2, 16, 32]"
    for kind in KINDS:
        assert found[f"{kind}: repeats"][1] == "100 of 100 calls gave the same bits"
        assert found[f"{kind}: compiles"][1].startswith("emulated: ")
        milliseconds = re.match(r"emulated: ([\d.]+) ms per call inside the SDK", found[f"{kind}: time"][1])
        assert 0 < float(milliseconds[1]) < 100
        error = re.match(r"relative error of an embedding (\S+) against", found[f"{kind}: error"][1])
        assert 1e-6 < float(error[1]) < 0.02


def test_a_mask_that_does_not_compile_has_another_form_and_leaves_the_packed_graph(machine):
    found = failed(machine, GROQWARE_COMPILER="refuse:Cast")
    assert list(found) == ["fixed: compiles"]
    assert "Cast of int64 is not supported" in found["fixed: compiles"]
    assert "export the model with a bool mask, as in Groq's proof point" in found["fixed: compiles"]


def test_what_neither_graph_can_do_without_fails_both(machine):
    found = failed(machine, GROQWARE_COMPILER="refuse:Gather")
    assert list(found) == ["fixed: compiles", "packed: compiles"]
    assert "use the fixed graph" in found["packed: compiles"]


RUNNER = {
    "int64": ("inputs", "is int32, expected int64"),
    "load": ("inputs", "injected failure of loading the program"),
    "renamed": ("outputs", "something_else"),
    "missing": ("outputs", ""),
    "shape": ("outputs", "31]"),
    "unsteady": ("repeats", "1 of 100 calls gave the same bits"),
    "call:57": ("repeats", "injected failure of call 57"),
    "nan": ("error", "relative error of an embedding inf"),
}


@pytest.mark.parametrize("switch", RUNNER)
def test_each_answer_is_broken_by_a_switch_of_the_runner(compiled, switch):
    answer, text = RUNNER[switch]
    found = failed(compiled, GROQWARE_RUNNER=switch)
    for kind in KINDS:
        assert text in found.get(f"{kind}: {answer}", "not there"), found
    others = {name for name in found if not name.endswith(answer)}
    assert others <= ({"fixed: error", "packed: error"} if switch == "shape" else set())


def test_another_type_of_the_outputs_is_a_warning(compiled):
    outcome = compiled.mlx("groq", "selftest", GROQWARE_RUNNER="float32")
    assert outcome.code == 0, outcome
    state, found = answers(outcome.stdout)["fixed: outputs"]
    assert state == "warning"
    assert "sentence_embedding float32 [2, 32]" in found


def test_the_time_is_that_of_a_call(compiled):
    outcome = compiled.mlx("groq", "selftest", GROQWARE_CALL_MS="5")
    for kind in KINDS:
        assert float(answers(outcome.stdout)[f"{kind}: time"][1].split()[1]) >= 5
    assert outcome.stderr.count("build: from the cache") == 2


def test_the_example_runs(compiled):
    compiled.run_example("selftest_groq")


def test_without_a_card_nothing_is_tried(machine):
    message = machine.fails("groq", "selftest", GROQWARE_CARDS="0")
    assert message.startswith("Error: the runner groq cannot run here: GroqCards: 0 seen by lspci")


def test_the_deep_doctor_has_the_answers_too(compiled):
    outcome = compiled.mlx("groq", "doctor", "--deep", "--json", GROQWARE_RUNNER="unmasked")
    assert outcome.code == 3
    checks = {check["name"]: check for check in json.loads(outcome.stdout)}
    assert {f"{kind}: {answer}" for kind in KINDS for answer in ANSWERS} <= set(checks)
    assert [name for name, check in checks.items() if not check["ok"]] == ["fixed: error", "packed: error"]


def test_the_deep_doctor_tries_nothing_on_a_machine_that_lacks_something(machine):
    outcome = machine.mlx("groq", "doctor", "--deep", GROQWARE_CARDS="0")
    assert outcome.code == 3
    assert answers(outcome.stdout) == {}


def nodes(path):
    """Every node as its operator, and the type of each Cast."""
    graph = onnx.load(path).graph
    return [(node.op_type, *(a.i for a in node.attribute if a.name == "to")) for node in graph.node]


def test_the_shipped_graphs_have_the_operators_of_a_real_models(packed):
    shipped = open_artifact(ARTIFACT)
    for kind in (GraphKind.FIXED, GraphKind.PACKED):
        small, real = (nodes(each.with_graph(kind).graph_file) for each in (shipped, packed))
        assert set(small) == set(real)
        assert [(tensor.name, tensor.dtype) for tensor in shipped.with_graph(kind).graph.inputs] == [
            (tensor.name, tensor.dtype) for tensor in packed.with_graph(kind).graph.inputs
        ]


def test_the_shipped_graphs_are_what_the_exporter_writes(real_source, tmp_path):
    shipped, made = open_artifact(ARTIFACT), open_artifact(export_selftest(tmp_path))
    for kind in (GraphKind.FIXED, GraphKind.PACKED):
        assert Counter(nodes(shipped.with_graph(kind).graph_file)) == Counter(
            nodes(made.with_graph(kind).graph_file)
        )
