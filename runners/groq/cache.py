"""Finished builds, each in a folder of its own in the cache, under a key of everything that decides it.

A build is finished when its folder holds build.json, which is written last, and the digests there
match: a partial or damaged build is built again, never run. One process at a time builds in a folder:
it holds the folder's lock, which the system releases when the process ends.
"""

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

from minilmx.arguments import require_choice
from minilmx.errors import RunnerFailed, boundary
from minilmx.files.atomic import atomic_file
from minilmx.files.digest import sha256_of_file
from minilmx.files.documents import dump_json, parse_json, read_document
from minilmx.models.artifact import Artifact
from minilmx.progress import Progress
from minilmx.runners.base import ON_CHIP_COMPUTE_SECONDS, WITH_PCIE_SECONDS
from minilmx.runners.groq.bridge import WORKER, Event
from minilmx.runners.groq.environment import GroqFlowEnvironment

BUILD_NAME = "model"
PROGRAM = f"{BUILD_NAME}/compile/output.iop"
STATE = f"{BUILD_NAME}/{BUILD_NAME}_state.yaml"
STATISTICS = f"{BUILD_NAME}/compile/stats.json"
LOG = "build.log"
CAUTION = "a stand-in for Groq's SDK: its numbers are not from a GroqCard"
# What reading a document raises if it does not state what it should.
DAMAGED = (ValueError, KeyError, AttributeError, TypeError, RecursionError)
_DONE = "build.json"
_KEPT_LOG_SECONDS = 7 * 24 * 3600
_ESTIMATES = ("deterministic_compute_latency", "estimated_latency")
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
    "compiler_flags": list,
}
EFFORTS = ("standard", "high")


@dataclass(frozen=True, slots=True)
class CompilerOptions:
    """What GroqFlow passes to Groq's compiler.

    `effort` is "standard", GroqFlow's own, or "high", as in Groq's proof point of YOLOv6; `groqview` also
    writes the folder that Groq's viewer opens; with `power` the compiler also analyses power and utilization.
    """

    effort: str = EFFORTS[0]
    groqview: bool = False
    power: bool = False

    def __post_init__(self) -> None:
        require_choice("effort", self.effort, EFFORTS)

    @property
    def beyond_groqflows(self) -> list[str] | None:
        """The flags that GroqFlow does not pass by itself, or None."""
        effort = [] if self.effort == EFFORTS[0] else [f"--effort={self.effort}"]
        return [*effort, *self._power] or None

    @property
    def flags(self) -> list[str]:
        """The compiler's flags, in GroqFlow's order."""
        return [*(["--groqview"] if self.groqview else []), f"--effort={self.effort}", *self._power]

    @property
    def _power(self) -> list[str]:
        return ["--power-analysis"] if self.power else []


@dataclass(frozen=True, slots=True)
class Build:
    """A finished build. `facts` is what GroqFlow and the SDK reported of it (worker.py's result)."""

    folder: Path
    artifact_sha256: str
    sdk: str | None
    facts: Mapping[str, Any]

    @property
    def program(self) -> Path:
        """The .iop file that a card runs."""
        return self.folder / PROGRAM

    @property
    def groqview(self) -> Path:
        """The folder that Groq's viewer opens, if the build has one (GroqState.groqview_file)."""
        return self.folder / BUILD_NAME / "compile" / "output_bind"

    @property
    def files(self) -> dict[str, Path]:
        """The files that running needs, by their names in the folder."""
        names = [PROGRAM, STATE, STATISTICS]  # an SDK may write no statistics
        return {name: self.folder / name for name in names if (self.folder / name).is_file()}

    @property
    def on_chip_compute_seconds(self) -> float | None:
        """One batch on the chip: the compiler's cycles at 900 MHz. None without cycles."""
        return self._estimate("deterministic_compute_latency")

    @property
    def with_pcie_seconds(self) -> float | None:
        """GroqFlow's estimate for one batch: the compute and the transfers. None without cycles."""
        return self._estimate("estimated_latency")

    def _estimate(self, name: str) -> float | None:
        """One of _ESTIMATES: groqflow/groqmodel/groqmodel.py, GroqModel.estimate_performance."""
        seconds = self.facts["info"].get(name)
        return float(seconds) if self.facts["total_cycles"] and seconds else None

    @property
    def op_counts(self) -> dict[str, int]:
        """Nodes by operator in the graph that was compiled."""
        ops = self.facts["info"].get("opt_onnx_ops") or []
        return dict(ops) if isinstance(ops, dict) else dict(Counter(ops))

    @property
    def is_stand_in(self) -> bool:
        """Whether the program states that the tests' stand-in for the SDK made it."""
        with self.program.open("rb") as stream:
            return b"STAND-IN" in stream.read(64)

    @property
    def details(self) -> dict[str, str | int | float]:
        """What a record of a run states of its build."""
        latencies = {
            ON_CHIP_COMPUTE_SECONDS: self.on_chip_compute_seconds,
            WITH_PCIE_SECONDS: self.with_pcie_seconds,
        }
        return {
            "chips": int(self.facts["chips"] or 1),
            "compiler_flags": " ".join(map(str, self.facts["compiler_flags"])),
            **{name: seconds for name, seconds in latencies.items() if seconds is not None},
            **({"caution": CAUTION} if self.is_stand_in else {}),
        }

    def document(self, digest_name: str, **fields: Any) -> dict[str, Any]:
        """What build.json or a bundle states of the build, with its own digest; `read_build` reads it."""
        document = {
            "artifact_sha256": self.artifact_sha256,
            "sdk": self.sdk,
            "facts": dict(self.facts),
            **fields,
        }
        return {**document, digest_name: _digest(document)}


def read_build(folder: Path, document: dict[str, Any], digest_name: str) -> Build:
    """The build in a folder, as its document states it. Raises one of DAMAGED."""
    if document[digest_name] != _digest({k: v for k, v in document.items() if k != digest_name}):
        raise ValueError("it does not match its own digest")
    sdk, digest, facts = document["sdk"], document["artifact_sha256"], document["facts"]
    whole = (
        isinstance(digest, str)
        and isinstance(sdk, str | None)
        and isinstance(facts, dict)
        and all(isinstance(facts.get(name), kind) for name, kind in _FACTS.items())
    )
    if not whole or not all(isinstance(facts["info"].get(name), float | int | None) for name in _ESTIMATES):
        raise ValueError("it lacks facts of the build")
    return Build(folder, digest, sdk, facts)


def cache_root() -> Path:
    """Where builds are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "minilmx" / "groq"


def build_key(
    artifact: Artifact, environment: GroqFlowEnvironment, sdk: str | None, options: CompilerOptions
) -> str:
    """A digest of everything that decides a build: the ONNX bytes, the tools, and the worker itself."""
    tools = ("groqflow", "onnx", "onnxruntime", "onnxconverter-common", "onnxmltools", "numpy")
    parts = {
        "artifact": artifact.digest,  # covers the ONNX bytes and the tokenizer
        "graph": artifact.graph.path,
        "sdk": sdk,
        "flags": options.flags,
        "worker": sha256_of_file(WORKER),
        "versions": {name: environment.versions.get(name) for name in tools},
    }
    return _digest(parts)[:32]


def mark_done(folder: Path, artifact: Artifact, sdk: str | None, facts: Event) -> Build:
    """Mark the build in a folder as finished: the last step of a build."""
    build = Build(folder, artifact.digest, sdk, facts)
    kept = [*build.files, f"{BUILD_NAME}/{facts['f16_onnx']}"]
    files = {name: sha256_of_file(folder / name) for name in kept}
    with boundary(RunnerFailed, f"what GroqFlow reported of the build in {folder} cannot be recorded"):
        text = dump_json(build.document("build_sha256", files=files), indent=2)
    with atomic_file(folder / _DONE, replace=True) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return build


def read_done(folder: Path, progress: Progress) -> Build | None:
    """The finished build in a folder, or None. Sends a message if the build is damaged."""
    try:
        document = parse_json(read_document(folder / _DONE))
        build = read_build(folder, document, "build_sha256")
        for name, digest in document["files"].items():
            if sha256_of_file(folder / name) != digest:
                raise ValueError(name)
        return build
    except FileNotFoundError:
        return None  # never finished
    except (OSError, *DAMAGED) as error:
        progress.message(f"the cached build is damaged ({error}): building again")
        return None


def run_logs(cards: int) -> list[Path]:
    """The logs of so many cards of this process. What dead processes left is deleted after a week.

    Not sooner: an error names its log, and on a shared home the process may live on another machine.
    """
    folder, oldest = cache_root(), time.time() - _KEPT_LOG_SECONDS
    for left in folder.glob("run-*.log"):
        process = re.match(r"run-(\d+)", left.name)
        with suppress(OSError):  # it was deleted in the meantime, or is another user's
            if process and not Path("/proc", process[1]).exists() and left.stat().st_mtime < oldest:
                left.unlink()
    first = folder / f"run-{os.getpid()}.log"
    return [first, *(first.with_stem(f"{first.stem}-card-{number}") for number in range(2, cards + 1))]


def delete_all_but_logs(folder: Path) -> None:
    """Delete a failed build except for its logs, ours and GroqFlow's, which errors name."""
    for path in sorted(folder.rglob("*"), reverse=True):
        with suppress(OSError):  # a folder that still holds a log
            if path.is_dir():
                path.rmdir()
            elif path.name != LOG and not path.match("log_*.txt"):
                path.unlink()


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
