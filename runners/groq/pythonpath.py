"""PYTHONPATH as GroqRack sites set it: with the folder of Groq's runtime, whose old packages hide ours.

Standard library only: the command line runs this before it imports anybody else's package.
"""

import os
import sys
from pathlib import Path

# Folders of the runtime, as PYTHONPATH lists folders: a setting of the user's, and what PYTHONPATH held.
RUNTIME_VARIABLE = "MINILMX_GROQ_RUNTIME"


def runtime_folders() -> list[str]:
    """The folders that hold Groq's runtime according to RUNTIME_VARIABLE and PYTHONPATH, in that order."""
    stated = [*_parts(RUNTIME_VARIABLE), *_parts("PYTHONPATH")]
    return list(dict.fromkeys(str(Path(part).absolute()) for part in stated if _holds_runtime(part)))


def child_variables() -> dict[str, str]:
    """The environment variables of a child process: the runtime is not on PYTHONPATH, and can be found."""
    variables, folders = dict(os.environ), runtime_folders()
    if folders:
        variables[RUNTIME_VARIABLE] = os.pathsep.join(folders)
    kept = [part for part in variables.pop("PYTHONPATH", "").split(os.pathsep) if not _holds_runtime(part)]
    if any(kept):
        variables["PYTHONPATH"] = os.pathsep.join(kept)
    return variables


def drop_runtime() -> None:
    """Drop the runtime's folders from sys.path, and from PYTHONPATH for every child of this process."""
    dropped = {Path(part).absolute() for part in _parts("PYTHONPATH") if _holds_runtime(part)}
    sys.path[:] = [part for part in sys.path if not part or Path(part).absolute() not in dropped]
    variables = child_variables()
    os.environ.pop("PYTHONPATH", None)
    os.environ.update(variables)


def explain_missing(error: ModuleNotFoundError) -> str | None:
    """Why a package of ours can be missing if PYTHONPATH holds a runtime; None if it does not."""
    if not runtime_folders():
        return None
    return (
        f"the Python package {error.name}: not installed; expected it with minilmx. Install minilmx again "
        "with `env -u PYTHONPATH pip install .`: pip takes what lies beside Groq's runtime for installed."
    )


def _parts(variable: str) -> list[str]:
    return [part for part in os.environ.get(variable, "").split(os.pathsep) if part]


def _holds_runtime(folder: str) -> bool:
    return bool(folder) and (Path(folder) / "groq" / "runner").is_dir()
