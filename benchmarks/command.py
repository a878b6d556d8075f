"""One `mlx` command with its time and its peak memory (Linux)."""

import os
import subprocess
import sys
import time
from pathlib import Path


def mlx(*words: str, may_differ: bool = False, folder: Path | None = None) -> float:
    """One command, in a folder: prints its time, its peak memory and its output, and returns its seconds.

    What it compares may differ.
    """
    started = time.perf_counter()
    command = [sys.executable, "-m", "minilmx", *words]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout
    said = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status) not in (0, int(may_differ)):
        sys.exit(said)
    print(f"mlx {words[0]}: {seconds:.1f} s, peak {usage.ru_maxrss / 1024:,.0f} MiB\n{said}", flush=True)
    return seconds
