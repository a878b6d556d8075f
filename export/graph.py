"""The exported computation, in the operators that GroqFlow's pinned tools accept.

It equals the PyTorch model (models/pytorch.py) but for three choices that keep it sound on an
accelerator that computes in float16:
- the attention mask becomes an additive -10000 inside the graph, not float32's lowest number;
- a mean divides by at least one token, not by 1e-9: the same for every row that has a token;
- a norm is at least 1e-6, not 1e-12.
"""

import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from minilmx.errors import ExportError
from minilmx.models.interface import INPUT_NAMES, LEAST_NORM, MASKED, OUTPUT_NAMES, PACKED_INPUT_NAMES
from minilmx.models.manifest import Shape
from minilmx.models.pytorch import SentenceModel


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
        return hidden, _normalize(pooled) if self.normalized else pooled


class PackedGraph(torch.nn.Module):
    """Rows of several texts: token ids in, one embedding for each segment out, [B, N, D].

    A token attends to its own segment alone: the mask is -10000 where segments differ. Pooling
    is a matrix product with the segments' one-hot rows; an empty segment comes out as zeros.
    """

    def __init__(self, model: SentenceModel, segments: int) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.pooling = model.pooling
        self.normalized = model.normalized
        self.numbers = torch.arange(1, segments + 1)[None, :, None]

    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, segment_ids: torch.Tensor
    ) -> torch.Tensor:
        """All inputs int64 [B, S]; see models/batching.py."""
        same = (segment_ids[:, :, None] == segment_ids[:, None, :]).to(torch.float32)
        hidden = self.encoder(
            input_ids=input_ids,
            attention_mask=((1.0 - same) * MASKED)[:, None],
            token_type_ids=torch.zeros_like(input_ids),
            position_ids=position_ids,
        ).last_hidden_state
        members = (segment_ids[:, None, :] == self.numbers).to(torch.float32)
        if self.pooling == "cls":
            members = members * (position_ids == 0).to(torch.float32)[:, None, :]
        pooled = members @ hidden / members.sum(dim=2, keepdim=True).clamp(min=1.0)
        return _normalize(pooled) if self.normalized else pooled


def _normalize(pooled: torch.Tensor) -> torch.Tensor:
    norm = (pooled * pooled).sum(dim=-1, keepdim=True).sqrt()
    return pooled / norm.clamp(min=LEAST_NORM)


def write_graph(model: SentenceModel, shape: Shape | None, opset: int, path: Path) -> None:
    """Write the model as ONNX: at a fixed shape, or with dynamic axes where `shape` is None.

    Raises ExportError.
    """
    example = torch.ones((shape.batch_size, shape.sequence_length) if shape else (2, 8)).long()
    both = {0: "batch_size", 1: "sequence_length"}
    axes = dict.fromkeys((*INPUT_NAMES, "last_hidden_state"), both)
    _write(
        EmbeddingGraph(model),
        dict(zip(INPUT_NAMES, (example, example, torch.zeros_like(example)), strict=True)),
        OUTPUT_NAMES,
        opset,
        path,
        dynamic_axes=None if shape else {**axes, "sentence_embedding": {0: "batch_size"}},
    )


def write_packed_graph(model: SentenceModel, shape: Shape, segments: int, opset: int, path: Path) -> None:
    """Write the model as ONNX with up to `segments` texts in a row. Raises ExportError."""
    if model.pooling == "max":
        raise ExportError("a model with max pooling cannot be packed: leave out --pack")
    if model.first_position != 0:
        raise ExportError("a model of RoBERTa's kind, which numbers positions itself, cannot be packed")
    example = torch.ones((shape.batch_size, shape.sequence_length)).long()
    inputs = dict.fromkeys(PACKED_INPUT_NAMES, example)
    _write(PackedGraph(model, segments), inputs, OUTPUT_NAMES[1:], opset, path, dynamic_axes=None)


def _write(
    module: torch.nn.Module,
    inputs: dict[str, torch.Tensor],
    outputs: Sequence[str],
    opset: int,
    path: Path,
    dynamic_axes: dict[str, dict[int, str]] | None,
) -> None:
    """Uses PyTorch's TorchScript exporter: the newer one writes IR 10 and does not keep to
    opset 16, which GroqFlow needs."""
    stream = io.BytesIO()
    for name in ("torch.onnx", "torch.jit"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # The exporter warns that it is deprecated, and of each Python branch that it traces.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                stream,  # type: ignore[arg-type] # the TorchScript exporter writes to streams
                dynamo=False,
                opset_version=opset,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes=dynamic_axes,
            )
        except Exception as error:
            raise ExportError(f"PyTorch could not write the ONNX graph: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stream.getvalue())
