"""Builds: the cache and its key, damage, two builders at once, the time limit, wrong conversions."""

import errno
import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest

BROKEN_COMPILER = {"GROQWARE_COMPILER": "fail"}  # fails if it is called at all
AT_ONCE = ("--time-limit", 0.00001)  # ends a build when it starts


def test_a_build_reports_its_facts(machine, tiny):
    """On a machine like a login node, which has the compiler and neither the runtime nor a card."""
    login_node = {"GROQWARE_CARDS": "0", "GROQWARE_RUNTIME": "none", "GROQWARE_RUNNER": "import"}
    outcome = machine.mlx("groq", "build", tiny, "--bundle", "out.tar", **login_node)
    assert outcome.code == 0
    lines = dict(re.split(r" +", line, maxsplit=1) for line in outcome.stdout.splitlines())
    assert "MatMul 1" in lines["ops"]
    assert lines["unsupported"] == "none"
    assert lines["chips"] == "1"
    assert re.search(r"compile/output.aa [\d,]+ bytes, compile/output.iop [\d,]+ bytes", lines["program"])
    nodes = sum(int(count) for count in re.findall(r" (\d+)(?:,|$)", lines["ops"]))
    compute = r"^on-chip compute +0\.\d{3} ms per batch, [\d,]+ inferences/s \(([\d,]+) cycles at 900 MHz\)$"
    cycles = re.search(compute, outcome.stdout, re.MULTILINE).group(1)
    assert int(cycles.replace(",", "")) >= 1000 + 45 * nodes
    pcie = r"^with PCIe +0\.\d{3} ms per batch, [\d,]+ inferences/s \(GroqFlow's estimate\)$"
    assert re.search(pcie, outcome.stdout, re.MULTILINE)
    assert "stand-in" in lines["caution"]
    for stage in ("receive_onnx", "fp16_conversion", "compile", "assemble"):
        assert re.search(rf"^ +\d+\.\d s  {stage}$", outcome.stderr, re.MULTILINE)
    log = Path(re.search(r"tail -f (\S+)", outcome.stderr).group(1))
    assert "Compiled" in log.read_text()


def test_the_stand_in_is_named_even_if_the_package_manager_knows_no_sdk(ready, tiny):
    outcome = ready.mlx("groq", "build", tiny, GROQWARE_DEVTOOLS="none")
    assert outcome.code == 0
    assert re.search(r"^sdk +unknown$", outcome.stdout, re.MULTILINE)
    assert "caution" in outcome.stdout


def test_the_compilers_flags_make_a_build_of_their_own(ready, tiny):
    built = ready.mlx("groq", "build", tiny)
    assert re.search(r"^compiler flags +--effort=standard$", built.stdout, re.MULTILINE)
    words = ("groq", "build", tiny, "--effort", "high", "--groqview", "--bundle", "high.tar")
    outcome = ready.mlx(*words)
    assert outcome.code == 0, outcome
    assert re.search(r"^compiler flags +--groqview --effort=high$", outcome.stdout, re.MULTILINE)
    assert Path(re.search(r"^groqview +(\S+)$", outcome.stdout, re.MULTILINE).group(1)).is_dir()
    assert "from the cache" in ready.mlx(*words[:-1], "again.tar").stderr
    assert "from the cache" in ready.mlx("groq", "build", tiny).stderr
    for bundle, flags in ((["--bundle", "high.tar"], "--groqview --effort=high"), ([], "--effort=standard")):
        run = ("run", tiny, "--runner", "groq", *bundle, "-o", "e.npy", "--force")
        assert ready.mlx(*run, stdin="one\n").code == 0
        record = json.loads((ready.folder / "e.npy.run.json").read_text())
        assert record["details"]["compiler_flags"] == flags


@pytest.mark.parametrize("effort", ["standard", "high"])
def test_the_compiler_analyses_power_in_a_build_of_its_own(ready, tiny, effort):
    outcome = ready.mlx("groq", "build", tiny, "--power", "--effort", effort)
    assert outcome.code == 0, outcome
    flags = rf"^compiler flags +--effort={effort} --power-analysis$"
    assert re.search(flags, outcome.stdout, re.MULTILINE)
    assert "power analysis: " in Path(re.search(r"tail -f (\S+)", outcome.stderr).group(1)).read_text()
    assert "from the cache" in ready.mlx("groq", "build", tiny).stderr


def test_a_compiler_that_ignores_a_flag_is_an_error(machine, tiny):
    words = ("groq", "build", tiny, "--groqview")
    assert "wrote no GroqView folder" in machine.fails(*words, GROQWARE_COMPILER="no-view")
    assert machine.mlx("groq", "build", tiny, "--effort", "low").code == 2


def test_a_cached_build_is_not_built_again(ready, tiny):
    outcome = ready.mlx("groq", "build", tiny, **BROKEN_COMPILER)
    assert outcome.code == 0
    assert "from the cache" in outcome.stderr


def test_another_sdk_and_another_artifact_are_built_apart(ready, tiny, tiny_folder):
    words = ("groq", "build", *AT_ONCE)
    assert "did not finish" in ready.fails(*words, tiny, GROQWARE_DEVTOOLS="0.11.0")
    shape = ("--batch-size", 2, "--sequence-length", 16)
    assert ready.mlx("export", tiny_folder, "--from-onnx", *shape, "-o", "other").code == 0
    assert "did not finish" in ready.fails(*words, "other")
    assert "from the cache" in ready.mlx(*words, tiny).stderr


def test_force_builds_again(ready, tiny):
    assert "did not finish" in ready.fails("groq", "build", tiny, "--force", *AT_ONCE)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def misstate_chips(path):
    path.write_text(path.read_text().replace('"chips": 1', '"chips": 2'))


def unlist(path):
    path.write_text(json.dumps({**json.loads(path.read_text()), "files": {}}))


DAMAGE = {
    "program cut": ("model/compile/output.iop", cut),
    "program flipped": ("model/compile/output.iop", flip),
    "program gone": ("model/compile/output.iop", Path.unlink),
    "state garbled": ("model/model_state.yaml", lambda path: path.write_text("{")),
    "statistics changed": ("model/compile/stats.json", flip),
    "record gone": ("build.json", Path.unlink),
    "record garbled": ("build.json", lambda path: path.write_bytes(b"\xff{")),
    "record empty": ("build.json", lambda path: path.write_text("{}")),
    "record a list": ("build.json", lambda path: path.write_text("[]")),
    "record nested": ("build.json", lambda path: path.write_text("[" * 100_000)),
    "record of other chips": ("build.json", misstate_chips),
    "record of no files": ("build.json", unlist),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_cache_entry_is_never_run(ready, tiny, case):
    name, damage = DAMAGE[case]
    damage(next(ready.cache.glob(f"*/{name}")))
    assert "did not finish" in ready.fails("groq", "build", tiny, *AT_ONCE)  # it started to build again
    assert ready.builds() == (set(), set())


def test_a_damaged_cache_entry_is_built_again(ready, tiny):
    flip(next(ready.cache.glob("*/model/compile/output.iop")))
    outcome = ready.mlx("run", tiny, "--runner", "groq", stdin="a\n")
    assert outcome.code == 0
    assert "damaged (model/compile/output.iop): building again" in outcome.stderr
    assert "from the cache" in ready.mlx("groq", "build", tiny, **BROKEN_COMPILER).stderr


def test_two_processes_that_build_at_the_same_time_build_once(machine, tiny):
    go_on = machine.folder / "go-on"
    first = machine.start("groq", "build", tiny, GROQWARE_COMPILER=f"wait:{go_on}")
    machine.find("groq_compiler.py")
    second = machine.start("groq", "build", tiny, **BROKEN_COMPILER)
    while "another process is building" not in (line := second.stderr.readline()):
        assert line, second.communicate()
    go_on.touch()
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert "from the cache" in outputs[1][1]
    assert outputs[0][0] == outputs[1][0]
    assert machine.is_quiet()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_home_without_locks_is_a_warning(ready, tiny, monkeypatch, code):
    """As shared homes are that are mounted without them."""

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    outcome = ready.mlx("groq", "build", tiny, **BROKEN_COMPILER)
    assert outcome.code == 0, outcome
    assert f"{ready.cache} is on a file system without locks" in outcome.stderr


def test_a_build_that_takes_too_long_is_ended(machine, tiny):
    started = time.monotonic()
    words = ("groq", "build", tiny, "--time-limit", 0.03)
    message = machine.fails(*words, GROQWARE_COMPILER="stubborn")
    assert time.monotonic() - started < 15
    assert "the build did not finish in 0.03 minutes" in message
    assert "build.log" in message
    assert "Allow more time" in message
    assert machine.builds() == (set(), set())


def test_an_artifact_that_is_damaged_is_not_built(ready, tiny):
    cut(next(tiny.glob("model_*.onnx")))
    assert "is damaged" in ready.fails("groq", "build", tiny)


@pytest.fixture
def wrong_groqflow(request, groqflow_python, tmp_path):
    """GroqFlow's environment with a converter that is silently wrong: by a tenth, or as `param`."""
    before, after = getattr(request, "param", ("np.float16(np_array)", "np.float16(1.1 * np_array)"))
    original = Path(groqflow_python).parent.parent
    wrong = tmp_path / "wrong"
    packages = next(original.glob("lib/python3.*/site-packages"))
    copied = wrong / packages.relative_to(original)
    copied.mkdir(parents=True)
    for path in packages.iterdir():
        if path.name != "onnxconverter_common":
            (copied / path.name).symlink_to(path)
    shutil.copytree(packages / "onnxconverter_common", copied / "onnxconverter_common")
    (wrong / "bin").mkdir()
    (wrong / "bin" / "python").symlink_to((original / "bin" / "python").resolve())
    shutil.copy(original / "pyvenv.cfg", wrong)
    module = copied / "onnxconverter_common" / "float16.py"
    text = module.read_text()
    assert text.count(before) == 1, "another version of onnxconverter-common: update this fixture"
    module.write_text(text.replace(before, after))
    return wrong / "bin" / "python"


def test_a_wrong_conversion_to_float16_is_found(machine, tiny, wrong_groqflow):
    message = machine.fails("groq", "build", tiny, MINILMX_GROQFLOW_PYTHON=str(wrong_groqflow))
    assert re.search(r"after GroqFlow's conversion to float16: \d+\.\d%; expected at most 2%", message)
    assert "build.log" in message
    assert machine.builds() == (set(), set())


@pytest.mark.parametrize("wrong_groqflow", [("attr.i = 10", "attr.i = 1")], indirect=True, ids=["as in 1.16"])
def test_an_invalid_conversion_to_float16_is_found(machine, tiny, wrong_groqflow):
    message = machine.fails("groq", "build", tiny, MINILMX_GROQFLOW_PYTHON=str(wrong_groqflow))
    assert "GroqFlow's conversion to float16: onnxruntime cannot load the graph" in message
    assert "build.log" in message
    assert machine.builds() == (set(), set())


def restate(python, version):
    """Let the metadata of an environment's converter state another version."""
    packages = next(python.parent.parent.glob("lib/python3.*/site-packages"))
    metadata = next(packages.glob("onnxconverter_common-*.dist-info"))
    text = (metadata / "METADATA").read_text().replace("\nVersion: 1.13.0", f"\nVersion: {version}")
    metadata.unlink()
    metadata.mkdir()
    (metadata / "METADATA").write_text(text)


NOT_WRONG = ("np.float16(np_array)", "np.float16(np_array)")
AS_IN_1_16 = ("attr.i = 10", "attr.i = 1")


@pytest.mark.parametrize("wrong_groqflow", [NOT_WRONG], indirect=True, ids=["right"])
def test_another_version_of_the_converter_is_accepted_if_it_converts_rightly(machine, wrong_groqflow):
    restate(wrong_groqflow, "1.14.0")
    outcome = machine.mlx("groq", "doctor", MINILMX_GROQFLOW_PYTHON=str(wrong_groqflow))
    assert outcome.code == 0, outcome
    assert "works, with other packages than the tested ones: onnxconverter-common is 1.14.0" in outcome.stdout


WRONG = {
    "a tenth": (("np.float16(np_array)", "np.float16(1.1 * np_array)"), "changes a tiny graph"),
    "as in 1.16": (AS_IN_1_16, "conversion to float16 does not work: "),
}


@pytest.mark.parametrize(
    ("wrong_groqflow", "fragment"), WRONG.values(), indirect=["wrong_groqflow"], ids=list(WRONG)
)
def test_another_version_of_the_converter_that_is_wrong_is_refused(machine, tiny, wrong_groqflow, fragment):
    restate(wrong_groqflow, "1.16.0")
    variable = {"MINILMX_GROQFLOW_PYTHON": str(wrong_groqflow)}
    message = machine.fails("groq", "build", tiny, **variable)  # before it is used for ten minutes
    assert fragment in message
    assert not list(machine.cache.glob("*/build.log"))


def test_an_editable_groqflow_in_a_conda_environment_is_found(machine, conda):
    prefix = conda(machine)
    outcome = machine.mlx("groq", "doctor")
    assert outcome.code == 0, outcome
    assert f"GroqFlow 4.3.1, lean, on Python 3.10, {prefix}" in outcome.stdout


def test_the_examples_of_a_build_and_of_the_standalone_folder_run(machine, built_minilm, artifact):
    shutil.copytree(built_minilm.cache, machine.cache)
    shutil.copytree(artifact.path, machine.folder / "out")
    machine.run_example("build_for_groq")
    assert (machine.folder / "minilm.tar").is_file()
    (machine.folder / "sentences.txt").write_text("One sentence.\nAnother one.\n", encoding="utf-8")
    machine.run_example("groq_standalone")
    assert (machine.folder / "to-the-card" / "run.py").is_file()
