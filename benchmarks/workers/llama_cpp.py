"""llama.cpp's server without HTTP, by xllamacpp: 32 texts per request, as many sequences side by side.

It refuses what is too long instead of truncating, so it is given tokens.
"""

import os
from pathlib import Path

import numpy as np
import xllamacpp
from tokenizers import Tokenizer

_BATCH = 32


def load(model, max_tokens, kind):
    """`kind` is "f32" or "q8_0"."""
    tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    params = xllamacpp.CommonParams()
    params.model.path = str(Path(model) / f"{kind}.gguf")
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.n_parallel = _BATCH
    params.n_ctx = params.n_batch = params.n_ubatch = _BATCH * max_tokens
    params.cache_prompt, params.cache_idle_slots, params.cache_ram_mib = False, False, 0
    params.verbosity = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = len(os.sched_getaffinity(0))
    server = xllamacpp.Server(params)

    def embed(texts):
        ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        order = np.argsort([-len(row) for row in ids], kind="stable")
        values = np.empty((len(ids), 384), np.float32)
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            answer = server.handle_embeddings({"input": [ids[row] for row in rows]})
            for each in answer["data"]:
                values[rows[each["index"]]] = each["embedding"]
        return values, {}

    return embed
