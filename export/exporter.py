"""From a model's files to a proven artifact under its final name."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import UNSET

from minilmx.errors import ExportError
from minilmx.export.checks import check_dynamic_graph, check_fixed_graph, check_packed_graph
from minilmx.export.fixed_consumers import FOLDER, write_fixed_consumers
from minilmx.export.folder import write_consumer_files, write_model_card, write_tokenizer
from minilmx.export.options import Request, check_replaceable, make_request, reusable_artifact
from minilmx.export.parity import Parity, Reference, check_parity
from minilmx.export.quantize import QuantizationCost, measure_cost, quantize_weights
from minilmx.files.atomic import atomic_folder
from minilmx.models.artifact import Artifact, seal
from minilmx.models.interface import DEFAULT_OPSET, MAX_OPSET, MIN_OPSET
from minilmx.models.manifest import FLOAT32, MAX_SIZE, Graph, Graphs, Manifest, Shape
from minilmx.models.onnx_file import GraphFacts, load_onnx, read_facts
from minilmx.models.source import ModelSource, weights_file

TWIN = "onnx/model.onnx"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class GraphMaker:
    """What makes both graphs of a model and judges them: PyTorch, or a dynamic ONNX file.

    `write(fixed, twin)` writes two files; `reference` is the truth that parity is measured
    against.
    """

    write: Callable[[Path, Path], None]
    write_packed: Callable[[Path], None] | None
    reference: Reference
    pooling: str
    normalized: bool
    dimension: int
    max_sequence_length: int | None


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export made. `parity` is None where the same artifact was there already.

    `cost` is what int8 changed, None for float32.
    """

    artifact: Artifact
    facts: GraphFacts
    parity: Parity | None
    cost: QuantizationCost | None
    seconds: float


def artifact_name(source: ModelSource, shape: Shape, precision: str = FLOAT32) -> str:
    """The folder name an artifact gets by default, as in all-MiniLM-L6-v2-b1-s128."""
    ending = "" if precision == FLOAT32 else f"-{precision}"
    return f"{source.name}-b{shape.batch_size}-s{shape.sequence_length}{ending}"


def export_model(
    source: ModelSource,
    output: Path,
    shape: Shape,
    opset: int | None = None,
    *,
    segments: int | None = None,
    fixed_consumers: bool = False,
    precision: str = FLOAT32,
    from_onnx: bool = False,
    replace_existing: bool = False,
    say: Say = lambda message: None,
) -> ExportReport:
    """Export a sentence-embedding model to an artifact at `output`.

    From PyTorch weights (needs the extra `export`; opset 16 unless given), or with `from_onnx`
    from an ONNX file with dynamic axes, without torch and at the file's own opset. With
    `segments` (PyTorch only) the artifact also has a packed graph, whose rows hold up to that
    many texts. With `fixed_consumers` the fixed graph comes with the settings by which other
    libraries run it (export/fixed_consumers.py).

    With the precision "int8" all graphs are proven in float32 first and quantised
    then (export/quantize.py). An artifact that the same inputs made is reused.

    Raises ModelError for a model that cannot be read, ExportError where a graph is not what it
    must be or does not equal the model, OutputError where `output` cannot be written.
    """
    started = time.perf_counter()
    if from_onnx:
        if segments is not None:
            raise ExportError("a packed graph is made from PyTorch: leave out --pack or --from-onnx")
        from minilmx.export.freeze import onnx_file

        file = onnx_file(source)
        found = read_facts(load_onnx(file)).opset
        if opset not in (None, found):
            raise ExportError(f"{file} is opset {found}, and freezing keeps it: leave out --opset")
        opset, packages = found, ["onnxruntime"]
    else:
        file = weights_file(source)
        opset, packages = opset or DEFAULT_OPSET, ["torch", "transformers"]
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise ExportError(f"the opset is {opset}, expected {MIN_OPSET} to {MAX_OPSET}")
    sizes = (shape.batch_size, shape.sequence_length, segments or 1)
    if not 1 <= min(sizes) <= max(sizes) <= MAX_SIZE:
        packed = f" with {segments} texts per packed row" if segments else ""
        raise ExportError(f"the shape {shape}{packed}; expected numbers from 1 to {MAX_SIZE}")
    request = make_request(source, file, shape, segments, fixed_consumers, precision, opset, packages)

    if output.exists() and not replace_existing:
        artifact = reusable_artifact(output, request)
        facts = read_facts(load_onnx(artifact.fixed_graph))
        return ExportReport(artifact, facts, None, None, time.perf_counter() - started)
    if output.exists():
        check_replaceable(output)

    say("loading the model")
    maker = _freezer(source, file, shape) if from_onnx else _exporter(source, shape, segments, opset)
    longest = maker.max_sequence_length
    if longest is not None and shape.sequence_length > longest:
        raise ExportError(
            f"sequence length {shape.sequence_length} is more than the {longest} positions that "
            f"{source.id} has"
        )
    artifact, facts, parity, cost = _build(source, output, request, maker, replace_existing, say)
    return ExportReport(artifact, facts, parity, cost, time.perf_counter() - started)


def _exporter(source: ModelSource, shape: Shape, segments: int | None, opset: int) -> GraphMaker:
    from minilmx.export.graph import write_graph, write_packed_graph
    from minilmx.models.pytorch import load_model

    model = load_model(source)

    def write(fixed: Path, twin: Path) -> None:
        write_graph(model, shape, opset, fixed)
        write_graph(model, None, opset, twin)

    def write_packed(packed: Path) -> None:
        write_packed_graph(model, shape, segments or 1, opset, packed)

    return GraphMaker(
        write,
        write_packed if segments else None,
        model.run,
        model.pooling,
        model.normalized,
        model.embedding_dimension,
        model.max_sequence_length,
    )


def _freezer(source: ModelSource, file: Path, shape: Shape) -> GraphMaker:
    from minilmx.export.freeze import load_dynamic_model

    model = load_dynamic_model(source, file)
    return GraphMaker(
        lambda fixed, twin: model.write(fixed, twin, shape),
        None,
        model.reference,
        model.pooling,
        model.normalized,
        model.dimension,
        model.max_sequence_length,
    )


def _build(
    source: ModelSource,
    output: Path,
    request: Request,
    maker: GraphMaker,
    replace_existing: bool,
    say: Say,
) -> tuple[Artifact, GraphFacts, Parity, QuantizationCost | None]:
    """Write, check and prove everything in a temporary folder, then give it its name."""
    shape, opset = request.shape, request.opset
    with atomic_folder(output, replace=replace_existing) as folder:
        name = f"model_b{shape.batch_size}_s{shape.sequence_length}.onnx"
        if request.fixed_consumers:
            name = f"{FOLDER}/{name}"
        fixed, twin = folder / name, folder / TWIN
        for graph in (fixed, twin):
            graph.parent.mkdir(exist_ok=True)
        write_tokenizer(source, folder, shape)
        say("writing the graphs")
        maker.write(fixed, twin)
        packed = None
        if maker.write_packed and request.segments:
            packed = folder / f"model_b{shape.batch_size}_s{shape.sequence_length}_p{request.segments}.onnx"
            maker.write_packed(packed)

        def check() -> tuple[GraphFacts, Graph, Graph | None]:
            facts = check_fixed_graph(fixed, shape, maker.dimension, opset)
            twin_facts = check_dynamic_graph(twin, opset)
            packed_graph = None
            if packed and request.segments:
                found = check_packed_graph(packed, shape, request.segments, maker.dimension, opset)
                packed_graph = Graph(packed.name, found.inputs, found.outputs)
            return facts, Graph(TWIN, twin_facts.inputs, twin_facts.outputs), packed_graph

        say("checking the graphs")
        facts, twin_graph, packed_graph = check()
        say("comparing the graphs with the model")
        tokenizer_file = folder / "tokenizer.json"
        parity = check_parity(fixed, twin, tokenizer_file, shape, maker.reference, packed)
        cost = None
        if request.precision != FLOAT32:
            say("quantising the graphs")
            for graph in filter(None, (fixed, twin, packed)):
                quantize_weights(graph)
            cost = measure_cost(fixed, tokenizer_file, shape, maker.reference)
            facts, twin_graph, packed_graph = check()
        write_consumer_files(source, folder, shape, maker.dimension, maker.pooling, maker.normalized)
        if request.fixed_consumers:
            write_fixed_consumers(folder, fixed, shape)
        manifest = Manifest(
            source=request.source,
            shape=shape,
            embedding_dimension=maker.dimension,
            pooling=maker.pooling,
            normalized=maker.normalized,
            precision=request.precision,
            opset=facts.opset,
            ir_version=facts.ir_version,
            graphs=Graphs(Graph(name, facts.inputs, facts.outputs), twin_graph, packed_graph or UNSET),
            tools=dict(request.tools),
            files=(),
        )
        write_model_card(folder, manifest)
        sealed = seal(folder, manifest)
    return replace(sealed, path=output), facts, parity, cost
