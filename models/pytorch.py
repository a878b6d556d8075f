"""A sentence-transformers folder as an unchanged PyTorch model: the reference for everything.

The forward pass is transformers' own encoder with its usual 2-D attention mask, then the pooling and
normalisation that the model's files ask for. The exported graph (export/graph.py) is separate code, so
that parity between the two is a proof.
"""

import contextlib
import inspect
import io
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minilmx.cpus import limited_threads
from minilmx.errors import ModelError, boundary
from minilmx.models.architectures import count_positions, find_architecture, first_position
from minilmx.models.interface import SENTENCE_EMBEDDING
from minilmx.models.manifest import JOINED, Dense, Normalize
from minilmx.models.model_folder import ModelSource, dense_files, weights_files
from minilmx.models.modules import Modules, choose_widths, read_modules
from minilmx.models.support import check_model
from minilmx.models.tokenizer import TokenBatch

if TYPE_CHECKING:
    from typing import Self  # of Python 3.11

try:
    import torch
    import transformers
    from safetensors import safe_open
except ImportError as missing:
    raise ModelError(
        f"PyTorch models need {missing.name}, which is not installed", "Run pip install 'minilmx[export]'."
    ) from missing


_ACTIVATIONS = {
    "identity": torch.nn.Identity,
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "gelu": torch.nn.GELU,
    "sigmoid": torch.nn.Sigmoid,
}


def follow_cpu_quota() -> None:
    """Let torch use no more threads than a CPU quota, if there is one: torch sees the affinity alone."""
    threads = limited_threads(None)
    if threads is not None:
        torch.set_num_threads(threads)


@dataclass(frozen=True, slots=True)
class SentenceModel:
    """The parts of a sentence-embedding model.

    `encoder` maps token batches to token embeddings; `pooling` is as in the manifest; `normalized`
    says whether embeddings are scaled to unit length. `first_position` is the number of a text's first
    position: RoBERTa's come after the padding token's. `hidden_dimension` numbers of a token embedding are
    pooled; of the result's `model_dimension` numbers, `embedding_dimension` are returned. `steps` are what
    an embedding goes through between the pooling and the last normalisation: None normalises. `output` is
    sentence_embedding or, of a cross-encoder, score: its one number per pair of texts stands in the place of
    an embedding.
    """

    encoder: Any
    pooling: str
    normalized: bool
    max_sequence_length: int | None
    embedding_dimension: int
    first_position: int
    hidden_dimension: int
    model_dimension: int
    head: tuple[Dense | Normalize, ...] = ()
    steps: tuple[torch.nn.Sequential | None, ...] = ()
    output: str = SENTENCE_EMBEDDING

    @classmethod
    def load(cls, source: ModelSource, dimension: int | None = None) -> "Self":
        """Load a model folder for the CPU, in float32; torch then uses no more threads than a CPU quota.

        `dimension` keeps so many numbers of each token embedding; without it the folder's settings decide
        how many numbers of an embedding are kept. Reads only safetensors and runs no remote code. Raises
        ModelError if the folder does not hold a model, or one with parts that minilmx does not know.
        """
        check_model(source)
        weights_files(source)
        follow_cpu_quota()
        modules = read_modules(source)
        steps = _load_head(source, modules)
        encoder = _load_encoder(source)
        config, width = encoder.config.to_dict(), int(encoder.config.hidden_size)
        hidden, kept = choose_widths(source, modules, width, dimension)
        return cls(
            encoder,
            modules.pooling,
            modules.normalized,
            count_positions(config),
            kept,
            first_position(config),
            hidden,
            modules.width(width),
            modules.head,
            steps,
            modules.output,
        )

    def run(self, batch: TokenBatch) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """last_hidden_state, float32 [B, S, H], and sentence_embedding, float32 [B, D], or score, [B, 1].

        Raises ModelError.
        """
        inputs = {name: torch.from_numpy(array).long() for name, array in batch.feeds().items()}
        given = {name: array for name, array in inputs.items() if takes(self.encoder, name)}
        with torch.inference_mode():
            try:
                hidden = self.encoder(**given).last_hidden_state
            except IndexError as error:
                raise ModelError(
                    "tokenizer.json: token ids that the model has no embeddings for; expected the tokenizer "
                    "of this model"
                ) from error
            hidden = hidden[..., : self.hidden_dimension]
            poolings = self.pooling.split(JOINED)
            pooled = torch.cat([pool(hidden, inputs["attention_mask"], each) for each in poolings], dim=1)
            for step in self.steps:
                pooled = step(pooled) if step else torch.nn.functional.normalize(pooled, dim=1)
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
    if pooling == "lasttoken":
        last = attention_mask.sum(dim=1) - 1
        return hidden[torch.arange(len(hidden)), last]
    if pooling == "weightedmean":
        mask = mask * torch.arange(1, hidden.shape[1] + 1)[:, None]
    count = mask.sum(dim=1).clamp(min=1e-9)
    return (hidden * mask).sum(dim=1) / (count.sqrt() if pooling == "mean_sqrt_len_tokens" else count)


def takes(encoder: Any, name: str) -> bool:
    """Whether an encoder has an input of this name."""
    return name in inspect.signature(encoder.forward).parameters


def _load_head(source: ModelSource, modules: Modules) -> tuple[torch.nn.Sequential | None, ...]:
    """The modules before the last normalisation. Raises ModelError for weights that do not fit."""
    layers = iter([(file, "linear") for file in dense_files(source)])
    if modules.layers:
        layers = iter([(_file_of(source, name), name) for name in modules.layers])
    steps: list[torch.nn.Sequential | None] = []
    for step in modules.head:
        if not isinstance(step, Dense):
            steps.append(None)
            continue
        file, name = next(layers)
        with boundary(ModelError, f"{file}: not the weights of a Dense module"):
            tensors = _read_tensors(file, (f"{name}.weight", f"{name}.bias"))
            weight, bias = tensors[f"{name}.weight"].float(), tensors.get(f"{name}.bias")
            if len(weight) != step.out_features or (bias is not None) != step.bias:
                raise ValueError("config.json states another shape")
            linear = torch.nn.Linear(weight.shape[1], step.out_features, step.bias)
            state = {"weight": weight} | ({} if bias is None else {"bias": bias})
            linear.load_state_dict(state)
        steps.append(torch.nn.Sequential(linear, _ACTIVATIONS[step.activation]()).eval())
    return tuple(steps)


def _file_of(source: ModelSource, layer: str) -> Path:
    """Which of the encoder's weights files has a layer. Raises ModelError."""
    files, name = weights_files(source), f"{layer}.weight"
    for file in files:
        if _read_tensors(file, (name,)):
            return file
    raise ModelError(
        f"the weights in {source.encoder}: no tensor {name}; expected the head of a cross-encoder",
        "Save the model with its head.",
    )


def _read_tensors(file: Path, names: Collection[str]) -> dict[str, torch.Tensor]:
    """Those of the named tensors that a safetensors file has. Raises ModelError."""
    with boundary(ModelError, f"{file}: not a safetensors file"), safe_open(file, "pt") as stream:
        return {name: stream.get_tensor(name) for name in stream.keys() if name in names}  # noqa: SIM118


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
        kind = getattr(transformers, find_architecture(config.to_dict()).encoder)
        # A class without a pooling head, such as ELECTRA's, refuses the argument.
        made = transformers.MODEL_MAPPING[type(config)] if kind is transformers.AutoModel else kind
        has_head = "add_pooling_layer" in inspect.signature(made.__init__).parameters
        headless = {"add_pooling_layer": False} if has_head else {}
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            encoder, report = kind.from_pretrained(
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
