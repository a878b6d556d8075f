"""Exporting a model."""

from pathlib import Path

from minilmx.arguments import require_choice, require_int
from minilmx.export import exporter
from minilmx.export.exporter import ExportedArtifact
from minilmx.export.options import ExportOptions, resolve_sequence_length
from minilmx.files.atomic import require_local
from minilmx.models.known import DEFAULT_MODEL
from minilmx.models.manifest import FLOAT32, INT64, MASKS, PRECISIONS, Shape
from minilmx.models.source import resolve_model
from minilmx.progress import SILENT, Progress


def export_model(
    model: str = DEFAULT_MODEL,
    output: Path | str | None = None,
    *,
    batch_size: int = 1,
    sequence_length: int | str = 128,
    dimension: int | None = None,
    opset: int | None = None,
    pack: int | None = None,
    precision: str = FLOAT32,
    fixed_consumers: bool = False,
    from_onnx: bool = False,
    revision: str | None = None,
    pooling: str | None = None,
    mask: str = INT64,
    replace: bool = False,
    progress: Progress = SILENT,
) -> ExportedArtifact:
    """Export a model to an artifact and prove that it equals the model.

    `model` is a folder of sentence-transformers or transformers, a known name or a hub id; `pooling` ("mean",
    "cls", "max", "mean_sqrt_len_tokens", "weightedmean" or "lasttoken") is for a model that does not state
    its own, and is mean by default, as in sentence-transformers. `output` is the folder to create (by default
    ./MODEL-bBATCH-sLENGTH). `sequence_length` is in tokens, or "model" for the model's own limit. `dimension`
    is how many numbers of every embedding to keep, renormalised if the model normalises, for a model that was
    trained for it. `pack` adds a packed graph and is the largest number of texts per row; `precision` is
    "float32" or "int8"; `from_onnx` freezes an ONNX file with dynamic axes instead of reading PyTorch
    weights; `mask` is the dtype of the fixed graph's attention_mask, "int64" or, as in Groq's proof point,
    "bool". The same artifact, if it exists already, is verified and reused. The `report` of the returned
    Artifact has the facts of the fixed graph, the parity with the model and, from text to embedding, with
    sentence-transformers, the cost of int8 and the time in seconds. Raises ModelError, ExportError and
    OutputError.

    Example:
        >>> minilmx.export_model("all-MiniLM-L6-v2", "out").shape
        Shape(batch_size=1, sequence_length=128)
    """
    if output is not None:
        require_local(Path(output))
    if not isinstance(sequence_length, str):
        require_int("sequence_length", sequence_length)
    sizes = {"batch_size": batch_size, "dimension": dimension, "opset": opset, "pack": pack}
    for name, size in sizes.items():
        require_int(name, size)
    require_choice("precision", precision, PRECISIONS)
    require_choice("mask", mask, MASKS)

    def options_for(length: int) -> ExportOptions:
        shape = Shape(batch_size, length)
        return ExportOptions(
            shape, opset, pack, precision, fixed_consumers, from_onnx, replace, dimension, mask
        )

    options_for(1 if isinstance(sequence_length, str) else sequence_length)  # refused before a download
    source = resolve_model(model, revision, onnx=from_onnx, pooling=pooling, progress=progress)
    progress.message(f"source: {source.note}")
    options = options_for(resolve_sequence_length(source, sequence_length))
    return exporter.export_model(source, Path(output) if output else None, options, progress)
