"""A sentence-transformers folder as a PyTorch model, unchanged: the reference for everything.

The forward pass here is the library's own: transformers' encoder with its usual 2-D attention
mask, then the pooling and normalisation that the model's own files ask for. The graph that is
exported (export/graph.py) is written apart from it, so that parity between the two means
something.
"""

import contextlib
import io
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import ModelError
from minilmx.models.pooling import count_positions, first_position, read_modules
from minilmx.models.source import ModelSource, read_json, weights_file
from minilmx.models.tokenizer import TokenBatch

try:
    import torch
    import transformers
except ImportError as missing:
    raise ModelError(
        f"PyTorch models need {missing.name}, which is not installed: pip install 'minilmx[export]'"
    ) from missing

# Encoders that take exactly our three inputs and a ready-made additive attention mask.
ARCHITECTURES = ("bert", "electra", "roberta", "xlm-roberta")


@dataclass(frozen=True, slots=True)
class SentenceModel:
    """The parts of a sentence-embedding model.

    `encoder` maps token batches to token embeddings; `pooling` is "mean", "cls" or "max";
    `normalized` states whether embeddings are scaled to unit length. `first_position` is the
    number of a text's first position: RoBERTa's start after the padding token's.
    """

    encoder: torch.nn.Module
    pooling: str
    normalized: bool
    max_sequence_length: int | None
    embedding_dimension: int
    first_position: int

    def run(self, batch: TokenBatch) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """last_hidden_state float32 [B, S, D] and sentence_embedding float32 [B, D]."""
        inputs = {name: torch.from_numpy(array) for name, array in batch.feeds().items()}
        with torch.inference_mode():
            try:
                hidden = self.encoder(**inputs).last_hidden_state
            except IndexError as error:
                raise ModelError(
                    "tokenizer.json gives token ids that the model has no embeddings for: they are "
                    "not of the same model"
                ) from error
            pooled = pool(hidden, inputs["attention_mask"], self.pooling)
            if self.normalized:
                pooled = torch.nn.functional.normalize(pooled, dim=1)
        return hidden.numpy(), pooled.numpy()


def pool(hidden: torch.Tensor, attention_mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Masked pooling as sentence-transformers' Pooling module defines it: [B, S, D] to [B, D]."""
    if pooling == "cls":
        return hidden[:, 0]
    mask = attention_mask.unsqueeze(-1)
    if pooling == "max":
        return hidden.masked_fill(mask == 0, -1e9).max(dim=1).values
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)


def load_model(source: ModelSource) -> SentenceModel:
    """Load a sentence-transformers folder for the CPU, in float32.

    Only safetensors are read and no remote code is run. Raises ModelError if the folder
    is not a model, or has parts that minilmx does not know.
    """
    weights_file(source)
    architecture = read_json(source.folder, "config.json", dict).get("model_type")
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"{source.id} is a {architecture!r} model, and minilmx exports the BERT family: "
            f"{', '.join(ARCHITECTURES)}"
        )
    pooling, normalized = read_modules(source)
    encoder = _load_encoder(source)
    config = encoder.config.to_dict()
    return SentenceModel(
        encoder,
        pooling,
        normalized,
        count_positions(config),
        int(config["hidden_size"]),
        first_position(config),
    )


def _load_encoder(source: ModelSource) -> Any:
    """The encoder without a pooling head, with eager attention, told to be quiet."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    quiet = io.StringIO()
    try:
        config = transformers.AutoConfig.from_pretrained(
            source.folder, local_files_only=True, trust_remote_code=False
        )
        # ELECTRA has no pooling head to leave out, and its class refuses to be asked.
        headless = {} if config.model_type == "electra" else {"add_pooling_layer": False}
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            encoder, report = transformers.AutoModel.from_pretrained(
                source.folder,
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
        raise ModelError(f"{source.folder} cannot be loaded as a model: {error}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"the weights in {source.folder} are incomplete: {len(missing)} tensors are missing, "
            f"the first is {missing[0]}"
        )
    for name, found, expected in sorted(report["mismatched_keys"]):
        raise ModelError(
            f"the weights in {source.folder} do not fit its config.json: {name} is "
            f"{list(found)}, expected {list(expected)}"
        )
    return encoder.eval()
