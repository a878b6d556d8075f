"""From a model's files to an artifact that is proven before it gets its name."""

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import UNSET

from minilmx.errors import ExportError, ModelError, OutputError, boundary
from minilmx.export.checks import check_graphs, interface_of
from minilmx.export.fixed_consumers import write_fixed_consumers
from minilmx.export.folder import model_card, write_consumer_files, write_tokenizer
from minilmx.export.freeze import write_fixed
from minilmx.export.model import ExportableModel
from minilmx.export.onnx_model import DynamicModel
from minilmx.export.options import ExportOptions
from minilmx.export.parity import Parity, check_parity
from minilmx.export.plan import ExportPlan, plan_export, reusable_artifact
from minilmx.export.quantize import QuantizationCost, measure_cost, quantize
from minilmx.export.stated_tokenizer import stated_tokenizer
from minilmx.export.tokens import AutoTokens, TextParity
from minilmx.files.atomic import atomic_folder, check_folder_writable
from minilmx.models.artifact import Artifact, seal
from minilmx.models.interface import SCORE
from minilmx.models.manifest import (
    CARD,
    COSINE,
    Graph,
    GraphKind,
    Graphs,
    Manifest,
    Truncation,
)
from minilmx.models.model_folder import ModelSource
from minilmx.models.onnx_file import GraphFacts, load_onnx, read_facts
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
    plan = plan_export(source, output, options, progress)
    with boundary(OutputError, f"{plan.output} cannot be written"):
        is_there = plan.output.exists()
    if is_there and not options.replace:
        artifact = reusable_artifact(plan)
        facts = read_facts(load_onnx(artifact.fixed_graph), artifact.fixed_graph)
        report = ExportReport(facts, None, None, None, time.perf_counter() - started)
    else:
        check_folder_writable(plan.output, replace=plan.replaces)
        artifact, report = _write_artifact(plan, progress, started)
    return ExportedArtifact(plan.output, artifact.manifest, artifact.digest, report=report)


def _write_artifact(plan: ExportPlan, progress: Progress, started: float) -> tuple[Artifact, ExportReport]:
    source, options = plan.source, plan.options
    progress.message("loading the model")
    model = _load_model(plan)
    scores = model.output == SCORE
    auto = None if plan.onnx_file else AutoTokens(source)
    written = auto.tokenizer(pairs=scores) if auto else stated_tokenizer(source)
    _require_positions(plan, model)
    with atomic_folder(plan.output, replace=plan.replaces) as folder:
        write_tokenizer(written, source, folder, options.shape, pairs=scores)
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
        manifest = _manifest(plan, model, facts)
        write_consumer_files(source, folder, manifest)
        if options.fixed_consumers:
            write_fixed_consumers(folder, manifest)
        (folder / CARD).write_text(model_card(manifest), encoding="utf-8")
        sealed = seal(folder, manifest)
    seconds = time.perf_counter() - started
    return sealed, ExportReport(facts[GraphKind.FIXED], parity, text_parity, cost, seconds)


def _load_model(plan: ExportPlan) -> ExportableModel:
    if plan.onnx_file is not None:
        return DynamicModel.load(plan.source, *plan.onnx_file, plan.options.dimension)
    from minilmx.export.graph import TracedModel  # needs torch

    return TracedModel.load(plan.source, plan.options.dimension)


def _require_positions(plan: ExportPlan, model: ExportableModel) -> None:
    """Refuse a sequence length that the model has no positions for. Raises ExportError."""
    length, longest = plan.options.shape.sequence_length, model.max_sequence_length
    if longest is not None and length > longest:
        raise ExportError(
            f"sequence length: {length}; expected at most {longest}, the number of positions of "
            f"{plan.source.id}"
        )


def _require_token_rows(source: ModelSource, tokenizer: Tokenizer, facts: GraphFacts) -> None:
    """Refuse a tokenizer with ids that the model has no embeddings for."""
    rows = facts.token_rows
    beyond = rows and tokenizer.token_beyond(rows)
    if beyond:
        raise ModelError(
            f"the tokenizer of {source.id}: {beyond}; expected ids below {rows}",
            "Resize the model's token embeddings, or remove the token from the tokenizer.",
        )


def _manifest(plan: ExportPlan, model: ExportableModel, facts: Mapping[GraphKind, GraphFacts]) -> Manifest:
    options, settings, scores = plan.options, plan.settings, model.output == SCORE
    graphs = {
        kind: Graph(path, facts[kind].inputs, facts[kind].outputs)
        for kind, path in options.graph_paths.items()
    }
    fixed = facts[GraphKind.FIXED]
    chosen = options.dimension is not None
    truncated = chosen or model.embedding_dimension < model.model_dimension
    return Manifest(
        source=plan.recorded,
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
        tools=plan.tools,
        files=(),
        token_rows=fixed.token_rows or UNSET,
        head=model.head or UNSET,
        token_dimension=UNSET if plan.modules.is_plain else model.hidden_dimension,
        output=SCORE if scores else UNSET,
        truncation=Truncation(model.model_dimension, chosen) if truncated else UNSET,
        max_sequence_length=plan.max_sequence_length or UNSET,
        prompts=UNSET if scores else settings.prompts or UNSET,
        default_prompt=UNSET if scores else settings.default_prompt or UNSET,
        similarity=UNSET if scores or settings.similarity == COSINE else settings.similarity,
    )
