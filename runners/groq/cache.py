"""Builds in the cache: each has its own folder, under a key of all that matters.

A build counts as done when build.json is in its folder, written last, and the digests there
match: a half-built or garbled folder is built again, never run. One builder at a time holds the
folder's lock, which dies with its process.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

from filelock import FileLock, Timeout

from minilmx.files.atomic import atomic_file
from minilmx.files.digest import sha256_of_file
from minilmx.models.artifact import Artifact
from minilmx.progress import Progress
from minilmx.runners.groq.bridge import WORKER, Event
from minilmx.runners.groq.environment import GroqFlowEnvironment

BUILD_NAME = "model"
PROGRAM = f"{BUILD_NAME}/compile/output.iop"
STATE = f"{BUILD_NAME}/{BUILD_NAME}_state.yaml"
STATISTICS = f"{BUILD_NAME}/compile/stats.json"
LOG = "build.log"
_DONE = "build.json"
_FACTS: Mapping[str, type | UnionType] = {
    "onnx_sha256": str,
    "f16_onnx": str,
    "output_names": list,
    "program_bytes": dict,
    "chips": int | None,
    "total_cycles": int | float | None,
    "warning": str | None,
    "versions": dict,
    "info": dict,
}


@dataclass(frozen=True, slots=True)
class Build:
    """A finished build. `facts` is what GroqFlow and the SDK said of it (worker.py's result)."""

    folder: Path
    artifact_sha256: str
    sdk: str | None
    facts: Mapping[str, Any]

    @property
    def program(self) -> Path:
        """The .iop file that a card runs."""
        return self.folder / PROGRAM

    @property
    def on_chip_seconds(self) -> float | None:
        """GroqFlow's estimate for one batch: cycles at 900 MHz and the transfers over PCIe.

        groqflow/groqmodel/groqmodel.py, GroqModel.estimate_performance. None without cycles.
        """
        seconds = self.facts["info"].get("estimated_latency")
        return float(seconds) if self.facts["total_cycles"] and seconds else None

    @property
    def op_counts(self) -> dict[str, int]:
        """Nodes by operator in the graph that was compiled."""
        ops = self.facts["info"].get("opt_onnx_ops") or []
        return dict(ops) if isinstance(ops, dict) else dict(Counter(ops))

    @property
    def is_stand_in(self) -> bool:
        """Whether the program says of itself that the tests' stand-in for the SDK made it."""
        with self.program.open("rb") as stream:
            return b"STAND-IN" in stream.read(64)


def stated_build(folder: Path, document: Mapping[str, Any]) -> Build:
    """The build in a folder, as build.json or a bundle states it. Raises ValueError."""
    sdk, digest, facts = document["sdk"], document["artifact_sha256"], document["facts"]
    whole = (
        isinstance(digest, str)
        and isinstance(sdk, str | None)
        and isinstance(facts, dict)
        and all(isinstance(facts.get(name), kind) for name, kind in _FACTS.items())
    )
    if not whole:
        raise ValueError("it does not state what a build is known by")
    return Build(folder, digest, sdk, facts)


def document_digest(document: Mapping[str, Any]) -> str:
    """What a JSON document that carries its own digest carries."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def cache_root() -> Path:
    """Where builds are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "minilmx" / "groq"


def build_key(artifact: Artifact, environment: GroqFlowEnvironment, sdk: str | None) -> str:
    """A digest of all that decides a build: the ONNX bytes, the tools, and the worker itself."""
    tools = ("groqflow", "onnx", "onnxruntime", "onnxconverter-common", "onnxmltools", "numpy")
    parts = {
        "artifact": artifact.digest,  # covers the ONNX bytes and the tokenizer
        "graph": artifact.graph.path,
        "sdk": sdk,
        "worker": sha256_of_file(WORKER),
        "versions": {name: environment.versions.get(name) for name in tools},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def mark_done(folder: Path, artifact: Artifact, sdk: str | None, facts: Event) -> Build:
    """Make a folder count as done: the last step of a build."""
    kept = [PROGRAM, STATE, f"{BUILD_NAME}/{facts['f16_onnx']}"]
    if (folder / STATISTICS).is_file():
        kept.append(STATISTICS)
    document: dict[str, Any] = {
        "artifact_sha256": artifact.digest,
        "sdk": sdk,
        "facts": facts,
        "files": {name: sha256_of_file(folder / name) for name in kept},
    }
    document["build_sha256"] = document_digest(document)
    with atomic_file(folder / _DONE, replace=True) as temporary:
        temporary.write_text(json.dumps(document, indent=2), encoding="utf-8")
    return Build(folder, artifact.digest, sdk, facts)


def read_done(folder: Path, progress: Progress) -> Build | None:
    """The build in a folder, if it is whole; else None, and why."""
    try:
        document = json.loads((folder / _DONE).read_text(encoding="utf-8"))
        if document.pop("build_sha256") != document_digest(document):
            raise ValueError(f"{_DONE} does not match its own digest")
        for name, digest in document["files"].items():
            if sha256_of_file(folder / name) != digest:
                progress.message(f"the cached build is damaged ({name}): building again")
                return None
        return stated_build(folder, document)
    except FileNotFoundError:
        return None  # never finished
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        progress.message("the cached build is damaged: building again")
        return None


@contextmanager
def lock_folder(folder: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of a build's folder; the system releases it when the process ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent / f"{folder.name}.lock")
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        progress.message("another process is building this artifact: waiting for it")
        held = lock.acquire()
    with held:
        yield


def delete_all_but_logs(folder: Path) -> None:
    """Nothing half-built stays but the logs, ours and GroqFlow's, which errors name."""
    for path in sorted(folder.rglob("*"), reverse=True):
        with suppress(OSError):  # a folder that still holds a log
            if path.is_dir():
                path.rmdir()
            elif path.name != LOG and not path.match("log_*.txt"):
                path.unlink()
