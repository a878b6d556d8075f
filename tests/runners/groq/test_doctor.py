"""What is reported on a machine that lacks something, and on one that lacks nothing."""

import json
import os
import shutil

import pytest

ADVICE = {"tested together", "memory"}  # these depend on where the tests run, and refuse nothing


def doctor(machine, **switches):
    """The checks that fail, {name: found}."""
    outcome = machine.mlx("groq", "doctor", "--json", **switches)
    checks = json.loads(outcome.stdout)
    failed = {check["name"]: check["found"] for check in checks if not check["ok"]}
    assert outcome.code == (3 if failed else 0)
    assert all(check["remedy"] for check in checks if check["name"] in failed or check["warning"])
    return failed


def warnings(machine, **switches):
    """The checks that warn, {name: found}, on a machine that lacks nothing."""
    outcome = machine.mlx("groq", "doctor", "--json", **switches)
    assert outcome.code == 0, outcome
    checks = json.loads(outcome.stdout)
    return {check["name"]: check["found"] for check in checks if check["warning"]}


def test_on_a_complete_machine_every_check_passes(machine):
    outcome = machine.mlx("groq", "doctor")
    assert outcome.code == 0
    checks, _, status = outcome.stdout.partition("\n ")
    assert "Device Locked: no" in status
    for line in checks.splitlines():
        state, name = line.split()[0], line[9:27].strip()
        assert state == "ok" or (state == "warning" and name in ADVICE)


@pytest.mark.parametrize("python", [None, "/nowhere/bin/python"])
def test_on_a_bare_machine_the_doctor_names_all_that_is_missing(bare_machine, python):
    switches = {"MINILMX_GROQFLOW_PYTHON": python} if python else {}
    code, stdout, stderr = bare_machine.run("groq", "doctor", **switches)
    assert (code, stderr) == (3, "")
    missing = {line[9:27].strip() for line in stdout.splitlines() if line.startswith("MISSING")}
    tools = {"onnxmodelanalyzer", "groq-compiler", "aa-latest"}
    packages = {"groq-devtools", "groq-runtime", "groq.runner.tsp"}
    assert missing == {"GroqFlow", "FP16 conversion", "GroqCards", *tools, *packages}
    assert "mlx groq setup" in stdout
    if python:
        assert "MINILMX_GROQFLOW_PYTHON is /nowhere/bin/python" in stdout


WORDS = {
    "run": ("run", "--runner", "groq"),
    "eval": ("eval", "--runner", "onnxruntime", "--runner", "groq"),
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_on_a_bare_machine_an_explicit_groq_is_an_error_and_nothing_else_runs(bare_machine, tiny, words):
    code, stdout, stderr = bare_machine.run(words[0], tiny, *words[1:], stdin="a\n")
    assert (code, stdout) == (3, "")
    message = stderr.splitlines()[-1]  # eval says first how many rows it read
    assert message.startswith("Error: the runner groq cannot run here: 9 things are missing: GroqFlow, ")
    for name in ("groq-compiler", "groq-runtime", "groq.runner.tsp", "GroqCards", "mlx groq doctor"):
        assert name in stderr
    assert not (bare_machine.folder / "results").exists()


def test_on_a_bare_machine_a_build_says_how_to_get_groqflow(bare_machine, tiny):
    assert "mlx groq setup" in bare_machine.fails("groq", "build", tiny)


def test_runners_lists_groq_with_what_is_missing(bare_machine, machine):
    rows = {name: {} for name in ("bare", "whole")}
    for name, each in (("bare", bare_machine), ("whole", machine)):
        outcome = each.mlx("runners", "--json")
        assert outcome.code == 0
        rows[name] = {row["name"]: row["missing"] for row in json.loads(outcome.stdout)}
    assert "GroqCards" in rows["bare"]["groq"]
    assert rows["whole"]["groq"] is None


def test_without_named_runners_groq_is_chosen_if_it_can_run(ready, tiny):
    outcome = ready.mlx("eval", tiny, "--limit", 2, "-o", "r.json")
    assert outcome.code == 0, outcome
    assert "a GroqCard was found" in outcome.stderr
    outcome = ready.mlx("eval", tiny, "--limit", 2, "-o", "s.json", GROQWARE_CARDS="0")
    assert "no GroqCard was found" in outcome.stderr


def test_a_card_that_cannot_be_used_is_not_called_missing(ready, tiny):
    words = ("eval", tiny, "--limit", 2, "-o", "r.json")
    outcome = ready.mlx(*words, GROQWARE_CARDS="8", GROQWARE_RUNTIME="0.9.0")
    assert outcome.code == 0, outcome
    assert "a GroqCard was found, but cannot be used: groq-runtime: 0.9.0" in outcome.stderr
    assert "an emulation on the CPU" in outcome.stderr
    assert "no GroqCard" not in outcome.stderr


ALONE = {
    "no card": ({"GROQWARE_CARDS": "0"}, {"GroqCards": "0 seen by lspci"}),
    "runtime broken": (
        {"GROQWARE_RUNNER": "import"},
        {"groq.runner.tsp": "libgroq.so: injected failure of the import"},
    ),
    "devtools too old": ({"GROQWARE_DEVTOOLS": "0.9.2"}, {"groq-devtools": "0.9.2"}),
    "runtime too old": ({"GROQWARE_RUNTIME": "1:0.9.2-5"}, {"groq-runtime": "1:0.9.2-5"}),
}


@pytest.mark.parametrize("case", ALONE)
def test_each_check_fails_alone(machine, case):
    switches, expected = ALONE[case]
    failed = doctor(machine, **switches)
    assert set(failed) == set(expected)
    for name, found in expected.items():
        assert found in failed[name]


def test_without_groqflow_only_building_is_impossible(machine, groqflow_python):
    python = {"MINILMX_GROQ_RUNTIME_PYTHON": groqflow_python}
    failed = doctor(machine, MINILMX_GROQFLOW_PYTHON="/nowhere", **python)
    assert set(failed) == {"GroqFlow", "FP16 conversion"}
    assert "/nowhere" in failed["GroqFlow"]


def test_without_the_runtime_its_packages_version_does_not_matter(machine):
    failed = doctor(machine, PYTHONPATH="", GROQWARE_RUNTIME="none")
    assert set(failed) == {"groq.runner.tsp", "groq-runtime"}
    assert "not on PYTHONPATH" in failed["groq.runner.tsp"]


VERSIONS = {
    "0.9.2.1": "0.9.2.1",
    "0.9.3.1": "0.9.3.1",
    "0.10.0.1": "1:0.10.0.1-2ubuntu1",
    "0.11.0": "0.11.0",
}


@pytest.mark.parametrize("release", VERSIONS)
def test_every_release_that_groqflow_takes_is_accepted(machine, release):
    version = VERSIONS[release]
    assert set(warnings(machine, GROQWARE_DEVTOOLS=version, GROQWARE_RUNTIME=version)) <= ADVICE


@pytest.mark.parametrize("answer", ["none", "unknown", "crash"])
def test_an_sdk_that_no_package_manager_knows_is_a_warning(machine, answer):
    found = warnings(machine, GROQWARE_DEVTOOLS=answer, GROQWARE_RUNTIME=answer)
    assert {name: found[name] for name in set(found) - ADVICE} == {
        "groq-devtools": "unknown version",
        "groq-runtime": "unknown version",
    }


@pytest.mark.parametrize("tool", ["onnxmodelanalyzer", "groq-compiler", "aa-latest"])
def test_each_missing_tool_is_reported_alone(machine, groqware, tool):
    tools = machine.folder / "bin"
    tools.mkdir()
    for path in (groqware / "bin").iterdir():
        if path.name != tool:
            (tools / path.name).symlink_to(path)
    failed = doctor(machine, PATH=f"{tools}:/usr/bin:/bin")
    assert set(failed) == {tool}


def status(outcome):
    """The line of `tsp-ctl status` and those that follow it, from the column of what was found."""
    text = outcome.stdout.partition("tsp-ctl status")[2]
    return [line.strip() for line in text.splitlines()]


def test_the_status_of_the_cards_is_shown_as_plain_text(machine, groqware):
    outcome = machine.mlx("groq", "doctor", GROQWARE_CARDS="2")
    lines = ["card 1", "Device Locked: no", "card 2", "Device Locked: no"]
    assert outcome.code == 0
    assert status(outcome) == lines
    first, *others = outcome.stdout.splitlines()[-4:]
    column = first.index("card 1")
    assert [len(line) - len(line.lstrip()) for line in others] == [column + 2, column, column + 2]
    checks = json.loads(machine.mlx("groq", "doctor", "--json", GROQWARE_CARDS="2").stdout)
    assert checks[-1]["found"].replace("  ", "").splitlines() == lines


def test_a_status_that_fails_or_hangs_is_a_warning(machine, monkeypatch):
    monkeypatch.setattr("minilmx.runners.groq.doctor._STATUS_SECONDS", 0.5)
    for switch in ("fail", "hang"):
        found = warnings(machine, GROQWARE_TSP_CTL=switch)
        assert "failed, or gave no answer within 0.5 s" in found["tsp-ctl status"]


def test_a_machine_without_tsp_ctl_does_not_mention_it(machine, groqware):
    tools = machine.folder / "bin"
    shutil.copytree(groqware / "bin", tools)
    (tools / "tsp-ctl").unlink()
    (tools.parent / "tools").symlink_to(groqware / "tools")
    variables = {"PATH": f"{tools}:{os.environ['PATH']}"}
    assert "tsp-ctl" not in machine.mlx("groq", "doctor", **variables).stdout
    runtime = machine.folder / "runtime"  # as at ORNL
    (runtime / "bin").mkdir(parents=True)
    (runtime / "groq").symlink_to(groqware / "site-packages" / "groq")
    (runtime / "bin" / "tsp-ctl").symlink_to(groqware / "bin" / "tsp-ctl")
    outcome = machine.mlx("groq", "doctor", PYTHONPATH=str(runtime), **variables)
    assert status(outcome) == ["card 1", "Device Locked: no"]


def test_less_memory_than_groq_asks_for_is_a_warning(machine, monkeypatch):
    """GroqFlow's README asks for 32 GB to build; a machine with that shows a little less."""
    sysconf = os.sysconf
    for gigabytes, warned in ((16, True), (31, False)):
        stated = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": gigabytes * 10**9 // 4096}
        monkeypatch.setattr(os, "sysconf", lambda name, stated=stated: stated.get(name) or sysconf(name))
        assert warnings(machine).get("memory") == (f"{gigabytes} GB" if warned else None)


def test_a_cache_that_cannot_be_written_is_reported(machine):
    (machine.folder / "file").write_text("")
    failed = doctor(machine, XDG_CACHE_HOME=str(machine.folder / "file"))
    assert set(failed) == {"build cache"}
    assert "cannot be written" in failed["build cache"]


def test_a_numpy_beside_the_runtime_does_not_hide_another_numpy(ready, tiny, groqware):
    """Groq's guide puts the runtime's folder, which can hold another Python's numpy, on PYTHONPATH."""
    runtime = ready.folder / "runtime"
    (runtime / "numpy").mkdir(parents=True)
    (runtime / "numpy" / "__init__.py").write_text("raise ImportError('numpy of another Python')")
    (runtime / "groq").symlink_to(groqware / "site-packages" / "groq")
    assert doctor(ready, PYTHONPATH=str(runtime)) == {}
    outcome = ready.mlx("run", tiny, "--runner", "groq", stdin="a\n", PYTHONPATH=str(runtime))
    assert outcome.code == 0, outcome
