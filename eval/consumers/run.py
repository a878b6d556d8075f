"""One consumer's process: embed texts.json with snippet.py, batch by batch, in this folder.

Needs numpy and the library. Writes N.f32 for each batch size N: the embeddings of all texts, raw
little-endian float32; or error.txt, one line.
"""

from __future__ import annotations  # for Pythons before ours

import json
import runpy
import sys
from pathlib import Path
from types import TracebackType

import numpy as np


def main() -> None:
    """Embed all texts once for each batch size."""
    request = json.loads(Path("texts.json").read_text("utf-8"))
    embed = runpy.run_path("snippet.py")["embed"]
    texts = request["texts"]
    for size in request["batch_sizes"]:
        batches = [embed(texts[start : start + size]) for start in range(0, len(texts), size)]
        rows = np.concatenate([np.asarray(batch, dtype="<f4") for batch in batches])
        rows.tofile(f"{size}.f32")


def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write the error to the file that the parent reads."""
    message = f"{kind.__name__}: {' '.join(str(error).split())}"
    Path("error.txt").write_text(message, encoding="utf-8", errors="replace")
    sys.__excepthook__(kind, error, trace)


sys.excepthook = report
main()
