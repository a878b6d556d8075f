"""A worker process as compare.py sees it. Linux only: times and memory come from /proc."""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_TICKS = os.sysconf("SC_CLK_TCK")
_CORES = len(os.sched_getaffinity(0))


class WorkerFailed(Exception):
    """A worker failed; the message is the library's own."""


@dataclass(frozen=True, slots=True)
class Run:
    """One workload, embedded once.

    `seconds` is taken inside the worker and includes tokenising. `others` is the share of all
    cores' time that went to anything but the worker meanwhile, 0 to 1: idle workers that do not
    sleep, and whatever else the machine does. `peak_mib` is the most memory held so far.
    """

    seconds: float
    others: float
    peak_mib: float


class Worker:
    """A process that holds one library and one model, and embeds on request."""

    def __init__(self, python: Path, library: str, options: dict[str, Any], log: Path) -> None:
        """Spawn it; what the library prints goes to `log`. It loads while nobody waits for it."""
        self._spawned = time.perf_counter()
        self._log = log
        with log.open("a") as errors:
            self._process = subprocess.Popen(
                [python, HERE / "worker.py", library, json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | {"HF_HUB_OFFLINE": "1"},
            )

    @property
    def age(self) -> float:
        """Seconds since it was spawned."""
        return time.perf_counter() - self._spawned

    def embed(self, texts: Path, save: Path | None = None) -> Run:
        """Embed a JSON file of texts; `save` is where to put them, .npy. Raises WorkerFailed."""
        busy, own, started = _busy_seconds(), self._cpu_seconds(), time.perf_counter()
        reply = self._ask({"texts": str(texts), "save": str(save) if save else None})
        elapsed = time.perf_counter() - started
        others = (_busy_seconds() - busy) - (self._cpu_seconds() - own)
        return Run(reply["seconds"], max(0.0, others / elapsed / _CORES), reply["peak_mib"])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = self._process.stdout.readline()  # what it said before it ended
        reply = (
            json.loads(line)
            if line
            else {"error": f"it ended with code {self._process.wait()}, see {self._log}"}
        )
        if "error" in reply:
            raise WorkerFailed(reply["error"].splitlines()[0][:300])
        return dict(reply)

    def _cpu_seconds(self) -> float:
        """CPU time of all its threads, user and system."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS


def _busy_seconds() -> float:
    """CPU time of the whole machine that was not idle, over all cores."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / _TICKS
