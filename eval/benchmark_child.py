"""A contender of a benchmark in a process of its own: any Python runs this file, without minilmx.

    PYTHON benchmark_child.py FOLDER MODULE OPTIONS

MODULE, installed or in FOLDER, has a function `load(**OPTIONS)`. It returns a function from a list of
N texts to their embeddings, float32 [N, D], and to notes, a dict. A request is one line of JSON on
standard input, {"texts": [...], "save": null or a .npy file for the embeddings}, and so is its answer
on standard output, {"seconds", "peak_bytes", "notes"} or {"error"}. What the library prints goes to
standard error.
"""

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Load the model, then answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    # Python puts the folder of this file first on the path, where the modules beside it would hide others.
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).resolve().parent)]
    folder, module, options = sys.argv[1:]
    if folder:
        sys.path.insert(0, folder)
    try:
        embed = importlib.import_module(module).load(**json.loads(options))
        for line in sys.stdin:
            request = json.loads(line)
            started = time.perf_counter()
            values, notes = embed(request["texts"])
            seconds = time.perf_counter() - started
            if request["save"]:
                importlib.import_module("numpy").save(request["save"], values)
            answer(seconds=seconds, peak_bytes=_peak_bytes(), notes=notes)
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")
        raise


def _peak_bytes() -> int:
    """The most memory that this process has held.

    The process measures itself: what a parent sees of its child includes the parent's memory at the fork.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
