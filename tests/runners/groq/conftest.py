"""What the nodes of real sites have that a machine of the tests has not."""

import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def pollute(groqware):
    """Put the runtime's folder, with a foreign numpy and a stale typing_extensions, before all else."""

    def pollute(machine):
        folder = machine.folder / "runtime"
        (folder / "numpy").mkdir(parents=True)
        (folder / "numpy" / "__init__.py").write_text("raise ImportError('numpy of another Python')")
        (folder / "typing_extensions.py").write_text("Protocol = object  # all that there was\n")
        (folder / "groq").symlink_to(groqware / "site-packages" / "groq")
        own = machine.variables["PYTHONPATH"].split(os.pathsep)
        kept = [part for part in own if part != str(groqware / "site-packages")]
        machine.variables["PYTHONPATH"] = os.pathsep.join([str(folder), *kept])
        return folder

    return pollute


@pytest.fixture
def conda(groqflow_python):
    """Give a machine GroqFlow in a conda environment alone, as Groq's guide installs it with an old pip.

    It is a link to the sources, which hold the metadata.
    """

    def make(machine):
        original = next(Path(groqflow_python).parent.parent.glob("lib/python3.*/site-packages"))
        prefix, sources = machine.folder / "miniconda3" / "envs" / "groqflow", machine.folder / "groqflow"
        packages = prefix / "lib" / original.parent.name / "site-packages"
        packages.mkdir(parents=True)
        sources.mkdir()
        for path in original.iterdir():
            ours = path.name == "groqflow"
            if not path.match("groqflow-*.dist-info"):
                ((sources if ours else packages) / path.name).symlink_to(path)
        (sources / "groqflow.egg-info").mkdir()
        (sources / "groqflow.egg-info" / "PKG-INFO").write_text(
            "Metadata-Version: 2.1\nName: groqflow\nVersion: 4.3.1\n"
        )
        (packages / "groqflow.egg-link").write_text(f"{sources}\n.")
        (packages / "easy-install.pth").write_text(f"{sources}\n")
        (prefix / "bin").mkdir()
        (prefix / "bin" / "python").symlink_to(Path(groqflow_python).resolve())
        shutil.copy(Path(groqflow_python).parent.parent / "pyvenv.cfg", prefix)
        listed = machine.folder / "home" / ".conda"
        listed.mkdir()
        (listed / "environments.txt").write_text(f"{machine.folder / 'miniconda3'}\n{prefix}\n")
        del machine.variables["MINILMX_GROQFLOW_PYTHON"]
        return prefix

    return make
