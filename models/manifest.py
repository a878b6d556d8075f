"""mlx.json: what an artifact says about itself. docs/artifact.md specifies the format."""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from minilmx.arguments import StrEnum
from minilmx.files.atomic import FolderKind
from minilmx.models.interface import (
    INPUT_NAMES,
    LAST_HIDDEN_STATE,
    MAX_IR_VERSION,
    MAX_OPSET,
    MIN_OPSET,
    PACKED_INPUT_NAMES,
    SCORE,
    SENTENCE_EMBEDDING,
)

MANIFEST_NAME = "mlx.json"
ARTIFACT = FolderKind("an artifact", (MANIFEST_NAME,))
CARD = "README.md"  # the model card, which a manifest need not list
SCHEMA_VERSION: Final = 1
FLOAT32 = "float32"
PRECISIONS = (FLOAT32, "int8")
INT64 = "int64"
MASKS = (INT64, "bool")
POOLINGS = ("mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
# Between the names of several poolings, whose results are joined in this order.
JOINED = "+"
# Activations of a Dense module, by the class that sentence-transformers names.
ACTIVATIONS = {
    "identity": "torch.nn.modules.linear.Identity",
    "tanh": "torch.nn.modules.activation.Tanh",
    "relu": "torch.nn.modules.activation.ReLU",
    "gelu": "torch.nn.modules.activation.GELU",
    "sigmoid": "torch.nn.modules.activation.Sigmoid",
}
ORIGINS = ("hub", "bundled", "folder")
COSINE = "cosine"
SIMILARITIES = (COSINE, "dot", "euclidean", "manhattan")
# The largest batch size, sequence length, embedding dimension and number of texts per packed row.
MAX_SIZE = 65_536


def _one_of(patterns: Sequence[str]) -> Meta:
    return Meta(pattern=rf"^({'|'.join(patterns)})\Z")


Size = Annotated[int, Meta(ge=1, le=MAX_SIZE)]
Sha256 = Annotated[str, _one_of(["[0-9a-f]{64}"])]
Dim = Annotated[int, Meta(ge=1)] | Annotated[str, Meta(min_length=1)]


class GraphKind(StrEnum):
    """Which of an artifact's graphs: at the fixed shape, with dynamic axes, or packed."""

    FIXED = "fixed"
    DYNAMIC = "dynamic"
    PACKED = "packed"


class Shape(Struct, frozen=True, forbid_unknown_fields=True):
    """The fixed shape of a graph's inputs: B rows (batch size) of S tokens (sequence length)."""

    batch_size: Size
    sequence_length: Size

    def __str__(self) -> str:
        return f"{self.batch_size}x{self.sequence_length}"


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """The model that an artifact was made from.

    `weights_sha256` is the digest of the weights file; `settings_sha256` covers the model's
    configuration and tokenizer files together.
    """

    id: str
    revision: str | None
    origin: Annotated[str, _one_of(ORIGINS)]
    weights_sha256: Sha256
    settings_sha256: Sha256


class Tensor(Struct, frozen=True, forbid_unknown_fields=True):
    """An input or output of a graph: a dimension is a number, or a name if it is dynamic."""

    name: str
    dtype: str
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"


class Graph(Struct, frozen=True, forbid_unknown_fields=True):
    """One ONNX file of the artifact and its interface, in the file's own order."""

    path: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Graphs(Struct, frozen=True, forbid_unknown_fields=True):
    """The artifact's graphs. `packed`, whose rows hold several texts each, is optional."""

    fixed: Graph
    dynamic: Graph
    packed: Graph | UnsetType = UNSET


class Truncation(Struct, frozen=True, forbid_unknown_fields=True):
    """That embeddings are the first D of the model's own `model_dimension` numbers.

    `renormalized` is true if every token embedding was truncated, before the pooling and the model's
    normalisation; false if the finished embedding was, so that it may be shorter than unit length.
    """

    model_dimension: Size
    renormalized: bool


class Dense(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """A matrix, an optional bias and an activation, which every embedding goes through."""

    out_features: Size
    bias: bool
    activation: Annotated[str, _one_of(tuple(ACTIVATIONS))]


class Normalize(Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """A step that scales every embedding to unit length."""


class File(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the artifact."""

    path: str
    sha256: Sha256
    size_bytes: Annotated[int, Meta(ge=0)]


class Manifest(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="schema_version", tag=SCHEMA_VERSION
):
    """The content of mlx.json. `tools` maps packages to versions; `files` is sorted by path.

    `token_rows` is how many token ids the graphs have embeddings for; older artifacts do not state it.
    `max_sequence_length` is the model's own limit, in tokens, if it states one; `prompts` are texts by name,
    and `default_prompt` the name of the one that is prepended unless another is chosen; `similarity` is the
    model's own unless that is cosine. `pooling` is one of POOLINGS, or several with + between them, whose
    results are joined. `head` is what an embedding goes through after the pooling and before the last
    normalisation, which `normalized` states; `token_dimension` is stated if embeddings are not as wide as
    token embeddings because of either. `output` is stated by a cross-encoder, whose graphs give nothing but
    a score per pair of texts: its `embedding_dimension` is 1, and its `head` ends in that number.
    """

    source: Source
    shape: Shape
    embedding_dimension: Size
    pooling: str
    normalized: bool
    precision: Annotated[str, _one_of(PRECISIONS)]
    opset: Annotated[int, Meta(ge=MIN_OPSET, le=MAX_OPSET)]
    ir_version: Annotated[int, Meta(ge=1, le=MAX_IR_VERSION)]
    graphs: Graphs
    tools: dict[str, str]
    files: tuple[File, ...]
    token_rows: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    truncation: Truncation | UnsetType = UNSET
    max_sequence_length: Size | UnsetType = UNSET
    prompts: dict[str, str] | UnsetType = UNSET
    default_prompt: str | UnsetType = UNSET
    similarity: Annotated[str, _one_of(SIMILARITIES[1:])] | UnsetType = UNSET
    head: tuple[Dense | Normalize, ...] | UnsetType = UNSET
    token_dimension: Size | UnsetType = UNSET
    output: Annotated[str, _one_of((SCORE,))] | UnsetType = UNSET

    @property
    def gives_scores(self) -> bool:
        """Whether it is a cross-encoder's: a score per pair of texts instead of an embedding per text."""
        return bool(self.output)

    @property
    def output_name(self) -> str:
        """The last output of every graph: sentence_embedding, or score."""
        return self.output or SENTENCE_EMBEDDING

    @property
    def hidden_dimension(self) -> int:
        """The numbers in a token embedding, the last dimension of last_hidden_state."""
        if self.token_dimension:
            return self.token_dimension
        if self.truncation and not self.truncation.renormalized:
            return self.truncation.model_dimension
        return self.embedding_dimension

    @property
    def poolings(self) -> tuple[str, ...]:
        """The poolings whose results are joined, usually one."""
        return tuple(self.pooling.split(JOINED))

    @property
    def widths(self) -> tuple[int, ...]:
        """The numbers of an embedding after the pooling, and after each Dense module."""
        dense = (step.out_features for step in self.head or () if isinstance(step, Dense))
        return (self.hidden_dimension * len(self.poolings), *dense)

    @property
    def mask(self) -> str:
        """The dtype of the fixed graph's attention_mask: int64, or bool."""
        return next((each.dtype for each in self.fixed.inputs if each.dtype in MASKS[1:]), INT64)

    @property
    def fixed(self) -> Graph:
        """The fixed-shape graph."""
        return self.graphs.fixed

    @property
    def dynamic(self) -> Graph:
        """The dynamic-shape graph."""
        return self.graphs.dynamic

    @property
    def packed(self) -> Graph | None:
        """The packed graph, or None if the artifact does not have one."""
        return self.graphs.packed or None

    def to_json(self) -> bytes:
        """The content of mlx.json: UTF-8, sorted keys, two spaces of indentation, a newline at the end."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"


Interface = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]  # the inputs and the outputs of a graph


def graph_interface(
    kind: GraphKind,
    shape: Shape,
    dimension: int,
    hidden_dimension: int,
    output: str,
    mask: str,
    segments: int | str,
) -> Interface:
    """The inputs and the outputs of a graph, as docs/artifact.md states them.

    Token embeddings have `hidden_dimension` numbers, and the last `output` has `dimension`; `mask` is the
    dtype of the fixed graph's attention_mask, and `segments` are the texts of a packed row.
    """
    size: tuple[Dim, Dim] = (shape.batch_size, shape.sequence_length)
    if kind == GraphKind.DYNAMIC:
        size = ("batch_size", "sequence_length")
    dtypes = {"attention_mask": mask} if kind == GraphKind.FIXED else {}
    names, last = INPUT_NAMES, Tensor(output, "float32", (size[0], dimension))
    if kind == GraphKind.PACKED:
        names, last = PACKED_INPUT_NAMES, Tensor(output, "float32", (size[0], segments, dimension))
    inputs = tuple(Tensor(name, dtypes.get(name, INT64), size) for name in names)
    if kind == GraphKind.PACKED or output == SCORE:
        return inputs, (last,)
    return inputs, (Tensor(LAST_HIDDEN_STATE, "float32", (*size, hidden_dimension)), last)
