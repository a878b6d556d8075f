"""The README's commands for a GroqCard, on nodes made up after two that exist.

Real here: minilmx, installed from this tree on Python 3.10 and run as processes of its own, GroqFlow, and
the artifact of all-MiniLM-L6-v2. Made up: the SDK, the runtime and the cards (tests/groqware),
/etc/os-release, which is another file in a namespace of the process's own, and PATH, which has only what such
a node has. The processes have no privilege. The kernel, the C library and Python are this machine's. The
data set stsb, which needs the hub, is a file with its first pairs.
"""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STSB = ROOT.parent / "shared" / "stsb" / "stsb-en-test.csv"
PAIRS = 40
# Bind another file over /etc/os-release, and then run "$@" as a user without any privilege.
ENTER = '/bin/mount --bind "$0" /etc/os-release && exec /usr/bin/unshare --user "$@"'
NAMESPACE = ("/usr/bin/unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", ENTER)


def commands():
    """What the README prints for a GroqCard, one command per line, without the comments."""
    section = (ROOT / "README.md").read_text("utf-8").partition("## On a GroqCard")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```\n(.*?)```", section, re.S)
    return [shlex.split(line, comments=True) for line in block.splitlines()]


@pytest.fixture(scope="session")
def installed(make_once):
    """minilmx of this tree, installed without its extras on Python 3.10: the folder of its commands."""
    python = ROOT / ".venv-3.10" / "bin" / "python"
    if not python.exists():
        pytest.skip("needs .venv-3.10, which `make test` creates")

    def install(folder):
        clone = folder / "clone"
        clone.mkdir()
        for name in ("src", "eval", "export", "models", "runners"):
            shutil.copytree(ROOT / name, clone / name, symlinks=True)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, clone)
        offline = ("--no-deps", "--no-index", "--quiet")
        wheel = (sys.executable, "-m", "pip", "wheel", *offline, "--no-build-isolation", "-w", folder, clone)
        subprocess.run(wheel, check=True)
        environment = folder / "venv"
        subprocess.run([python, "-m", "venv", "--without-pip", environment], check=True)
        own = environment / "bin" / "python"
        pip = (sys.executable, "-m", "pip", "--python", own, "install", *offline)
        subprocess.run([*pip, *folder.glob("*.whl")], check=True)
        packages = python.parent.parent / "lib" / "python3.10" / "site-packages"
        (environment / "lib" / "python3.10" / "site-packages" / "dependencies.pth").write_text(
            f"{packages}\n"
        )

    return make_once("installed-3.10", install) / "venv" / "bin"


@pytest.fixture
def node(machine, installed, complete, pollute, groqware):
    """`node(os_release, programs)`: a machine with another os-release, and these programs alone on PATH.

    Returns what runs a command there to its end and returns what it printed.
    """
    if not STSB.exists():
        pytest.skip(f"needs the data set {STSB}")
    with (machine.folder / "stsb.csv").open("w") as file:
        file.writelines(STSB.read_text("utf-8").splitlines(keepends=True)[:PAIRS])
    shutil.copytree(complete.path, machine.folder / complete.path.name)
    release, tools = machine.folder / "os-release", machine.folder / "bin"
    pollute(machine)
    machine.variables["PYTHONPATH"] = str(machine.folder / "runtime")  # minilmx is installed
    machine.variables["PATH"] = f"{tools}:{installed}"

    def make(os_release, programs):
        release.write_text(os_release)
        tools.mkdir()
        for name, program in {**programs, "dirname": "/usr/bin/dirname"}.items():  # the stand-ins call it
            path = tools / name
            path.write_text(f'#!/bin/sh\nexec "{program}" "$@"\n')
            path.chmod(0o755)

        def run(words):
            words = ["stsb.csv" if word == "stsb" else word for word in words]
            process = machine.start(*words[1:], command=[*NAMESPACE, release, installed / words[0]])
            stdout, stderr = process.communicate(timeout=400)
            assert process.returncode == 0, f"{words}\n{stdout}\n{stderr}"
            assert machine.is_quiet(), machine.processes()
            return stdout

        return run

    return make


def require_drift_tables(printed, count):
    """The Spearman correlation of both runners, the drift between them, and where they are from."""
    tables = [text for words, text in printed.items() if words.startswith("mlx eval")]
    assert len(tables) == count
    for text in tables:
        cpu, card = map(float, re.search(r"^ +Spearman x100 +(\S+) +(\S+) *$", text, re.M).groups())
        assert cpu == pytest.approx(card, abs=0.1)
        assert 0 < float(re.search(r"^ +max abs +(\S+) *$", text, re.M).group(1)) < 1e-3
        assert "its numbers are not from a GroqCard" in text


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_of_alcf(machine, node, conda, groqware, groqflow_python):
    """Ubuntu 22.04, SDK 0.11, eight cards, a runtime on PYTHONPATH, groq-python, GroqFlow in conda."""
    prefix = conda(machine)
    machine.variables |= {
        "CONDA_PREFIX": str(prefix),
        "GROQWARE_CARDS": "8",
        "GROQWARE_DEVTOOLS": "0.11.0+standin",
        "GROQWARE_RUNTIME": "0.11.0+standin",
    }
    programs = {path.name: path for path in (groqware / "bin").iterdir()} | {"groq-python": groqflow_python}
    run = node('NAME="Ubuntu"\nVERSION_ID="22.04"\nID=ubuntu\n', programs)
    printed = {" ".join(words): run(words) for words in commands() if words[1:] != ["groq", "setup"]}
    doctor = printed["mlx groq doctor"]
    assert f"GroqFlow 4.3.1, lean, on Python 3.10, {prefix}" in doctor
    assert re.search(r"^ok +tested together +SDK 0.11.0\+standin, Ubuntu 22.04, Python 3.10$", doctor, re.M)
    assert re.search(r"^ok +GroqCards +8 seen by lspci$", doctor, re.M)
    assert re.search(r"^ok +groq.runner.tsp +\S+/runtime with \S+/groq-python$", doctor, re.M)
    require_drift_tables(printed, 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_with_rocky_linux(machine, node, groqware):
    """Rocky Linux 8.8, SDK 0.9.3.1 for Python 3.8, one card, no GroqFlow: setup finds uv's Python 3.8."""
    python = ROOT / ".venv-3.8" / "bin" / "python"
    if not python.exists():
        pytest.skip("needs .venv-3.8, which `make test` creates")
    uv = machine.folder / "data" / "uv" / "python"
    uv.mkdir(parents=True)
    (uv / "cpython-3.8.20-linux-x86_64-gnu").symlink_to(python.resolve().parents[1])
    settings = Path.home() / ".config" / "pip" / "pip.conf"
    machine.variables |= {"GROQWARE_PYTHON_VERSION": "3.8", "PIP_CONFIG_FILE": str(settings)}
    del machine.variables["MINILMX_GROQFLOW_PYTHON"]
    programs = {path.name: path for name in ("bin", "rocky") for path in (groqware / name).iterdir()}
    del programs["apt-cache"], programs["dpkg-query"]
    run = node('NAME="Rocky Linux"\nVERSION_ID="8.8"\nID="rocky"\n', programs)
    # The test above runs the shipped pairs: nothing of the node is in them that stsb's first pairs have not.
    printed = {
        " ".join(words): run(words) for words in commands() if words[1] != "eval" or "--dataset" in words
    }
    doctor = printed["mlx groq doctor"]
    assert re.search(r"^ok +GroqFlow +GroqFlow 4.3.1, lean, on Python 3.8, ", doctor, re.M)
    system = "SDK 0.9.3.1, Rocky Linux 8.8, Python 3.8: not known to work together"
    assert re.search(rf"^warning +tested together +{system}", doctor, re.M)
    assert re.search(r"^ok +GroqCards +1 seen by lspci$", doctor, re.M)
    require_drift_tables(printed, 1)
