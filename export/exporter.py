"""From a model's files to an artifact that is proven before it gets its name."""

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import UNSET, structs
from onnx import ModelProto

from minilmx.errors import ExportError, ModelError, OutputError, boundary
from minilmx.export.checks import check_graphs, interface_of
from minilmx.export.fixed_consumers import write_fixed_consumers
from minilmx.export.folder import model_card, write_consumer_files, write_tokenizer
from minilmx.export.freeze import write_fixed
from minilmx.export.model import ExportableModel
from minilmx.export.onnx_model import DynamicModel, find_onnx_file, find_weights
from minilmx.export.options import (
    ExportOptions,
    record_source,
    reusable_artifact,
    tool_versions,
)
from minilmx.export.parity import Parity, check_parity
from minilmx.export.quantize import QuantizationCost, measure_cost, quantize
from minilmx.export.stated_tokenizer import stated_tokenizer
from minilmx.export.tokens import AutoTokens, TextParity
from minilmx.files.atomic import atomic_folder, check_replaceable
from minilmx.files.digest import sha256_of_file
from minilmx.models.artifact import Artifact, seal
from minilmx.models.external_data import fits_one_file, total_bytes
from minilmx.models.interface import DEFAULT_OPSET, GROQ_MAX_OPSET, SCORE
from minilmx.models.manifest import (
    CARD,
    COSINE,
    FLOAT32,
    INT64,
    MANIFEST_NAME,
    PRECISIONS,
    Graph,
    GraphKind,
    Graphs,
    Manifest,
    Source,
    Truncation,
)
from minilmx.models.model_folder import ModelSource, digest_together, float32_bytes, weights_digest
from minilmx.models.modules import Modules, read_modules, stated_sequence_length
from minilmx.models.onnx_file import GraphFacts, load_onnx, read_facts
from minilmx.models.settings import read_settings
from minilmx.models.support import check_model
from minilmx.models.tokenizer import Tokenizer
from minilmx.progress import SILENT, Progress


@dataclass(frozen=True, slots=True)
class ExportReport:
    """How an export went: the facts of the fixed graph, and the time in seconds.

    `parity` is None if an existing artifact was reused, `cost` (what int8 changed) for float32, and
    `text_parity` also for an ONNX file, which has no PyTorch model to compare texts with.
    """

    facts: GraphFacts
    parity: Parity | None
    text_parity: TextParity | None
    cost: QuantizationCost | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedArtifact(Artifact):
    """An artifact, with the report of its export."""

    report: ExportReport


def artifact_name(source: ModelSource, options: ExportOptions) -> str:
    """The default name of an artifact's folder, such as all-MiniLM-L6-v2-b1-s128."""
    shape, precision = options.shape, options.precision
    ending = "" if options.dimension is None else f"-d{options.dimension}"
    ending += "" if precision == FLOAT32 else f"-{precision}"
    ending += "" if options.mask == INT64 else f"-{options.mask}"
    return f"{source.name}-b{shape.batch_size}-s{shape.sequence_length}{ending}"


def export_model(
    source: ModelSource, output: Path | None, options: ExportOptions, progress: Progress = SILENT
) -> ExportedArtifact:
    """Export a model to an artifact at `output`, or reuse the one of the same inputs.

    The model gives sentence embeddings, or is a cross-encoder. Without `output` it is `artifact_name` here.
    An ONNX file that is int8 makes an int8 artifact.

    All graphs are compared with the model in float32, and quantised afterwards if the precision is int8.

    Raises ModelError for a model that cannot be read, ExportError for a graph that breaks a rule or does
    not equal the model, OutputError if `output` cannot be written.
    """
    started = time.perf_counter()
    check_model(source, onnx=options.from_onnx)
    modules = read_modules(source)
    _require_fit(source, modules, options)
    if source.is_plain and modules.output != SCORE:
        progress.message(f"{source.id} has no modules.json: {modules.pooling} pooling, without normalisation")
    if options.from_onnx:
        file, packages = find_onnx_file(source), ["onnxruntime"]
        onnx_file = (file, load_onnx(file))
        stated = read_facts(onnx_file[1], file)
        opset, precision = stated.opset, _precision_of(file, stated, options)
        weights = find_weights(*onnx_file)
        with boundary(ModelError, f"the weights of {source.id} cannot be read"):
            weights_sha256 = sha256_of_file(file) if len(weights) == 1 else digest_together(weights)
        if options.opset not in (None, opset):
            raise ExportError(
                f"{file}: opset {opset}, which the export keeps; expected opset {options.opset}",
                "Leave the opset to the file.",
                unused=True,
            )
    else:
        onnx_file, packages, precision = None, ["torch", "transformers"], options.precision
        opset, weights_sha256 = options.opset or DEFAULT_OPSET, weights_digest(source)
    if precision != (stated.precision if options.from_onnx else FLOAT32):
        size_bytes = total_bytes(onnx_file[1]) if onnx_file else float32_bytes(source)
        if not fits_one_file(size_bytes):
            raise ExportError(
                f"precision {precision}: {size_bytes:,} bytes of weights; expected less than 2 GiB, as "
                "onnxruntime quantises",
                "Export the model as float32.",
            )
    if opset > GROQ_MAX_OPSET:
        progress.message(f"opset {opset}: not for a GroqCard, whose tools take up to {GROQ_MAX_OPSET}")
    options = replace(options, opset=opset, precision=precision)
    output = output or Path(artifact_name(source, options))
    recorded, tools = record_source(source, weights_sha256), tool_versions(*packages)
    settings, stated_length = read_settings(source), stated_sequence_length(source)

    with boundary(OutputError, f"{output} cannot be written"):
        is_there = output.exists()
    if is_there and not options.replace:
        artifact = reusable_artifact(output, options, recorded, tools, stated_length)
        reused = read_facts(load_onnx(artifact.fixed_graph), artifact.fixed_graph)
        report = ExportReport(reused, None, None, None, time.perf_counter() - started)
        return ExportedArtifact(output, artifact.manifest, artifact.digest, report=report)
    check_replaceable(output, "an artifact", MANIFEST_NAME)

    progress.message("loading the model")
    model = _load_model(source, onnx_file, options.dimension)
    auto = None if options.from_onnx else AutoTokens(source)
    written = auto.tokenizer(pairs=model.output == SCORE) if auto else stated_tokenizer(source)
    longest = model.max_sequence_length
    if longest is not None and options.shape.sequence_length > longest:
        raise ExportError(
            f"sequence length: {options.shape.sequence_length}; expected at most {longest}, the number of "
            f"positions of {source.id}"
        )
    with atomic_folder(output, replace=options.replace) as folder:
        write_tokenizer(written, source, folder, options.shape, pairs=model.output == SCORE)
        tokenizer = Tokenizer(folder / "tokenizer.json", options.shape, mask=options.mask)
        if auto is None and importlib.util.find_spec("transformers") is not None:
            AutoTokens(source).check_ids(tokenizer)
        progress.message("writing the graphs")
        graphs = {kind: folder / path for kind, path in options.graph_paths.items()}
        for kind, path in graphs.items():
            path.parent.mkdir(exist_ok=True)
            if kind != GraphKind.FIXED:
                model.write_graph(kind, options, path)
        fixed = interface_of(GraphKind.FIXED, options, model)
        write_fixed(graphs[GraphKind.DYNAMIC], fixed, graphs[GraphKind.FIXED])
        progress.message("checking the graphs")
        facts = check_graphs(graphs, options, model)
        _require_token_rows(source, tokenizer, facts[GraphKind.FIXED])
        progress.message("comparing the graphs with the model")
        parity = check_parity(graphs, tokenizer, model)
        text_parity = None
        if auto:
            progress.message("comparing texts with the model")
            text_parity = auto.check(tokenizer, graphs[GraphKind.FIXED], model, options.dimension)
        cost = None
        if options.precision != facts[GraphKind.FIXED].precision:
            progress.message("quantising the graphs")
            for kind, path in graphs.items():
                quantize(path, kind)
            cost = measure_cost(graphs, options, tokenizer, model)
            facts = check_graphs(graphs, options, model)
        manifest = structs.replace(
            _manifest(recorded, tools, options, model, modules, facts),
            max_sequence_length=stated_length or UNSET,
        )
        if not manifest.gives_scores:
            manifest = structs.replace(
                manifest,
                prompts=settings.prompts or UNSET,
                default_prompt=settings.default_prompt or UNSET,
                similarity=settings.similarity if settings.similarity != COSINE else UNSET,
            )
        write_consumer_files(source, folder, manifest)
        if options.fixed_consumers:
            write_fixed_consumers(folder, manifest)
        (folder / CARD).write_text(model_card(manifest), encoding="utf-8")
        sealed = seal(folder, manifest)
    seconds = time.perf_counter() - started
    report = ExportReport(facts[GraphKind.FIXED], parity, text_parity, cost, seconds)
    return ExportedArtifact(output, sealed.manifest, sealed.digest, report=report)


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


def _precision_of(file: Path, facts: GraphFacts, options: ExportOptions) -> str:
    """The precision of an artifact made from an ONNX file: the file's own if it is int8."""
    if facts.precision not in PRECISIONS:
        raise ExportError(
            f"{file}: {facts.precision} weights; expected {' or '.join(PRECISIONS)}",
            "Export the model from its PyTorch weights, or from a float32 ONNX file.",
        )
    return options.precision if facts.precision == FLOAT32 else facts.precision


def _require_token_rows(source: ModelSource, tokenizer: Tokenizer, facts: GraphFacts) -> None:
    """Refuse a tokenizer with ids that the model has no embeddings for."""
    rows = facts.token_rows
    beyond = rows and tokenizer.token_beyond(rows)
    if beyond:
        raise ModelError(
            f"the tokenizer of {source.id}: {beyond}; expected ids below {rows}",
            "Resize the model's token embeddings, or remove the token from the tokenizer.",
        )


def _load_model(
    source: ModelSource, onnx_file: tuple[Path, ModelProto] | None, dimension: int | None
) -> ExportableModel:
    if onnx_file is not None:
        return DynamicModel.load(source, *onnx_file, dimension)
    from minilmx.export.graph import TracedModel  # needs torch

    return TracedModel.load(source, dimension)


def _manifest(
    recorded: Source,
    tools: dict[str, str],
    options: ExportOptions,
    model: ExportableModel,
    modules: Modules,
    facts: Mapping[GraphKind, GraphFacts],
) -> Manifest:
    graphs = {
        kind: Graph(path, facts[kind].inputs, facts[kind].outputs)
        for kind, path in options.graph_paths.items()
    }
    fixed = facts[GraphKind.FIXED]
    chosen = options.dimension is not None
    truncated = chosen or model.embedding_dimension < model.model_dimension
    return Manifest(
        source=recorded,
        shape=options.shape,
        embedding_dimension=model.embedding_dimension,
        pooling=model.pooling,
        normalized=model.normalized,
        precision=options.precision,
        opset=fixed.opset,
        ir_version=fixed.ir_version,
        graphs=Graphs(
            graphs[GraphKind.FIXED], graphs[GraphKind.DYNAMIC], graphs.get(GraphKind.PACKED, UNSET)
        ),
        tools=tools,
        files=(),
        token_rows=fixed.token_rows or UNSET,
        head=model.head or UNSET,
        token_dimension=UNSET if modules.is_plain else model.hidden_dimension,
        output=SCORE if model.output == SCORE else UNSET,
        truncation=Truncation(model.model_dimension, chosen) if truncated else UNSET,
    )
