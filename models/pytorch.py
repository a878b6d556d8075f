"""A sentence-transformers folder as an unchanged PyTorch model: the reference for everything.

The forward pass is transformers' own encoder with its usual 2-D attention mask, then the pooling and
normalisation that the model's files ask for. The exported graph (export/graph.py) is separate code, so
that parity between the two is a proof.
"""

import contextlib
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import ModelError
from minilmx.models.pooling import choose_widths, count_positions, first_position, read_modules
from minilmx.models.source import ModelSource, weights_files
from minilmx.models.support import check_model
from minilmx.models.tokenizer import TokenBatch

if TYPE_CHECKING:
    from typing import Self  # of Python 3.11

try:
    import torch
    import transformers
except ImportError as missing:
    raise ModelError(
        f"PyTorch models need {missing.name}, which is not installed", "Run pip install 'minilmx[export]'."
    ) from missing


@dataclass(frozen=True, slots=True)
class SentenceModel:
    """The parts of a sentence-embedding model.

    `encoder` maps token batches to token embeddings; `pooling` is "mean", "cls" or "max"; `normalized`
    says whether embeddings are scaled to unit length. `first_position` is the number of a text's first
    position: RoBERTa's come after the padding token's. Of the encoder's `model_dimension` numbers,
    `hidden_dimension` of a token embedding are pooled, and `embedding_dimension` of the result are returned.
    """

    encoder: torch.nn.Module
    pooling: str
    normalized: bool
    max_sequence_length: int | None
    embedding_dimension: int
    first_position: int
    hidden_dimension: int
    model_dimension: int

    @classmethod
    def load(cls, source: ModelSource, dimension: int | None = None) -> "Self":
        """Load a model folder for the CPU, in float32.

        `dimension` keeps so many numbers of each token embedding; without it the folder's settings decide
        how many numbers of an embedding are kept. Reads only safetensors and runs no remote code. Raises
        ModelError if the folder does not hold a model, or one with parts that minilmx does not know.
        """
        check_model(source)
        weights_files(source)
        pooling, normalized = read_modules(source)
        encoder = _load_encoder(source)
        config = encoder.config.to_dict()
        width = int(config["hidden_size"])
        hidden, kept = choose_widths(source, width, dimension)
        positions, first = count_positions(config), first_position(config)
        return cls(encoder, pooling, normalized, positions, kept, first, hidden, width)

    def run(self, batch: TokenBatch) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """last_hidden_state, float32 [B, S, H], and sentence_embedding, float32 [B, D]. Raises ModelError."""
        inputs = {name: torch.from_numpy(array).long() for name, array in batch.feeds().items()}
        with torch.inference_mode():
            try:
                hidden = self.encoder(**inputs).last_hidden_state
            except IndexError as error:
                raise ModelError(
                    "tokenizer.json: token ids that the model has no embeddings for; expected the tokenizer "
                    "of this model"
                ) from error
            hidden = hidden[..., : self.hidden_dimension]
            pooled = pool(hidden, inputs["attention_mask"], self.pooling)
            if self.normalized:
                pooled = torch.nn.functional.normalize(pooled, dim=1)
            pooled = pooled[:, : self.embedding_dimension]
        return hidden.numpy(), pooled.numpy()


def pool(hidden: torch.Tensor, attention_mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Masked pooling as sentence-transformers' Pooling module defines it: [B, S, D] to [B, D]."""
    if pooling == "cls":
        return hidden[:, 0]
    mask = attention_mask.unsqueeze(-1)
    if pooling == "max":
        return hidden.masked_fill(mask == 0, -1e9).max(dim=1).values
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)


def _load_encoder(source: ModelSource) -> Any:
    """The encoder without a pooling head, with eager attention and without output."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    quiet, folder = io.StringIO(), source.encoder
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        # ELECTRA has no pooling head, and its class refuses the argument.
        headless = {} if config.model_type == "electra" else {"add_pooling_layer": False}
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            encoder, report = transformers.AutoModel.from_pretrained(
                folder,
                config=config,
                **headless,
                attn_implementation="eager",
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # they are reported, and refused below
                output_loading_info=True,
            )
    except Exception as error:
        raise ModelError(f"{folder}: cannot be loaded as a model: {error}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"the weights in {folder}: {len(missing)} tensors are missing, the first is {missing[0]}; "
            "expected all that config.json asks for"
        )
    for name, found, expected in sorted(report["mismatched_keys"]):
        raise ModelError(
            f"the weights in {folder}: {name} is {list(found)}; expected {list(expected)}, as "
            "config.json says"
        )
    return encoder.eval()
