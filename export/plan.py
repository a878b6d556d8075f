"""What an export makes and from what: all that is known before anything is loaded or written."""

import hashlib
import importlib.util
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from onnx import ModelProto

import minilmx
from minilmx.errors import ArtifactError, ExportError, ModelError, OutputError, boundary
from minilmx.export.folder import COPIED, READ, find_setting
from minilmx.export.onnx_model import find_onnx_file, find_weights
from minilmx.export.options import ExportOptions
from minilmx.files.atomic import FolderKind
from minilmx.files.digest import sha256_of_file
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.external_data import fits_one_file, total_bytes
from minilmx.models.interface import DEFAULT_OPSET, GROQ_MAX_OPSET, SCORE
from minilmx.models.manifest import ARTIFACT, FLOAT32, INT64, POOLINGS, PRECISIONS, GraphKind, Source
from minilmx.models.model_folder import (
    ModelSource,
    dense_files,
    digest_together,
    float32_bytes,
    list_modules,
    weights_digest,
)
from minilmx.models.modules import Modules, read_modules, stated_sequence_length
from minilmx.models.onnx_file import load_onnx, read_facts
from minilmx.models.settings import ModelSettings, read_settings
from minilmx.models.support import check_model
from minilmx.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPlan:
    """What an export makes and from what.

    `options` state the opset and the precision of the artifact, `recorded` and `tools` what its manifest
    records of its origin, and `max_sequence_length` what the model's own files state. `onnx_file` is
    the file that is frozen, and its content.
    """

    source: ModelSource
    modules: Modules
    settings: ModelSettings
    options: ExportOptions
    output: Path
    recorded: Source
    tools: dict[str, str]
    max_sequence_length: int | None
    onnx_file: tuple[Path, ModelProto] | None

    @property
    def replaces(self) -> FolderKind | None:
        """What may be replaced at `output`."""
        return ARTIFACT if self.options.replace else None


def artifact_name(source: ModelSource, options: ExportOptions) -> str:
    """The default name of an artifact's folder, such as all-MiniLM-L6-v2-b1-s128."""
    shape, precision = options.shape, options.precision
    ending = "" if options.dimension is None else f"-d{options.dimension}"
    ending += "" if precision == FLOAT32 else f"-{precision}"
    ending += "" if options.mask == INT64 else f"-{options.mask}"
    return f"{source.name}-b{shape.batch_size}-s{shape.sequence_length}{ending}"


def plan_export(
    source: ModelSource, output: Path | None, options: ExportOptions, progress: Progress
) -> ExportPlan:
    """Read what the model's files state, and settle what the options leave open.

    Raises ModelError for a model that cannot be read, and ExportError for options that it does not take.
    """
    check_model(source, onnx=options.from_onnx)
    modules = read_modules(source)
    _require_fit(source, modules, options)
    if source.is_plain and modules.output != SCORE:
        progress.message(f"{source.id} has no modules.json: {modules.pooling} pooling, without normalisation")
    if options.from_onnx:
        file = find_onnx_file(source)
        content = load_onnx(file)
        settled, weights_sha256 = _settle_from_onnx(source, file, content, options)
        onnx_file, packages = (file, content), ["onnxruntime"]
    else:
        settled = replace(options, opset=options.opset or DEFAULT_OPSET)
        if settled.precision != FLOAT32:
            _require_quantizable(float32_bytes(source), settled.precision)
        weights_sha256 = weights_digest(source)
        onnx_file, packages = None, ["torch", "transformers"]
    if settled.opset is not None and settled.opset > GROQ_MAX_OPSET:
        progress.message(
            f"opset {settled.opset}: not for a GroqCard, whose tools take up to {GROQ_MAX_OPSET}"
        )
    return ExportPlan(
        source=source,
        modules=modules,
        settings=read_settings(source),
        options=settled,
        output=output or Path(artifact_name(source, settled)),
        recorded=_record_source(source, weights_sha256),
        tools=_tool_versions(*packages),
        max_sequence_length=stated_sequence_length(source),
        onnx_file=onnx_file,
    )


def reusable_artifact(plan: ExportPlan) -> Artifact:
    """The artifact at `plan.output` if the same inputs made it. Raises OutputError otherwise."""
    output, options = plan.output, plan.options
    hint = "Choose another output, or allow it to be replaced."
    try:
        artifact = open_artifact(output)
    except ArtifactError as error:
        raise OutputError(f"{output} exists and cannot be reused: {error.message}", hint) from error
    made = artifact.manifest
    chosen = made.embedding_dimension if made.truncation and made.truncation.renormalized else None
    for what, found, expected in (
        ("model", made.source, plan.recorded),
        ("shape", made.shape, options.shape),
        ("number of texts per row", artifact.packed_segments, options.segments),
        ("place of the fixed graph", made.fixed.path, options.graph_paths[GraphKind.FIXED]),
        ("dimension", chosen, options.dimension),
        ("sequence length of the model", made.max_sequence_length or None, plan.max_sequence_length),
        ("precision", made.precision, options.precision),
        ("type of the mask", made.mask, options.mask),
        ("opset", made.opset, options.opset),
        ("tool version", made.tools, plan.tools),
    ):
        if found != expected:
            raise OutputError(f"{output} exists, made from another {what}", hint)
    return artifact


def _settle_from_onnx(
    source: ModelSource, file: Path, content: ModelProto, options: ExportOptions
) -> tuple[ExportOptions, str]:
    """The options with the opset and precision that the file decides, and the digest of its weights."""
    facts = read_facts(content, file)
    if facts.precision not in PRECISIONS:
        raise ExportError(
            f"{file}: {facts.precision} weights; expected {' or '.join(PRECISIONS)}",
            "Export the model from its PyTorch weights, or from a float32 ONNX file.",
        )
    if options.opset not in (None, facts.opset):
        raise ExportError(
            f"{file}: opset {facts.opset}, which the export keeps; expected opset {options.opset}",
            "Leave the opset to the file.",
            unused=True,
        )
    weights = find_weights(file, content)  # before their sizes, as it refuses what cannot be external data
    precision = options.precision if facts.precision == FLOAT32 else facts.precision
    if precision != facts.precision:
        _require_quantizable(total_bytes(content), precision)
    with boundary(ModelError, f"the weights of {source.id} cannot be read"):
        weights_sha256 = sha256_of_file(file) if len(weights) == 1 else digest_together(weights)
    return replace(options, opset=facts.opset, precision=precision), weights_sha256


def _require_quantizable(size_bytes: int, precision: str) -> None:
    if not fits_one_file(size_bytes):
        raise ExportError(
            f"precision {precision}: {size_bytes:,} bytes of weights; expected less than 2 GiB, as "
            "onnxruntime quantises",
            "Export the model as float32.",
        )


def _require_fit(source: ModelSource, modules: Modules, options: ExportOptions) -> None:
    """Refuse options that this kind of model does not take. Raises ModelError and ExportError."""
    if modules.output == SCORE:
        _require_scores(source, options)
    if source.pooling and not source.is_plain:
        raise ModelError(
            f"pooling {source.pooling!r}: {source.id} has a modules.json, which states {modules.pooling} "
            "pooling; expected a pooling only for a model without modules.json",
            "Leave the pooling to the model.",
            unused=True,
        )
    if options.fixed_consumers and modules.dense:
        raise ExportError(
            f"a fixed graph for other libraries: {source.id} has Dense modules; expected none",
            "Export without the settings for other libraries' fixed graphs.",
            unused=True,
        )


def _require_scores(source: ModelSource, options: ExportOptions) -> None:
    """Refuse for a cross-encoder what is for embeddings, and an export without proof. Raises ExportError."""
    for what, is_asked in (
        ("a packed graph", options.segments is not None),
        ("a fixed graph for other libraries", options.fixed_consumers),
        (f"dimension {options.dimension}", options.dimension is not None),
        (f"precision {options.precision}", options.precision != FLOAT32),
        (f"pooling {source.pooling!r}", source.pooling is not None),
        ("an ONNX file", options.from_onnx),
    ):
        if is_asked:
            raise ExportError(
                f"{what}: {source.id} is a cross-encoder, which scores pairs of texts; expected a "
                "model that gives embeddings",
                "Export it in float32 from its PyTorch weights, without this setting.",
                unused=True,
            )
    if importlib.util.find_spec("sentence_transformers") is None:
        raise ExportError(
            f"{source.id} is a cross-encoder, whose scores are compared with those of sentence-transformers, "
            "which is not installed",
            "Run pip install sentence-transformers.",
        )


def _record_source(source: ModelSource, weights_sha256: str) -> Source:
    """The manifest's record of the model: its id, and the digests of everything that is read.

    Raises ModelError for a file that cannot be read.
    """
    state = hashlib.sha256()
    poolings = [f"{path}/config.json" for _, path in list_modules(source)[1:2]]
    pooling = [(name, source.folder / name) for name in poolings]
    files = [(name, find_setting(source, name)) for name in (*READ, *COPIED)]
    dense = [(file.parent.name, file.parent / "config.json") for file in dense_files(source)]
    for name, file in [("modules.json", source.folder / "modules.json"), *pooling, *files, *dense]:
        with boundary(ModelError, f"{file} cannot be read"):
            if file.is_file():
                state.update(f"{name} {sha256_of_file(file)}\n".encode())
    if source.is_plain:
        state.update(f"pooling {source.pooling or POOLINGS[0]}\n".encode())
    return Source(source.id, source.revision, source.origin, weights_sha256, state.hexdigest())


def _tool_versions(*packages: str) -> dict[str, str]:
    """The versions of what determines the bytes. Raises ExportError if a package is not installed."""
    try:
        versions = {name: metadata.version(name) for name in ("onnx", "tokenizers", *packages)}
    except metadata.PackageNotFoundError as missing:
        raise ExportError(
            f"an export needs {missing.name}, which is not installed", "Run pip install 'minilmx[export]'."
        ) from missing
    return {"minilmx": minilmx.__version__} | versions
