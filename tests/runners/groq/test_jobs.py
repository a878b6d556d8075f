"""`mlx groq job`: scripts for PBS and Slurm, and a folder that runs without minilmx."""

import ast
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import minilmx.runners.groq.standalone

SENTENCES = "one\nanother one\nand a third\n" * 2
SCRIPTS = {"pbs": "PBS_O_WORKDIR", "slurm": "SLURM_SUBMIT_DIR"}
HOSTILE = 'it\'s; $(touch hacked) `touch hacked` "q" -x'


def submit(machine, script, scheduler, **switches):
    """Run a script as its scheduler does: by its first line, in another folder."""
    (machine.folder / script).chmod(0o755)
    process = machine.start(
        command=(str(machine.folder / script),), **{SCRIPTS[scheduler]: str(machine.folder)}, **switches
    )
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, (stdout, stderr)
    assert not (machine.folder / "hacked").exists()


@pytest.mark.parametrize("scheduler", SCRIPTS)
def test_the_scripts_build_and_run_whatever_the_names(machine, tiny, scheduler):
    shutil.move(tiny, machine.folder / HOSTILE)
    (machine.folder / f"{HOSTILE}.csv").write_text("text,n\none,1\nanother one,2\n")
    words = ("groq", "job", HOSTILE, "--scheduler", scheduler, "--bundle", f"{HOSTILE}.tar")
    assert machine.mlx(*words, "-o", "build.sh").code == 0
    run = ("--embeddings", f"{HOSTILE}.npy", "--column", "text")
    assert machine.mlx(*words, f"{HOSTILE}.csv", *run, "-o", "run.sh").code == 0
    assert not machine.cache.exists()  # nothing was started
    submit(machine, "build.sh", scheduler)
    submit(machine, "run.sh", scheduler)
    assert np.load(machine.folder / f"{HOSTILE}.npy").shape == (2, 8)


def test_the_directives_are_those_of_the_sites_and_come_first(bare_machine):
    words = ("groq", "job", "a", "--bundle", "b.tar", "--scheduler")

    def directives(*words):
        script = bare_machine.mlx(*words).stdout.splitlines()
        assert script[0] == "#!/bin/bash"
        first = next(number for number, line in enumerate(script) if not line.startswith("#"))
        assert not any(line.startswith(("#PBS", "#SBATCH")) for line in script[first:])
        return [line for line in script if line.startswith(("#PBS", "#SBATCH"))]

    whole_node = ["#PBS -l select=1,place=excl", "#PBS -l walltime=01:10:00"]
    assert directives(*words, "pbs") == directives(*words, "pbs", "t.txt") == whole_node
    assert directives(*words, "slurm") == ["#SBATCH --mem=32G", "#SBATCH --time=01:10:00"]
    assert directives(*words, "slurm", "t.txt") == ["#SBATCH --gres=groq:card:1", "#SBATCH --time=01:10:00"]


@pytest.mark.parametrize(
    "words",
    [
        ["--bundle", "b.tar"],
        ["--bundle", "b.tar", "--scheduler", "pbs", "--embeddings", "e.npy"],
        ["--bundle", "b.tar", "--scheduler", "pbs", "--column", "text"],
        ["--bundle", "b.tar", "--scheduler", "pbs", "--force"],
        ["--bundle", "b.tar", "--standalone", "folder"],
        ["--bundle", "b.tar", "--standalone", "folder", "t.txt", "--scheduler", "pbs"],
    ],
)
def test_an_option_that_would_change_nothing_is_refused(bare_machine, words):
    assert bare_machine.mlx("groq", "job", "a", *words).code == 2


def run_standalone(machine, folder, python, *words, **switches):
    """run.py on a Python that sees neither minilmx nor this checkout."""
    variables = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": machine.variables["PYTHONPATH"].split(":")[0],  # the runtime alone, as sites have it
        "OMP_NUM_THREADS": "1",
        **switches,
    }
    command = [python, folder / "run.py", *words]
    return subprocess.run(
        command, cwd=machine.folder, env=variables, capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(machine, tiny, bundle):
    """The standalone folder, moved to where the artifact is not, on a machine with embeddings of its own."""
    (machine.folder / "t.txt").write_text(SENTENCES)
    run = ("run", tiny, "t.txt", "--runner", "groq", "--bundle", bundle, "-o", "expected.npy")
    assert machine.mlx(*run).code == 0
    words = ("groq", "job", tiny, "t.txt", "--bundle", bundle, "--standalone", "to-the-card")
    outcome = machine.mlx(*words)
    assert outcome.code == 0, outcome
    return Path(shutil.move(machine.folder / "to-the-card", machine.folder / "moved"))


def test_the_folder_gives_the_runners_own_bits_and_compare_reads_them(machine, folder, groqflow_python):
    assert sorted(path.name for path in folder.iterdir()) == [
        "batches.npz",
        "bundle.tar",
        "run.json",
        "run.py",
    ]
    done = run_standalone(machine, folder, groqflow_python, "card.npy")
    assert done.returncode == 0, done.stderr
    expected, found = machine.folder / "expected.npy", machine.folder / "card.npy"
    assert found.read_bytes() == expected.read_bytes()
    ours, theirs = (json.loads(Path(f"{path}.run.json").read_text()) for path in (expected, found))
    assert theirs.keys() == ours.keys()
    assert theirs["details"].keys() == ours["details"].keys()
    same = ("inputs_sha256", "artifact_sha256", "sentences", "versions", "runner", "graph", "sha256")
    assert {name: theirs[name] for name in same} == {name: ours[name] for name in same}
    assert theirs["details"]["runtime_python"] == groqflow_python
    outcome = machine.mlx("compare", "expected.npy", "card.npy", "--json")
    assert outcome.code == 0, outcome
    drift = json.loads(outcome.stdout)["evaluations"][0]["runners"][1]["comparison"]["drift"]
    assert drift["max_abs"] == 0


def test_the_folder_runs_on_python_38_with_numpy_alone(machine, folder):
    python = Path(__file__).parents[3] / ".venv-3.8/bin/python"
    if not python.exists():
        pytest.skip("needs .venv-3.8 (tests/environments.sh)")
    done = run_standalone(machine, folder, python, "card.npy", GROQWARE_PYTHON_VERSION="3.8")
    assert done.returncode == 0, done.stderr
    assert (machine.folder / "card.npy").read_bytes() == (machine.folder / "expected.npy").read_bytes()


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({"GROQWARE_RUNNER": "import"}, "Groq's runtime: libgroq.so: injected failure of the import."),
        ({"GROQWARE_RUNNER": "load"}, "RuntimeError: injected failure of loading the program."),
        ({"GROQWARE_RUNNER": "call:2"}, "RuntimeError: injected failure of call 2."),
        ({"GROQWARE_RUNNER": "nan"}, "the card returned numbers that are not finite for sentence 1."),
        ({"GROQWARE_RUNNER": "shape"}, "batch 0 gave the shape [4, 7]; expected [4, 8]."),
        ({"GROQWARE_RUNNER": "missing"}, "batch 0 gave ['last_hidden_state']; expected sentence_embedding."),
        ({"GROQWARE_PYTHON_VERSION": "3.7"}, "is of another Python than this one."),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(machine, folder, groqflow_python, switches, expected):
    done = run_standalone(machine, folder, groqflow_python, "card.npy", **switches)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert done.stderr.rstrip().endswith(expected), done.stderr
    assert not list(machine.folder.glob("card.npy*"))


def test_a_damaged_folder_and_an_output_that_exists_are_refused(machine, folder, groqflow_python):
    done = run_standalone(machine, folder, groqflow_python, "expected.npy")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "expected.npy already exists" in done.stderr
    batches = folder / "batches.npz"
    batches.write_bytes(batches.read_bytes()[:-1])
    done = run_standalone(machine, folder, groqflow_python, "card.npy")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "batches.npz is damaged" in done.stderr


def test_stale_packages_beside_the_runtime_do_not_hide_numpy(machine, folder, groqflow_python, groqware):
    site = shutil.copytree(groqware / "site-packages", machine.folder / "ware" / "site-packages")
    shutil.copytree(groqware / "tools", machine.folder / "ware" / "tools")
    (site / "numpy.py").write_text("raise ImportError('a numpy of another Python')\n")
    done = run_standalone(machine, folder, groqflow_python, "card.npy", PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr


def test_a_numpy_that_the_runtime_cannot_use_is_refused(machine, folder, groqflow_python):
    hidden = machine.folder / "numpy2"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import numpy\nnumpy.__version__ = '2.0.1'\n")
    path = f"{machine.variables['PYTHONPATH'].split(':')[0]}:{hidden}"
    done = run_standalone(machine, folder, groqflow_python, "card.npy", PYTHONPATH=path)
    assert done.stderr == "error: numpy is 2.0.1; expected below 2, which Groq's runtime needs.\n"


def test_for_no_texts_or_no_bundle_no_folder_is_written(machine, tiny, bundle):
    (machine.folder / "empty.txt").write_text("")
    words = ("groq", "job", tiny, "empty.txt", "--bundle", bundle, "--standalone", "folder")
    machine.fails(*words)
    (machine.folder / "not.tar").write_text("no bundle")
    (machine.folder / "t.txt").write_text(SENTENCES)
    message = machine.fails("groq", "job", tiny, "t.txt", "--bundle", "not.tar", "--standalone", "folder")
    assert "not.tar cannot be read as a bundle" in message
    assert not (machine.folder / "folder").exists()


@pytest.mark.parametrize("kind", ["project", "file"])
def test_only_a_folder_of_its_own_is_replaced(machine, tiny, bundle, kind):
    (machine.folder / "t.txt").write_text(SENTENCES)
    target = machine.folder / "mine"
    if kind == "file":
        target.write_text("years of work")
    else:
        (target / "src").mkdir(parents=True)
        for name in ("src/thesis.tex", "run.json"):
            (target / name).write_text("years of work")
    before = {path: path.read_text() for path in [target, *target.rglob("*")] if path.is_file()}
    outcome = machine.mlx("groq", "job", tiny, "t.txt", "--bundle", bundle, "--standalone", "mine", "--force")
    assert {path: path.exists() and path.read_text() for path in before} == before
    assert outcome.code == 3
    expected = "it is a file; expected a folder" if kind == "file" else "so it is not replaced"
    assert expected in outcome.stderr


def test_the_folder_is_replaced_when_asked(machine, tiny, bundle):
    (machine.folder / "t.txt").write_text(SENTENCES)
    words = ("groq", "job", tiny, "t.txt", "--bundle", bundle, "--standalone", "folder")
    assert machine.mlx(*words).code == 0
    assert "already exists" in machine.fails(*words)
    (machine.folder / "t.txt").write_text("another\n")
    assert machine.mlx(*words, "--force").code == 0
    assert json.loads((machine.folder / "folder" / "run.json").read_text())["record"]["sentences"] == 1


def test_the_script_is_written_for_python_38():
    text = Path(minilmx.runners.groq.standalone.__file__).read_text("utf-8")
    ast.parse(text, feature_version=(3, 8))


@pytest.mark.slow
def test_the_folder_of_a_packed_graph_gives_the_runners_own_bits(
    machine, built_packed, complete, groqflow_python
):
    (machine.folder / "t.txt").write_text(SENTENCES * 20)
    both = ("--graph", "packed", "--bundle", built_packed.folder / "bundle.tar")
    run = ("run", complete.path, "t.txt", "--runner", "groq", *both, "-o", "expected.npy")
    assert machine.mlx(*run).code == 0
    assert machine.mlx("groq", "job", complete.path, "t.txt", *both, "--standalone", "folder").code == 0
    done = run_standalone(machine, machine.folder / "folder", groqflow_python, "card.npy")
    assert done.returncode == 0, done.stderr
    assert (machine.folder / "card.npy").read_bytes() == (machine.folder / "expected.npy").read_bytes()
    assert machine.mlx("compare", "expected.npy", "card.npy").code == 0
