"""CTranslate2's encoder, as its users drive it at full speed: batches of texts of about the same length,
one worker of one thread per core, and mean pooling in numpy.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ctranslate2
import numpy as np
from tokenizers import Tokenizer


def load(model, max_tokens, compute_type="float32", by_length=True, batch_size=32):
    """Without `by_length`, batches are in the order of the texts, and one worker has all threads."""
    tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    cores = len(os.sched_getaffinity(0))
    workers, threads = (cores, 1) if by_length else (1, cores)
    encoder = ctranslate2.Encoder(
        model, device="cpu", compute_type=compute_type, inter_threads=workers, intra_threads=threads
    )
    pool = ThreadPoolExecutor(workers)

    def embed_batch(ids):
        hidden = np.array(encoder.forward_batch(ids).last_hidden_state)
        lengths = np.array([len(row) for row in ids])
        mask = (np.arange(hidden.shape[1]) < lengths[:, None])[..., None].astype(np.float32)
        pooled = (hidden * mask).sum(axis=1) / lengths[:, None].astype(np.float32)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def embed(texts):
        ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        order = np.arange(len(ids))
        if by_length:
            order = np.argsort([-len(row) for row in ids], kind="stable")
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        parts = list(pool.map(embed_batch, [[ids[row] for row in batch] for batch in batches]))
        return np.concatenate(parts)[np.argsort(order)], {}

    return embed
