"""The commands that write, and what their outputs hold but for dates and times."""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import GROQFLOW_PYTHON
from tests.runners.conftest import GROQWARE, PYTHON_VARIABLE

_VOLATILE = re.compile(rb'"(created|[a-z_]*seconds|[a-z_]*per_second)\\?": [^,}\n]*')  # also of JSON in JSON
_NUMBER = re.compile(rb"-?\d[-+.e\d]*")
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Python's tempfile tries its folder with the first; the second is a log that the error of a failed run names.
# The third is of the stand-in for Groq's runtime, which optimises a graph there.
_KEPT = re.compile(r"tmp/[a-z0-9_]{8}|cache/minilmx/groq/run-\d+\.log|tmp/tmp[a-z0-9_]{8}(/optimised\.onnx)?")
# Its import takes longer than the export, which only compares token ids with it.
_WITHOUT_TRANSFORMERS = "import sys; sys.modules['transformers'] = None; from minilmx.cli import main; main()"
_SEARCH = "--queries queries.jsonl --corpus corpus.jsonl --qrels qrels.tsv"


@dataclass(frozen=True)
class Command:
    """A command that writes `outputs`, and one that wrote what stood there before.

    `is_timed` is whether the output's numbers are times.
    """

    words: str
    outputs: tuple[str, ...]
    before: str = ""
    is_timed: bool = False


COMMANDS = {
    "export": Command(
        "export model --from-onnx --batch-size 2 --sequence-length 16 --force -o new",
        ("new",),
        "export model --from-onnx --batch-size 3 --sequence-length 16 -o new",
    ),
    "run": Command("run tiny texts.txt --force -o e.npy", ("e.npy",), "run tiny other.txt -o e.npy"),
    "run to JSON lines": Command(
        "run tiny texts.txt --force -o e.jsonl", ("e.jsonl",), "run tiny other.txt -o e.jsonl"
    ),
    "run to a folder": Command("run tiny texts.txt --shard-rows 2 -o shards/", ("shards",)),
    "run to a folder with Ray": Command(
        "run tiny texts.txt --shard-rows 2 --engine ray --workers 1 -o shards/", ("shards",)
    ),
    "run to a Lance dataset": Command(
        "run tiny texts.txt --shard-rows 2 --format lance -o shards/", ("shards",)
    ),
    "eval": Command(
        "eval tiny --runner onnxruntime --runner groq-emulator --limit 9 --force -o r.json",
        ("r.json",),
        "eval tiny --runner onnxruntime --limit 5 -o r.json",
    ),
    "compare": Command("compare a.npy b.npy --force -o r.json", ("r.json",), "compare b.npy a.npy -o r.json"),
    "compare a search": Command(
        f"compare tiny tiny@onnxruntime:graph=fixed {_SEARCH} --force -o r.json",
        ("r.json",),
        f"compare tiny tiny {_SEARCH} -o r.json",
    ),
    "golden create": Command(
        "golden create g.safetensors --from tiny --texts texts.txt --force",
        ("g.safetensors",),
        "golden create g.safetensors --from tiny --texts other.txt",
    ),
    "golden check": Command(
        "golden check kept.safetensors tiny@onnxruntime:graph=fixed --force -o r.json",
        ("r.json",),
        "golden check kept.safetensors tiny -o r.json",
    ),
    "bisect": Command(
        "bisect small --candidate-artifact small --limit 2 --force -o r.json",
        ("r.json",),
        "bisect small --candidate-artifact small --limit 3 -o r.json",
    ),
    "report": Command("report a.json --force -o page.md", ("page.md",), "report b.json -o page.md"),
    "bench": Command(
        "bench tiny texts.txt --rounds 1 --graph fixed --force -o r.json",
        ("r.json",),
        "bench tiny texts.txt --rounds 1 --graph dynamic -o r.json",
        is_timed=True,
    ),
    "check": Command("check tiny --consumer onnxruntime", ()),
    "groq build": Command("groq build tiny --force --bundle new.tar", ("new.tar",)),
    "run on groq": Command(
        "run tiny texts.txt --runner groq --bundle b.tar --force -o e.npy",
        ("e.npy",),
        "run tiny other.txt --runner groq --bundle b.tar -o e.npy",
    ),
    "groq job": Command(
        "groq job tiny texts.txt --bundle b.tar --scheduler pbs --force -o job.sh",
        ("job.sh",),
        "groq job tiny texts.txt --bundle b.tar --scheduler slurm -o job.sh",
    ),
    "groq job --standalone": Command(
        "groq job tiny texts.txt --bundle b.tar --standalone alone --force",
        ("alone",),
        "groq job tiny other.txt --bundle b.tar --standalone alone",
    ),
}


def environment(folder: Path) -> dict[str, str]:
    """Variables with a home, a cache and a folder for temporary files in `folder`, and Groq's stand-ins."""
    made = {name: str(folder / name) for name in ("home", "cache", "tmp")}
    for path in made.values():
        Path(path).mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "APT_CONFIG") if name in os.environ}
    kept |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    kept |= {"HOME": made["home"], "XDG_CACHE_HOME": made["cache"], "TMPDIR": made["tmp"]}
    if GROQFLOW_PYTHON:
        packages = [str(GROQWARE / "site-packages"), *filter(None, [os.environ.get("PYTHONPATH")])]
        kept |= {"PATH": f"{GROQWARE / 'bin'}:{kept['PATH']}", "PYTHONPATH": os.pathsep.join(packages)}
        kept |= {"GROQWARE_PYTHON": GROQFLOW_PYTHON, PYTHON_VARIABLE: GROQFLOW_PYTHON}
    return kept


def mlx(words: str) -> list[str]:
    started = ["-c", _WITHOUT_TRANSFORMERS] if words.startswith("export ") else ["-m", "minilmx"]
    return [sys.executable, *started, *words.split()]


def run(words: str, folder: Path, *before: str) -> "subprocess.CompletedProcess[str]":
    command = [*before, *mlx(words)]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def contents(folder: Path, command: Command) -> dict[str, str]:
    """The SHA-256 of each file of the outputs, without times; not of what the next run removes.

    Nor of a Lance dataset's manifest and transaction, which hold a UUID.
    """
    files = [
        path
        for name in command.outputs
        for path in ((folder / name).rglob("*") if (folder / name).is_dir() else [folder / name])
        if path.is_file()
        and ".mlx-partial" not in path.as_posix()
        and path.parent.name not in ("_versions", "_transactions")
    ]
    return {path.relative_to(folder).as_posix(): _digest(path, command) for path in files}


def _digest(path: Path, command: Command) -> str:
    if path.suffix == ".tar":  # the index of a bundle holds times
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.name.endswith((".iop", "mlx.json"))]
            content = b"".join(tar.extractfile(member).read() for member in members)  # type: ignore[union-attr]
        assert len(members) == 2
    else:
        content = _VOLATILE.sub(b"", path.read_bytes())
        content = _NUMBER.sub(b"", content) if command.is_timed else content
    return hashlib.sha256(content).hexdigest()


def names(folder: Path) -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return {_UUID.sub("UUID", name) for name in found if not _KEPT.fullmatch(name)}
