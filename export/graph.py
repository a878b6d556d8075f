"""The exported computation, in the operators that GroqFlow's pinned tools accept.

It equals the PyTorch model (models/pytorch.py) except for three choices that keep it accurate on an
accelerator that computes in float16:
- the attention mask becomes an additive -10000 inside the graph, not float32's lowest number;
- a mean divides by at least one token, not by 1e-9: the same for every row with a token;
- a norm is at least 6.2e-5, not 1e-12.
"""

import logging
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch

from minilmx.errors import ExportError, boundary
from minilmx.export.options import ExportOptions
from minilmx.models.architectures import ARCHITECTURES, find_architecture
from minilmx.models.external_data import save_model
from minilmx.models.interface import (
    DEFAULT_OPSET,
    INPUT_NAMES,
    LEAST_NORM,
    MASKED,
    OUTPUT_NAMES,
    PACKED_INPUT_NAMES,
    SENTENCE_EMBEDDING,
)
from minilmx.models.manifest import JOINED, GraphKind
from minilmx.models.onnx_file import load_onnx
from minilmx.models.pytorch import SentenceModel, takes


class EmbeddingGraph(torch.nn.Module):
    """Token ids in; token embeddings [B, S, H] and sentence embeddings [B, D] out.

    The attention mask is cast to float32, from int64 or bool.
    """

    def __init__(self, model: SentenceModel) -> None:
        super().__init__()
        self.encoder: Any = model.encoder
        self.model = model
        self.architecture = find_architecture(model.encoder.config.to_dict())
        self.steps = torch.nn.ModuleList(step for step in model.steps if step)
        # What only some encoders take.
        self.extra = {"use_cache": False} if takes(model.encoder, "use_cache") else {}
        self.takes_types = takes(model.encoder, "token_type_ids")

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All inputs int64 [B, S]; the mask may be bool."""
        mask = attention_mask.to(torch.float32)
        types = {"token_type_ids": token_type_ids} if self.takes_types else {}
        hidden = self.encoder(
            input_ids=input_ids, attention_mask=self._attention(mask), **types, **self.extra
        ).last_hidden_state
        hidden = _keep(hidden, self.model.hidden_dimension, self.encoder.config.hidden_size)
        pooled = [_pool(hidden, mask, pooling) for pooling in self.model.pooling.split(JOINED)]
        return hidden, _finish(pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1), self.model)

    def _attention(self, mask: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """The mask as the encoder takes it, from float32 [B, S]."""
        config, architecture = self.encoder.config, self.architecture
        if architecture.mask == "tokens":
            return mask
        masked = ((1.0 - mask) * MASKED)[:, None, None, :]
        window = getattr(config, "sliding_window", None)
        if architecture.is_causal or window:
            positions = torch.arange(mask.shape[1])
            ahead = positions[None, :] - positions[:, None]  # from a token to the one that it attends to
        is_causal = architecture.is_causal and getattr(config, "is_causal", True)
        if is_causal and not getattr(config, "use_bidirectional_attention", False):
            masked = masked + (ahead > 0) * MASKED
        # A causal encoder's window leaves out its end, also if a token attends in both directions.
        near = masked + (ahead.abs() > window - is_causal) * MASKED if window else masked
        if architecture.mask == "added":
            return near
        return {"full_attention": masked, "sliding_attention": near}


class ScoreGraph(torch.nn.Module):
    """The graph of a cross-encoder: token ids of pairs of texts in, scores [B, 1] out."""

    def __init__(self, model: SentenceModel) -> None:
        super().__init__()
        self.whole = EmbeddingGraph(model)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor,
    ) -> torch.Tensor:
        """All inputs int64 [B, S]; the mask may be bool."""
        score: torch.Tensor = self.whole(input_ids, attention_mask, token_type_ids)[1]
        return score


class PackedGraph(torch.nn.Module):
    """Rows of several texts: token ids in, one embedding per segment out, [B, N, D].

    A token attends only to its own segment, and padding to padding: the mask is -10000 for all others.
    Pooling is a matrix product with the segments' one-hot rows; the embedding of an empty segment is zeros.

    The one-hot rows are embeddings of the segment's number, so that the graph has no operators but those of
    the encoder: neither a Cast nor an Equal of int64 is known to run on a GroqCard.
    """

    def __init__(self, model: SentenceModel, segments: int, length: int) -> None:
        super().__init__()
        self.encoder: Any = model.encoder
        self.model = model
        self.groups = torch.eye(segments + 1)  # padding is 0
        self.one_hot = self.groups[:, 1:]
        self.is_first = torch.eye(length, 1)

    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, segment_ids: torch.Tensor
    ) -> torch.Tensor:
        """All inputs int64 [B, S]; see models/batching.py."""
        groups = torch.nn.functional.embedding(segment_ids, self.groups)
        same = groups @ groups.transpose(1, 2)
        tokens = torch.nn.functional.embedding(segment_ids, self.one_hot)
        hidden = self.encoder(
            input_ids=input_ids,
            attention_mask=((1.0 - same) * MASKED)[:, None],
            token_type_ids=torch.zeros_like(input_ids),
            position_ids=position_ids,
        ).last_hidden_state
        hidden = _keep(hidden, self.model.hidden_dimension, self.encoder.config.hidden_size)
        if self.model.pooling == "cls":
            tokens = tokens * torch.nn.functional.embedding(position_ids, self.is_first)
        members = tokens.transpose(1, 2)
        pooled = members @ hidden / members.sum(dim=2, keepdim=True).clamp(min=1.0)
        return _finish(pooled, self.model)


def _pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """[B, S, H] to [B, H] by one pooling; the mask is float32 [B, S], with all padding at the end."""
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "max":
        return (hidden + ((1.0 - mask) * MASKED)[:, :, None]).amax(dim=1)
    numbers = torch.arange(1.0, mask.shape[1] + 1)  # of the tokens
    if pooling == "lasttoken":
        is_last = numbers == mask.sum(dim=1, keepdim=True)
        return (hidden * is_last.to(torch.float32)[:, :, None]).sum(dim=1)
    if pooling == "weightedmean":
        mask = mask * numbers
    count = mask.sum(dim=1, keepdim=True).clamp(min=1.0)
    return (hidden * mask[:, :, None]).sum(dim=1) / (
        count.sqrt() if pooling == "mean_sqrt_len_tokens" else count
    )


def _give_types(proto: onnx.ModelProto) -> None:
    """Add the input token_type_ids if the tracer left it out, because the graph does not read it."""
    if len(proto.graph.input) == len(INPUT_NAMES):
        return
    value = proto.graph.input.add()
    value.CopyFrom(proto.graph.input[0])
    value.name = INPUT_NAMES[2]


def _keep(values: torch.Tensor, kept: int, width: int) -> torch.Tensor:
    """The first numbers of each row; without an operator in the graph if these are all."""
    return values if kept == width else values[..., :kept]


def _finish(pooled: torch.Tensor, model: SentenceModel) -> torch.Tensor:
    """What follows the pooling: the model's own steps, normalisation and truncation."""
    for step in model.steps:
        pooled = _normalize(pooled) if step is None else _dense(pooled, step)
    finished = _normalize(pooled) if model.normalized else pooled
    is_short = model.hidden_dimension < model.encoder.config.hidden_size  # a dimension was chosen
    return finished if is_short else _keep(finished, model.embedding_dimension, model.model_dimension)


def _dense(pooled: torch.Tensor, step: torch.nn.Sequential) -> torch.Tensor:
    """As MatMul and Add: torch's own call would become Gemm."""
    linear: Any = step[0]
    product: torch.Tensor = pooled @ linear.weight.t()
    result: torch.Tensor = step[1](product if linear.bias is None else product + linear.bias)
    return result


def _normalize(pooled: torch.Tensor) -> torch.Tensor:
    norm = (pooled * pooled).sum(dim=-1, keepdim=True).sqrt()
    return pooled / norm.clamp(min=LEAST_NORM)


class TracedModel(SentenceModel):
    """The PyTorch model as an ExportableModel: PyTorch traces its graphs."""

    __slots__ = ()

    def write_graph(self, kind: GraphKind, options: ExportOptions, path: Path) -> None:
        """Write the dynamic-shape graph or the packed one as an ONNX file. Raises ExportError.

        Uses PyTorch's TorchScript exporter: the newer one writes IR 10 and does not keep to opset 16,
        which GroqFlow needs.
        """
        if kind == GraphKind.PACKED:
            self._check_packable()
            size = (options.shape.batch_size, options.shape.sequence_length)
            module: torch.nn.Module = PackedGraph(self, options.segments or 1, size[1])
            inputs = dict.fromkeys(PACKED_INPUT_NAMES, torch.ones(size).long())
            outputs = list(OUTPUT_NAMES[1:])
        else:
            is_embedding = self.output == SENTENCE_EMBEDDING
            module = EmbeddingGraph(self) if is_embedding else ScoreGraph(self)
            inputs = dict.fromkeys(INPUT_NAMES, torch.ones((2, 8)).long())
            inputs["token_type_ids"] = torch.zeros((2, 8)).long()
            outputs = list(OUTPUT_NAMES) if is_embedding else [self.output]
        axes = {name: {0: "batch_size", 1: "sequence_length"} for name in (*INPUT_NAMES, OUTPUT_NAMES[0])}
        axes[self.output] = {0: "batch_size"}
        for name in ("torch.onnx", "torch.jit"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with TemporaryDirectory(dir=path.parent) as temporary, warnings.catch_warnings():
            traced = Path(temporary) / "traced.onnx"
            # The exporter warns that it is deprecated, and about each Python branch that it traces.
            warnings.simplefilter("ignore")
            with boundary(ExportError, f"the {kind} graph: PyTorch cannot trace it"):
                torch.onnx.export(
                    module.eval(),
                    tuple(inputs.values()),
                    str(traced),  # PyTorch puts the weights of a large model beside it
                    dynamo=False,
                    opset_version=options.opset or DEFAULT_OPSET,
                    input_names=list(inputs),
                    output_names=outputs,
                    dynamic_axes=axes if kind == GraphKind.DYNAMIC else None,
                )
            proto = load_onnx(traced)
            _give_types(proto)
            save_model(proto, path, traced.parent)

    def _check_packable(self) -> None:
        config, found = self.encoder.config.to_dict(), None
        if self.pooling not in ("mean", "cls"):
            found = f"{self.pooling} pooling; expected mean or cls pooling"
        elif self.first_position != 0:
            found = f"positions from {self.first_position}, as RoBERTa has; expected positions from 0"
        elif not find_architecture(config).packs:
            packed = ", ".join(name for name, each in ARCHITECTURES.items() if each.packs)
            found = f"architecture {config['model_type']!r}; expected {packed}"
        elif self.head:
            found = "modules between the pooling and the normalisation; expected none"
        if found:
            raise ExportError(f"the model cannot be packed: {found}", "Export without a packed graph.")
