"""The exported computation, in the operators that GroqFlow's pinned tools accept.

It equals the PyTorch model (export/pytorch.py) but for three choices that keep it sound on an
accelerator that computes in float16:
- the attention mask becomes an additive -10000 inside the graph, not float32's lowest number;
- a mean divides by at least one token, not by 1e-9: the same for every row that has a token;
- a norm is at least 1e-6, not 1e-12.
"""

import io
import logging
import warnings
from pathlib import Path

import torch

from minilmx.errors import ExportError
from minilmx.export.names import LEAST_NORM, MASKED, OUTPUT_NAMES
from minilmx.export.pytorch import SentenceModel
from minilmx.models.manifest import Shape
from minilmx.models.tokenizer import INPUT_NAMES


class EmbeddingGraph(torch.nn.Module):
    """Token ids in; token embeddings [B, S, D] and sentence embeddings [B, D] out."""

    def __init__(self, model: SentenceModel) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.pooling = model.pooling
        self.normalized = model.normalized

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All inputs int64 [B, S]."""
        mask = attention_mask.to(torch.float32)
        masked = (1.0 - mask) * MASKED
        hidden = self.encoder(
            input_ids=input_ids,
            attention_mask=masked[:, None, None, :],
            token_type_ids=token_type_ids,
        ).last_hidden_state
        if self.pooling == "cls":
            pooled = hidden[:, 0]
        elif self.pooling == "max":
            pooled = (hidden + masked[:, :, None]).amax(dim=1)
        else:
            tokens = mask.sum(dim=1, keepdim=True).clamp(min=1.0)
            pooled = (hidden * mask[:, :, None]).sum(dim=1) / tokens
        if self.normalized:
            norm = (pooled * pooled).sum(dim=1, keepdim=True).sqrt()
            pooled = pooled / norm.clamp(min=LEAST_NORM)
        return hidden, pooled


def write_graph(model: SentenceModel, shape: Shape | None, opset: int, path: Path) -> None:
    """Write the model as ONNX: at a fixed shape, or with dynamic axes where `shape` is None.

    Uses PyTorch's TorchScript exporter: the newer one writes IR 10 and does not keep to
    opset 16, which GroqFlow needs. Raises ExportError.
    """
    example = torch.ones((shape.batch_size, shape.sequence_length) if shape else (2, 8)).long()
    both = {0: "batch_size", 1: "sequence_length"}
    axes = dict.fromkeys((*INPUT_NAMES, "last_hidden_state"), both)
    stream = io.BytesIO()
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.jit")]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # The exporter warns that it is deprecated, and of each Python branch that it traces.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                EmbeddingGraph(model).eval(),
                (example, example, torch.zeros_like(example)),
                stream,  # type: ignore[arg-type] # the TorchScript exporter writes to streams
                dynamo=False,
                opset_version=opset,
                input_names=list(INPUT_NAMES),
                output_names=list(OUTPUT_NAMES),
                dynamic_axes=None if shape else {**axes, "sentence_embedding": {0: "batch_size"}},
            )
        except Exception as error:
            raise ExportError(f"PyTorch could not write the ONNX graph: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stream.getvalue())
