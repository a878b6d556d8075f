"""The places in which consumers are looked for: Pythons and a node_modules folder."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minilmx.errors import EvalError
from minilmx.eval.consumers.registry import CONSUMERS, Consumer
from minilmx.runners.groq.pythonpath import child_variables

_SECONDS = 60
# Runs in any Python from 3.8 on: prints the versions of the distributions named in its arguments.
_ASK = """
import sys
sys.path = [folder for folder in sys.path if folder]  # without the working directory
import json
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A Python, or a node_modules folder, and the versions of the packages in it.

    `program` runs a script there; `path` is the path that the user gave.
    """

    language: str
    program: str
    path: Path
    versions: Mapping[str, str]

    def lacks(self, consumer: Consumer) -> list[str]:
        """The packages that a consumer needs and that are missing here."""
        return [name for name in consumer.packages if name not in self.versions]


def find_places(pythons: Sequence[Path], node_modules: Path | None) -> list[Place]:
    """This Python, then the others, then Node with `node_modules` (None: the one here, if any).

    Raises EvalError for a Python that does not run, and for `node_modules` without `node` or not a folder.
    """
    here = Path(sys.executable)
    # Not resolved: an environment's Python is a link, and its folder identifies the environment.
    places = [_python(python) for python in dict.fromkeys([here, *(path.absolute() for path in pythons)])]
    folder = node_modules or Path("node_modules")
    node = shutil.which("node")
    if node and folder.is_dir():
        places.append(Place("mjs", node, folder.absolute(), _node_versions(folder)))
    elif node_modules and node:
        raise EvalError(f"{node_modules}: not a folder; expected node_modules")
    elif node_modules:
        raise EvalError(f"{node_modules}: no `node` on PATH; expected one", "Install Node.js 20 or later.")
    return places


def _python(python: Path) -> Place:
    names = {name for consumer in CONSUMERS.values() for name in consumer.packages}
    return Place("py", str(python), python, installed_versions(python, sorted(names)))


def installed_versions(python: Path, names: Sequence[str]) -> dict[str, str]:
    """The versions of the distributions that a Python has. Raises EvalError."""
    try:
        process = subprocess.run(
            [python, "-c", _ASK, *names],
            env=child_variables(),
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        if process.returncode:
            raise ValueError(f"exit code {process.returncode}")
        versions: dict[str, str] = json.loads(process.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise EvalError(f"{python} does not run as a Python: {error}") from error
    return versions


def _node_versions(folder: Path) -> dict[str, str]:
    versions = {}
    for consumer in CONSUMERS.values():
        for name in consumer.packages if consumer.language == "mjs" else ():
            try:
                document = json.loads((folder / name / "package.json").read_text("utf-8"))
                versions[name] = str(document["version"])
            except (OSError, ValueError, LookupError, TypeError):
                continue
    return versions
