"""One library in a process of its own: the program that every environment's Python runs.

    PYTHON worker.py LIBRARY OPTIONS    # a file in workers/, and JSON for its load(**OPTIONS)

A request is one line of JSON on standard input, {"texts": FILE, "save": FILE or null}, and so is
its answer on standard output: {"seconds", "peak_mib"}, or {"error"}. FILE is a JSON list of texts;
embeddings are saved as float32 [N, D]. What a library prints goes to standard error.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Load the library's model, then answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values):
        print(json.dumps(values), file=answers, flush=True)

    library, options = sys.argv[1:]
    texts = {}
    try:
        embed = importlib.import_module(f"workers.{library}").load(**json.loads(options))
        for line in sys.stdin:
            request = json.loads(line)
            file = request["texts"]
            if file not in texts:
                texts[file] = json.loads(Path(file).read_text())
            started = time.perf_counter()
            embeddings = embed(texts[file])
            seconds = time.perf_counter() - started
            if request["save"]:
                np.save(request["save"], np.asarray(embeddings, dtype=np.float32))
            answer(seconds=seconds, peak_mib=peak_mib())
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}")
        raise


def peak_mib() -> float:
    """The most memory that this process has held so far, MiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main()
