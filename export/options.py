"""What an export is asked for."""

from dataclasses import dataclass

from minilmx.errors import ExportError
from minilmx.export.fixed_consumers import FOLDER
from minilmx.models.interface import GROQ_MAX_OPSET, MAX_OPSET, MIN_OPSET
from minilmx.models.manifest import (
    FLOAT32,
    INT64,
    MAX_SIZE,
    GraphKind,
    Shape,
)
from minilmx.models.model_folder import ModelSource
from minilmx.models.modules import most_tokens


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What an export is asked for. Raises ExportError for an opset or a combination that cannot be.

    `opset` None is opset 16 for PyTorch weights and the file's own for an ONNX file. `segments` adds a
    packed graph whose rows hold up to that many texts. `fixed_consumers` puts the fixed graph into
    fixed/, with the settings that other libraries run it with. `dimension` keeps so many numbers of every
    token embedding, for models that were trained to be truncated. `from_onnx` freezes an ONNX file with
    dynamic axes, without torch. `replace` replaces an existing artifact. `mask` is the dtype of the fixed
    graph's attention_mask: "int64" as in the other graphs, or "bool" as in Groq's proof point.
    """

    shape: Shape
    opset: int | None = None
    segments: int | None = None
    precision: str = FLOAT32
    fixed_consumers: bool = False
    from_onnx: bool = False
    replace: bool = False
    dimension: int | None = None
    mask: str = INT64

    def __post_init__(self) -> None:
        newest = MAX_OPSET if self.from_onnx else GROQ_MAX_OPSET
        if self.opset is not None and not MIN_OPSET <= self.opset <= newest:
            raise ExportError(f"the opset: {self.opset}; expected {MIN_OPSET} to {newest}")
        sizes = (self.shape.batch_size, self.shape.sequence_length, self.segments or 1)
        if not 1 <= min(sizes) <= max(sizes) <= MAX_SIZE:
            packed = f" with {self.segments} texts per packed row" if self.segments else ""
            raise ExportError(f"the shape {self.shape}{packed}; expected numbers from 1 to {MAX_SIZE}")
        if self.dimension is not None and not 1 <= self.dimension <= MAX_SIZE:
            raise ExportError(f"the dimension: {self.dimension}; expected a number from 1 to {MAX_SIZE}")
        if self.from_onnx and self.segments is not None:
            raise ExportError(
                "a packed graph: made from an ONNX file; expected PyTorch weights",
                "Export without a packed graph, or from the PyTorch weights.",
                unused=True,
            )
        if self.mask != INT64 and (self.from_onnx or self.fixed_consumers):
            source = "made from an ONNX file" if self.from_onnx else "for other libraries, which feed int64"
            raise ExportError(
                f"a {self.mask} mask: {source}; expected PyTorch weights, and a fixed graph for a GroqCard",
                "Export with the int64 mask.",
                unused=True,
            )

    @property
    def graph_paths(self) -> dict[GraphKind, str]:
        """The graphs to make, and their paths in the artifact."""
        name = f"model_b{self.shape.batch_size}_s{self.shape.sequence_length}"
        packed = {GraphKind.PACKED: f"{name}_p{self.segments}.onnx"} if self.segments else {}
        fixed = f"{FOLDER}/{name}.onnx" if self.fixed_consumers else f"{name}.onnx"
        return {GraphKind.FIXED: fixed, GraphKind.DYNAMIC: "onnx/model.onnx", **packed}


def resolve_sequence_length(source: ModelSource, length: int | str) -> int:
    """A number of tokens; "model" is the most that the model itself reads. Raises ExportError."""
    if not isinstance(length, str):
        return length
    if length != "model":
        raise ExportError(f"the sequence length: {length!r}; expected a number or 'model'")
    limit = most_tokens(source)
    if limit is None:
        raise ExportError(f"the sequence length of {source.name}: not stated; expected a number of tokens")
    return limit
