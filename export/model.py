"""What an artifact can be made from: PyTorch weights (graph.py) or an ONNX file (onnx_model.py)."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from minilmx.export.options import ExportOptions
from minilmx.models.manifest import Dense, GraphKind, Normalize
from minilmx.models.tokenizer import TokenBatch

# last_hidden_state [B, S, H], and sentence_embedding [B, D] or, of a cross-encoder, score [B, 1]
Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]


class ExportableModel(Protocol):
    """A sentence-embedding model that writes its graphs and that they are compared with.

    `pooling`, `normalized` and `head` are as in the manifest; `max_sequence_length` is a number of tokens,
    or None if the model does not limit it. H = `hidden_dimension` numbers of a token embedding are pooled,
    and of the result's `model_dimension` numbers D = `embedding_dimension` are kept. `output` is
    sentence_embedding, or score for a cross-encoder, whose D is 1.
    """

    @property
    def output(self) -> str: ...
    @property
    def pooling(self) -> str: ...
    @property
    def normalized(self) -> bool: ...
    @property
    def head(self) -> tuple[Dense | Normalize, ...]: ...
    @property
    def embedding_dimension(self) -> int: ...
    @property
    def hidden_dimension(self) -> int: ...
    @property
    def model_dimension(self) -> int: ...
    @property
    def max_sequence_length(self) -> int | None: ...

    def run(self, batch: TokenBatch) -> Outputs:
        """last_hidden_state, float32 [B, S, H], and the output, float32 [B, D]."""
        ...

    def write_graph(self, kind: GraphKind, options: ExportOptions, path: Path) -> None:
        """Write the dynamic-shape graph or the packed one as an ONNX file. Raises ExportError."""
        ...
