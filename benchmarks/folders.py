"""The models that contenders open: made once, in set-up, and never timed."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from minilmx.models.source import resolve_model

HERE = Path(__file__).parent
SCRATCH = HERE / ".scratch"
MODEL = "all-MiniLM-L6-v2"

# minilmx's own: the options of `mlx export` beside the model.
_ARTIFACTS = {
    "artifact": ("--pack", "16"),
    "batch-4": ("--pack", "16", "--batch-size", "4"),
    "batch-8": ("--pack", "8", "--batch-size", "8", "--sequence-length", "64"),
    "int8": ("--precision", "int8", "--pack", "16"),
}
# What the peers' own tools make: the environment, and the file in exports/.
_EXPORTS = {
    "ctranslate2": ("ctranslate2", "ctranslate2_float32.py"),
    "gguf": ("llama-cpp", "llama_cpp.py"),
    "openvino-genai": ("sentence-transformers-openvino", "openvino_genai.py"),
    "st-onnx": ("sentence-transformers-onnx", "sentence_transformers_onnx.py"),
    "st-openvino": ("sentence-transformers-openvino", "sentence_transformers_openvino.py"),
}


class SetupFailed(Exception):
    """A model cannot be made; the message says why."""


def python_of(environment: str | None) -> Path:
    """The Python of a peer's environment, or our own. Raises SetupFailed where there is none."""
    if environment is None:
        return Path(sys.executable)
    python = HERE / ".environments" / environment / "bin" / "python"
    if not python.exists():
        raise SetupFailed(
            f"there is no environment {environment}: run benchmarks/environments.sh {environment}"
        )
    return python


def make_folder(name: str, calibration: Sequence[str] = (), *, keep: bool = False) -> Path:
    """The model folder of this name; `calibration` is the sentences that int8 is calibrated on.

    minilmx's artifacts are made again, as its code may have changed, unless `keep`; what the
    peers export is kept until benchmarks/.scratch is removed. Raises SetupFailed.
    """
    SCRATCH.mkdir(exist_ok=True)
    if name == "weights":
        return resolve_model(MODEL).folder
    folder = SCRATCH / name
    if folder.exists() and (keep or name in _EXPORTS):
        return folder
    if name in _ARTIFACTS:
        mlx = ["-c", "from minilmx.cli import main; main()"]
        _run(sys.executable, *mlx, "export", MODEL, "--output", str(folder), "--force", *_ARTIFACTS[name])
    else:
        environment, script = _EXPORTS[name]
        sentences, partial = SCRATCH / "calibration.txt", SCRATCH / f"{name}.partial"
        sentences.write_text("\n".join(calibration))
        shutil.rmtree(partial, ignore_errors=True)
        weights = make_folder("weights")
        _run(python_of(environment), HERE / "exports" / script, weights, partial, sentences)
        partial.rename(folder)
    return folder


def _run(*command: str | Path) -> None:
    process = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if process.returncode:
        raise SetupFailed((process.stdout.strip().splitlines() or ["it said nothing"])[-1])
