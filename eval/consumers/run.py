"""One consumer's process: embed texts.json with snippet.py, batch by batch, in this folder.

Needs numpy and the library. Writes N.f32 for each batch size N: the embeddings of all texts, raw
little-endian float32. If the snippet has a tokenizer, or its model has one, writes ids.json: the token ids
of each text of `odd_texts`. After a failure writes error.txt, one line.
"""

from __future__ import annotations  # for Pythons before ours

import json
import runpy
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np


def main() -> None:
    """Embed all texts once for each batch size."""
    request = json.loads(Path("texts.json").read_text("utf-8"))
    names = runpy.run_path("snippet.py")
    embed = names["embed"]
    texts = request["texts"]
    for size in request["batch_sizes"]:
        batches = [embed(texts[start : start + size]) for start in range(0, len(texts), size)]
        rows = np.concatenate([np.asarray(batch, dtype="<f4") for batch in batches])
        rows.tofile(f"{size}.f32")
    tokenizer = names.get("tokenizer", getattr(names.get("model"), "tokenizer", None))
    if tokenizer is not None:
        ids = [token_ids(tokenizer, text) for text in request["odd_texts"]]
        Path("ids.json").write_text(json.dumps(ids), encoding="utf-8")


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """The token ids of one text without padding, from a tokenizer of tokenizers or of transformers."""
    if hasattr(tokenizer, "encode_batch"):
        encoded = tokenizer.encode(text)
        return list(encoded.ids[: sum(encoded.attention_mask)])
    return list(map(int, tokenizer(text, truncation=True)["input_ids"]))


def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write the error to the file that the parent reads."""
    message = f"{kind.__name__}: {' '.join(str(error).split())}"
    Path("error.txt").write_text(message, encoding="utf-8", errors="replace")
    sys.__excepthook__(kind, error, trace)


sys.excepthook = report
main()
