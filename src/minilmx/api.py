"""The public functions: one for each thing that minilmx does.

The command line calls exactly these. They raise MinilmxError, whose `message` says what is wrong and
whose `hint` says what to do, and TypeError or ValueError for an argument that cannot be. Every function
takes a `progress` (minilmx.Progress), which reports what takes long.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from minilmx.arguments import require_choice, require_count, require_int, require_strings
from minilmx.embedding.embedder import Embedder
from minilmx.embedding.record import RunRecord
from minilmx.errors import EvalError, RunnerError, boundary
from minilmx.files.formats import BY_NAME, TextFormat
from minilmx.models import artifact as artifacts
from minilmx.models.artifact import Artifact
from minilmx.models.known import DEFAULT_MODEL
from minilmx.models.manifest import FLOAT32, INT64, MASKS, PRECISIONS, GraphKind
from minilmx.progress import SILENT, Progress
from minilmx.runners.base import RunnerEntry
from minilmx.runners.registry import (
    AUTO,
    choose_graph,
    default_runners,
    find_runner,
    option_names,
    require_runner,
)

if TYPE_CHECKING:
    from minilmx.embedding.corpus.job import Summary
    from minilmx.embedding.corpus.worker import Job
    from minilmx.eval.benchmark import Benchmark
    from minilmx.eval.bisect.bisect import Bisection
    from minilmx.eval.consumers.check import Finding
    from minilmx.eval.golden import Golden
    from minilmx.eval.inputs import Inputs
    from minilmx.eval.limits import LimitsLike
    from minilmx.eval.proof_point import Reproduction
    from minilmx.eval.results import Result
    from minilmx.export.exporter import ExportedArtifact
    from minilmx.runners.groq.cache import Build
    from minilmx.runners.groq.doctor import Check

# What only some of the functions need is imported within them: `mlx run` takes no scipy.

ArtifactLike = Artifact | Path | str
# What `compare` takes: see there.
EmbedderLike = Any


def open_artifact(path: Path | str) -> Artifact:
    """Open an artifact, a folder or hf://ID[@REVISION] on the hub, and verify every byte of it.

    Raises ArtifactError if it does not exist, is damaged, or is of an unknown schema.

    Example:
        >>> artifact = minilmx.open_artifact("out")
        >>> artifact.manifest.embedding_dimension
        384
    """
    return artifacts.open_artifact(Path(path))


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
) -> "ExportedArtifact":
    """Export a model to an artifact and prove that it equals the model.

    `model` is a folder of sentence-transformers or transformers, a known name or a hub id; `pooling`
    ("mean", "cls" or "max") is for a model that does not state its own, and is mean by default, as in
    sentence-transformers. `output` is the folder to make (by default MODEL-bBATCH-sLENGTH here).
    `sequence_length` is in tokens, or "model" for the most that the model itself reads. `dimension` keeps
    so many numbers of every embedding, renormalised if the model normalises, for a model that was trained
    for it. `pack` adds a packed graph of up to so many texts per row; `precision` is "float32" or "int8";
    `from_onnx` freezes an ONNX file with dynamic axes instead of reading PyTorch weights; `mask` is the
    dtype of the fixed graph's attention_mask, "int64" or, as in Groq's proof point, "bool". The same
    artifact, if it exists already, is verified and reused. The `report` of the returned Artifact has the
    facts of the fixed graph, the parity with the model and, from text to embedding, with sentence-
    transformers, the cost of int8 and the time in seconds. Raises ModelError, ExportError and OutputError.

    Example:
        >>> minilmx.export_model("all-MiniLM-L6-v2", "out").shape
        Shape(batch_size=1, sequence_length=128)
    """
    from minilmx.export import exporter
    from minilmx.export.options import ExportOptions, resolve_sequence_length
    from minilmx.files.atomic import require_local
    from minilmx.models.manifest import Shape
    from minilmx.models.source import resolve_model

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


def load(
    artifact: ArtifactLike,
    runner: str | RunnerEntry = "onnxruntime",
    graph: str = AUTO,
    *,
    prompt: str | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> Embedder:
    """Open a runner on an artifact, to embed texts with `encode`.

    `graph` is "auto" (the first of the dynamic-shape, the packed and the fixed graph that the artifact has
    and the runner takes), "dynamic", "fixed" or "packed". `prompt` names one of the model's prompts, which is
    prepended to every text instead of the model's default prompt, if it has one. `options` are the runner's
    own, such as `threads`. Raises ArtifactError, and RunnerError for a runner or option that does not exist
    or cannot run here.

    Example:
        >>> with minilmx.load("out") as model:
        ...     vectors = model.encode(["One sentence.", "Another one."])
        >>> vectors.shape, vectors.dtype
        ((2, 384), dtype('float32'))
    """
    opened = _opened(artifact, prompt, runner)
    return Embedder(opened, runner, graph, progress, **options)


def embed_file(
    artifact: ArtifactLike,
    source: Path | str,
    output: Path | str,
    *,
    column: str | None = None,
    text_format: TextFormat = BY_NAME,
    on_empty: str = "error",
    prompt: str | None = None,
    runner: str = "onnxruntime",
    graph: str = AUTO,
    replace: bool = False,
    progress: Progress = SILENT,
    **options: Any,
) -> RunRecord:
    """Embed the sentences of a file into `output`: .npy, .npz, .parquet or .jsonl.

    `source` is a text file (one sentence per line), CSV, TSV, JSON, JSONL or Parquet, a URL of one, or "-"
    for standard input; `column` names the column of the sentences, and `text_format` says what the file's
    name does not. `prompt` is as in `load`. A row without a text is an error unless `on_empty` is "skip" or,
    for .parquet and .jsonl, "null". The record of the run is written to OUTPUT.run.json and returned. Raises
    DatasetError, OutputError, ArtifactError or RunnerError.

    Example:
        >>> minilmx.embed_file("out", "sentences.txt", "embeddings.npy").sentences
        2
    """
    from minilmx.embedding.output_file import check_output, save_embeddings
    from minilmx.files.texts import NULL, open_texts

    target = Path(output)
    check_output(target, replace=replace, nulls=on_empty == NULL)
    opened = _opened(artifact, prompt, runner)
    texts = open_texts(str(source), column, text_format, on_empty)
    with load(opened, runner, graph, progress=progress, **options) as embedder:
        chunks = embedder.stream(texts, advance=progress.start(runner, texts.count))
        record = save_embeddings(
            target,
            embedder.dimension,
            chunks,
            embedder.record,
            replace=replace,
            empty_lines=texts.empty_lines,
        )
    if texts.empty_note:
        progress.message(texts.empty_note)
    return record


def score_file(
    artifact: ArtifactLike,
    source: Path | str,
    output: Path | str,
    *,
    text_columns: tuple[str, str] | None = None,
    text_format: TextFormat = BY_NAME,
    runner: str = "onnxruntime",
    graph: str = AUTO,
    replace: bool = False,
    progress: Progress = SILENT,
    **options: Any,
) -> RunRecord:
    """Score the pairs of texts of a file with a cross-encoder's artifact into `output`: .jsonl or .npy.

    `source` is CSV, TSV, JSON, JSONL or Parquet, a URL of one, or "-" for standard input; `text_columns` name
    other columns than sentence1 and sentence2, and `text_format` says what the file's name does not. The
    record of the run is written to OUTPUT.run.json and returned; its sentences are the pairs. Raises
    DatasetError, OutputError, ArtifactError, also for an artifact that gives embeddings, or RunnerError.

    Example:
        >>> minilmx.score_file("reranker", "pairs.jsonl", "scores.jsonl").sentences
        2
    """
    from minilmx.embedding.score_file import check_score_output, save_scores
    from minilmx.embedding.scorer import Scorer
    from minilmx.files.pairs import open_pairs

    target = Path(output)
    check_score_output(target, replace=replace)
    opened = _opened(artifact, None, runner, scores=True)
    pairs = open_pairs(str(source), text_columns, text_format)
    with Scorer(opened, runner, graph, progress, **options) as scorer:
        chunks = scorer.stream(pairs, advance=progress.start(runner, pairs.count))
        return save_scores(target, chunks, scorer.record, replace=replace)


def embed_corpus(
    artifact: ArtifactLike,
    inputs: Sequence[Path | str],
    output: Path | str,
    *,
    column: str | None = None,
    id_column: str | None = None,
    keep_text: bool = False,
    text_format: TextFormat = BY_NAME,
    on_empty: str = "error",
    prompt: str | None = None,
    format: str = "parquet",
    dtype: str = "float32",
    shard_rows: int = 32_768,
    workers: int | None = None,
    engine: str = "local",
    ray_address: str | None = None,
    cpus_per_worker: int = 1,
    runner: str = "onnxruntime",
    graph: str = AUTO,
    restart: bool = False,
    progress: Progress = SILENT,
    **options: Any,
) -> "Summary":
    """Embed a corpus, of any number of files, into a folder of shards.

    `inputs` are files, folders, patterns and URLs of these. The other columns of the inputs are kept. A row
    without a text is an error unless `on_empty` is "skip" or "null". `prompt` is as in `load`. `format` is
    "parquet" or "lance"; `engine` is "local" or "ray". A run that was interrupted resumes when it
    is called again with the same arguments; `restart` removes its shards first. Raises DatasetError for
    bad inputs, before any work, OutputError, ArtifactError or RunnerError.

    Example:
        >>> minilmx.embed_corpus("out", ["corpus/"], "embeddings/", column="text").rows
        2
    """
    from minilmx.cpus import available_cpus
    from minilmx.embedding.corpus import job as corpus
    from minilmx.embedding.corpus.local_engine import ProcessEngine
    from minilmx.embedding.corpus.source import Reading
    from minilmx.embedding.corpus.worker import Job
    from minilmx.files.atomic import require_local

    names: Any = inputs
    if isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes):
        names = [str(each) if isinstance(each, Path) else each for each in inputs]
    require_strings("inputs", names)
    for name, count in (
        ("shard_rows", shard_rows),
        ("workers", workers),
        ("cpus_per_worker", cpus_per_worker),
    ):
        require_count(name, count)
    require_choice("format", format, ("parquet", "lance"))
    require_choice("dtype", dtype, ("float32", "float16"))
    require_choice("engine", engine, ("local", "ray"))
    require_local(Path(output))
    chosen = choose_graph(_opened(artifact, prompt), runner, graph)
    options = {**options}
    if "threads" in option_names(runner) and options.get("threads") is None:
        if engine == "ray":
            options["threads"] = cpus_per_worker
        elif workers is not None:
            options["threads"] = max(1, available_cpus() // workers)
    require_runner(runner, **options)
    if "cards" in option_names(runner):
        _require_cards(runner, options, engine, workers or 1)

    def open_engine(job: "Job") -> AbstractContextManager[Any]:
        if engine == "ray":
            from minilmx.embedding.corpus.ray_engine import RayEngine

            return closing(RayEngine.open(job, ray_address, workers, cpus_per_worker))
        return nullcontext(ProcessEngine(job, workers or 1))

    return corpus.embed_corpus(
        names,
        Reading(column, id_column, keep_text, text_format, on_empty),
        Job(chosen, runner, options),
        corpus.Output(Path(output), shard_rows, dtype, format),
        open_engine,
        restart=restart,
        progress=progress,
    )


def _require_cards(runner: str, options: dict[str, Any], engine: str, workers: int) -> None:
    """Raise RunnerError unless each of several workers can have its cards."""
    cards = options.get("cards", 1)
    if engine == "ray":
        if cards != 1:
            raise RunnerError(f"cards: {cards}; expected 1 with the Ray engine")
    elif workers > 1:
        if cards == "all":
            raise RunnerError(f"cards: all; expected a number of cards for each of the {workers} workers")
        require_runner(runner, **options | {"cards": cards * workers})


def evaluate(
    artifact: ArtifactLike,
    runners: Sequence[str] = (),
    dataset: Path | str = "bundled",
    *,
    languages: Sequence[str] = (),
    split: str | None = None,
    limit: int | None = None,
    text_format: TextFormat = BY_NAME,
    text_columns: tuple[str, str] | None = None,
    score_column: str | None = None,
    limits: "LimitsLike" = None,
    prompt: str | None = None,
    preset: str | None = None,
    graph: str = AUTO,
    ladder: bool = False,
    progress: Progress = SILENT,
    **options: Any,
) -> "Result":
    """Run an artifact on several runners over identical inputs and compare their embeddings or scores.

    The first of `runners` is the reference; without any, onnxruntime is compared with groq, or with
    groq-emulator if no GroqCard is found. `dataset` is "bundled", "stsb", "mteb:TASK" for an STS task of
    mteb, a hub id or a file of graded sentence pairs. `languages` belongs to hub data sets and tasks; `split`
    chooses their split, or that of a file with a column of that name; `limit` keeps the first pairs;
    `text_format` says what a file's name does not; and `text_columns` and `score_column` name other columns
    than sentence1, sentence2 and score. Scores may be on any scale. `limits` maps limit names to numbers, or
    is the path of a limits.toml. `preset` is "float32", "float16", "bfloat16" or "int8", on which the verdict
    stands; by default, the precision of what is compared chooses it. `prompt` is as in `load`. Each runner
    takes those of the `options` that it has. Raises DatasetError, ArtifactError, RunnerError and EvalError.

    Example:
        >>> result = minilmx.evaluate(
        ...     "out", ["onnxruntime", "groq-emulator"], limit=20, limits={"max_abs": 1e-3}
        ... )
        >>> result.passed
        True
    """
    from minilmx.eval import evaluation
    from minilmx.eval.datasets.pairs import PairColumns, expand_languages, load_pairs, require_limit
    from minilmx.eval.limits import limit_rules
    from minilmx.eval.results import check_limits

    require_strings("runners", runners)
    require_strings("languages", languages)
    require_count("limit", limit)
    dataset = str(dataset)
    opened = _opened(artifact, prompt, scores=True)
    rules = limit_rules(limits)
    names = list(runners)
    if not names:
        names, note = default_runners(opened)
        progress.message(note)
    columns = PairColumns(text_columns, score_column)
    data = [
        load_pairs(dataset, each, split, limit, text_format, columns, progress)
        for each in expand_languages(dataset, languages)
    ]
    for each in data:
        require_limit(each, limit)
    evaluations = tuple(
        evaluation.evaluate(opened, names, pairs, graph, options, ladder=ladder, progress=progress)
        for pairs in data
    )
    return check_limits(evaluations, rules, preset)


def compare(
    *sides: "EmbedderLike",
    texts: Path | str | Sequence[str] | None = None,
    column: str | None = None,
    dataset: Path | str | None = None,
    queries: Path | str | None = None,
    corpus: Path | str | None = None,
    qrels: Path | str | None = None,
    sample: int | None = None,
    keep_text: bool = False,
    limits: "LimitsLike" = None,
    preset: str | None = None,
    progress: Progress = SILENT,
) -> "Result":
    """Compare embeddings of the same texts, wherever they come from; the first side is the reference.

    A side is a string that `mlx compare` takes: an artifact ("out"), an artifact on a runner with settings
    ("out@openvino:precision=bf16"), a model in sentence-transformers ("model:PATH"), an endpoint
    ("openai:URL?model=NAME", "tei:URL", "ollama:URL?model=NAME", "kserve:URL?model=NAME"), or a file of
    embeddings (.npy, .npz, .parquet or .jsonl), with its record FILE.run.json if there is one. It may also be
    a path, an artifact, an Embedder, any object whose `encode(texts)` returns an array [N, D], or an array.
    float16 and float64 become float32.

    `texts` are strings, or a file as `embed_file` reads it, of which `column` holds the texts. Rows are
    joined by the column `id` if the texts and a file of embeddings both have it, otherwise by their order.
    `sample` draws so many texts of a file, which may then be of any size: embeddings of all its texts are
    joined with these. A column `language` shows the drift of each language.
    `dataset` is graded pairs instead, as in `evaluate`: "bundled" unless a side is saved embeddings.
    `queries` and `corpus` are files of a search in BEIR's layout instead, with the columns `_id`, `text` and,
    of documents, `title`; `qrels` has the columns query-id, corpus-id and score. Saved embeddings are then
    those of the queries, followed by those of the documents. The result names texts by their ids or rows;
    with `keep_text`, those that changed most are in it. `limits`
    and `preset` are as in `evaluate`. Raises EvalError for fewer than two sides, other shapes or other
    inputs, DatasetError, ArtifactError, ModelError, OutputError for a file that cannot be read, and
    RunnerError, also for an endpoint that fails.

    Example:
        >>> minilmx.compare("cpu.npy", "card.npy", limits={"max_abs": 1e-2}).passed
        True
    """
    from minilmx.eval.datasets.pairs import BUNDLED, load_pairs
    from minilmx.eval.datasets.search import read_search
    from minilmx.eval.inputs import Inputs
    from minilmx.eval.limits import limit_rules
    from minilmx.eval.sides import compare_sides, is_saved

    require_count("sample", sample)
    if sum(each is not None for each in (texts, dataset, queries or corpus or qrels)) > 1:
        raise EvalError("texts, a data set and queries: more than one; expected one of them", unused=True)
    rules = limit_rules(limits)
    search = None
    if queries is not None and corpus is not None:
        found = read_search(str(queries), str(corpus), None if qrels is None else str(qrels))
        search = Inputs(found.name, found.texts, found.ids, search=found)
    elif queries is not None or corpus is not None or qrels is not None:
        raise EvalError("a search: no queries or no corpus; expected both", unused=True)
    sources = [_source(side) for side in sides]
    if dataset is None and texts is None and search is None and not any(map(is_saved, sources)):
        dataset = BUNDLED
    inputs = search
    if texts is not None or column is not None or sample is not None:
        inputs = _inputs(() if texts is None else texts, column, sample)
    if dataset is not None:
        pairs = load_pairs(str(dataset), progress=progress)
        inputs = Inputs(pairs.name, pairs.texts, pairs=pairs)
    if keep_text and (inputs is None or inputs.pairs is not None):
        raise EvalError("texts to keep: no texts and no queries; expected one of them", unused=True)
    return compare_sides(sources, inputs, rules, preset, progress, keep_text=keep_text)


def _source(side: EmbedderLike) -> Any:
    """What a comparison takes, for one side as a user names it."""
    from minilmx.embedders.spelling import artifact_embedder, read_spelling

    if isinstance(side, Artifact):
        return artifact_embedder(side)
    return read_spelling(str(side)) if isinstance(side, Path | str) else side


def _inputs(texts: Path | str | Sequence[str], column: str | None, sample: int | None = None) -> "Inputs":
    """The texts of a file or of a sequence, for which a column or a sample raises EvalError."""
    from minilmx.eval.inputs import Inputs, read_inputs

    if isinstance(texts, Path | str):
        return read_inputs(str(texts), column, sample)
    if column is not None:
        raise EvalError(f"the column {column!r}: no file of texts; expected one", unused=True)
    if sample is not None:
        raise EvalError(f"a sample of {sample}: no file of texts; expected one", unused=True)
    require_strings("texts", texts)
    return Inputs("texts", texts)


def create_golden(
    golden: Path | str,
    embedder: EmbedderLike,
    texts: Path | str | Sequence[str],
    *,
    column: str | None = None,
    preset: str | None = None,
    replace: bool = False,
    progress: Progress = SILENT,
) -> "Golden":
    """Embed texts and keep them with their embeddings in a golden file, for `check_golden`.

    `embedder` and `texts` are as in `compare`, without saved embeddings. `preset` is the one that checks go
    by, unless they name another. Raises EvalError for no texts and for embeddings that are not finite,
    OutputError, and what `compare` raises.

    Example:
        >>> minilmx.create_golden("new.safetensors", "out", ["One sentence.", "Another one."]).values.shape
        (2, 384)
    """
    from minilmx.eval.golden import save_golden
    from minilmx.eval.presets import require_preset
    from minilmx.eval.sides import embed_golden, is_saved
    from minilmx.files.atomic import check_writable

    if preset is not None:
        require_preset(preset)
    check_writable(Path(golden), replace=replace)
    source = _source(embedder)
    if is_saved(source):
        raise EvalError("a golden file of saved embeddings; expected an embedder")
    record, values = embed_golden(source, _inputs(texts, column).texts, preset, progress)
    return save_golden(Path(golden), record, values, replace=replace)


def check_golden(
    golden: "Path | str | Golden",
    embedder: EmbedderLike,
    *,
    limits: "LimitsLike" = None,
    preset: str | None = None,
    progress: Progress = SILENT,
) -> "Result":
    """Embed a golden file's texts again, and compare: have the embeddings changed?

    `embedder`, `limits` and `preset` are as in `compare`; without a preset, the golden file's own one
    applies, if it has one. Raises EvalError, also for a file that is not a golden file, and what `compare`
    raises.

    Example:
        >>> minilmx.check_golden("golden.safetensors", "out").passed
        True
    """
    from minilmx.eval.golden import Golden, read_golden
    from minilmx.eval.inputs import Inputs
    from minilmx.eval.limits import limit_rules
    from minilmx.eval.sides import compare_sides

    kept = golden if isinstance(golden, Golden) else read_golden(Path(golden))
    inputs = Inputs(kept.name, kept.record.texts)
    preset = preset or kept.record.preset
    return compare_sides([kept, _source(embedder)], inputs, limit_rules(limits), preset, progress)


def bisect(
    artifact: ArtifactLike,
    reference: str = "onnxruntime",
    candidate: str | None = None,
    *,
    candidate_artifact: ArtifactLike | None = None,
    dataset: Path | str = "bundled",
    language: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    text_format: TextFormat = BY_NAME,
    text_columns: tuple[str, str] | None = None,
    score_column: str | None = None,
    threshold: float = 0.01,
    graph: str = AUTO,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> "Bisection":
    """Find the step of an artifact's graph that causes the drift between two runners or artifacts.

    Compares the tensors at the boundaries of the model's layers over the first `limit` pairs (None: up to 64)
    of a data set, which is chosen as in `evaluate`. Its `verdict` says whether the sentence embeddings are
    still the same.
    `candidate` is the reference's runner unless it is given; one of `candidate` and
    `candidate_artifact` is needed. Raises EvalError, RunnerError, ArtifactError and DatasetError.

    Example:
        >>> minilmx.bisect("out", candidate="groq-emulator", limit=8).largest_share
        'layer 4 MLP'
    """
    from minilmx.eval.bisect import bisect as bisection
    from minilmx.eval.datasets.pairs import PairColumns, load_pairs, require_limit

    if candidate is None and candidate_artifact is None:
        raise EvalError("there is nothing to compare with", "Name a candidate runner or artifact.")
    if candidate == reference and candidate_artifact is None:
        raise EvalError(
            f"the candidate: {candidate}, which is the reference; expected another runner or artifact",
            unused=True,
        )
    require_count("limit", limit)
    pairs = load_pairs(
        str(dataset), language, split, limit or 64, text_format, PairColumns(text_columns, score_column)
    )
    require_limit(pairs, limit)
    return bisection.bisect(
        _opened(artifact),
        reference,
        candidate or reference,
        pairs,
        candidate_artifact=None if candidate_artifact is None else _opened(candidate_artifact),
        threshold=threshold,
        graph=graph,
        threads=threads,
        progress=progress,
    )


def benchmark(
    artifact: ArtifactLike,
    texts: Path | str | None = None,
    *,
    column: str | None = None,
    runners: Sequence[str] = ("onnxruntime",),
    graphs: Sequence[str] = (),
    rounds: int = 5,
    progress: Progress = SILENT,
    **options: Any,
) -> "Benchmark":
    """Measure runners of an artifact side by side on the same texts, in interleaved rounds.

    Every runner runs with every one of `graphs` ("dynamic", "fixed", "packed"; without any, all that
    it takes); the first combination is the baseline. Without `texts`, a file, the bundled
    sentences are used. Raises RunnerError, ArtifactError, DatasetError and EvalError.

    Example:
        >>> benchmark = minilmx.benchmark("out", "sentences.txt", graphs=["dynamic", "fixed"], rounds=1)
        >>> [timing.contender.name for timing in benchmark.timings]
        ['onnxruntime dynamic', 'onnxruntime fixed']
    """
    from minilmx.eval.benchmark import choose_contenders, measure
    from minilmx.eval.datasets.pairs import BUNDLED, load_pairs
    from minilmx.files.texts import read_texts

    require_strings("runners", runners)
    require_strings("graphs", graphs)
    require_count("rounds", rounds)
    opened = _opened(artifact)
    contenders = choose_contenders(opened, runners, graphs)
    sentences = load_pairs(BUNDLED).texts if texts is None else read_texts(str(texts), column)
    name = BUNDLED if texts is None else Path(texts).name
    return measure(opened, contenders, sentences, name, options, rounds, progress)


def check(
    artifact: ArtifactLike,
    consumers: Sequence[str] = (),
    *,
    pythons: Sequence[Path] = (),
    node_modules: Path | None = None,
    time_limit_seconds: float = 300.0,
    progress: Progress = SILENT,
) -> "list[Finding]":
    """Prove an artifact in every library that is installed and can open it.

    Each library runs its snippet in a separate process, over real sentences from one token to
    truncated, in batches of 1, 7 and 32, against the artifact's own embeddings (its fixed graph on
    onnxruntime). `consumers` names libraries that must be installed. Raises EvalError.

    Example:
        >>> [finding.state for finding in minilmx.check("out", ["onnxruntime"])]
        ['agrees']
    """
    from minilmx.eval.consumers.check import MISSING, check_consumers
    from minilmx.eval.consumers.places import find_places
    from minilmx.eval.consumers.registry import CONSUMERS
    from minilmx.eval.consumers.snippets.template import has_fixed_settings, is_offered
    from minilmx.eval.consumers.texts import varied_texts

    require_strings("consumers", consumers)
    opened = _opened(artifact)
    if opened.manifest.precision != FLOAT32:
        raise EvalError(
            f"{opened.path}: precision {opened.manifest.precision}, whose embeddings differ from library to "
            "library; expected float32",
            "Check the float32 artifact of the same model.",
        )
    for name in consumers:
        if name not in CONSUMERS:
            raise EvalError(f"the consumer {name!r} does not exist; expected one of {', '.join(CONSUMERS)}")
    graphs = {"dynamic", "fixed"} if has_fixed_settings(opened) else {"dynamic"}
    chosen = [CONSUMERS[name] for name in dict.fromkeys(consumers)]
    chosen = chosen or [
        each for each in CONSUMERS.values() if each.graph in graphs and is_offered(each.name, opened)
    ]
    places = find_places(pythons, node_modules)
    texts = varied_texts(opened)
    with load(opened, graph=GraphKind.FIXED) as embedder:
        reference = embedder.encode(texts)
    findings = []
    for finding in check_consumers(opened, chosen, places, texts, reference, time_limit_seconds, progress):
        if consumers and finding.state == MISSING:
            raise EvalError(f"{finding.consumer} is not installed: {finding.reason}", finding.remedy)
        findings.append(finding)
    return findings


def build_for_groq(
    artifact: ArtifactLike,
    bundle: Path | str | None = None,
    *,
    graph: str = AUTO,
    effort: str = "standard",
    groqview: bool = False,
    time_limit_seconds: float = 3600.0,
    replace: bool = False,
    progress: Progress = SILENT,
) -> "Build":
    """Build an artifact's graph for a GroqCard with GroqFlow, or take its build from the cache.

    `bundle` is a file to also write the build to, for the machine with the card; `graph` is "auto" (the
    packed graph if the artifact has it), "fixed" or "packed". `effort` is that of Groq's compiler, "standard"
    or "high"; `groqview` also writes the folder that Groq's viewer opens. Each of them makes a build of its
    own, which runs as a bundle: a run that names no bundle takes the build without them. `replace` builds
    again, and replaces the bundle if it exists. Raises ValueError for another effort, ArtifactError,
    OutputError, RunnerUnavailable if GroqFlow is not installed, and RunnerFailed if the build fails.

    Example:
        >>> build_for_groq("out", "minilm.tar").facts["chips"]
        1
    """
    from minilmx.files.atomic import check_writable
    from minilmx.runners.groq.build import build_artifact
    from minilmx.runners.groq.bundle import write_bundle
    from minilmx.runners.groq.cache import CompilerOptions

    options = CompilerOptions(effort, groqview)
    target = None if bundle is None else Path(bundle)
    if target is not None:
        check_writable(target, replace=replace)
    chosen = choose_graph(_opened(artifact), "groq", graph)
    build = build_artifact(
        chosen,
        options=options,
        time_limit_seconds=time_limit_seconds,
        rebuild=replace,
        progress=progress,
    )
    if target is not None:
        write_bundle(build, chosen, target, replace=replace)
    return build


def groq_build_job(
    artifact: Path | str, bundle: Path | str, *, scheduler: str = "pbs", graph: str = AUTO
) -> str:
    """A batch script that builds an artifact on one node and writes the bundle; it is not started.

    `scheduler` is "pbs" (a whole node, as at ALCF) or "slurm". Nothing is read, and paths are kept as they
    are: relative ones are in the folder from which the job is submitted. Raises ValueError for another
    scheduler.

    Example:
        >>> groq_build_job("out", "minilm.tar").splitlines()[1]
        '#PBS -l select=1,place=excl'
    """
    from minilmx.runners.groq.job import build_job

    return build_job(scheduler, Path(artifact), Path(bundle), graph)


def groq_run_job(
    artifact: Path | str,
    bundle: Path | str,
    source: Path | str,
    embeddings: Path | str,
    *,
    column: str | None = None,
    scheduler: str = "pbs",
    graph: str = AUTO,
) -> str:
    """A batch script that embeds the file `source` into `embeddings` with a bundle on the card's node.

    As `groq_build_job`; with "slurm" the job asks for one card, as at ORNL.

    Example:
        >>> script = groq_run_job("out", "minilm.tar", "texts.txt", "card.npy", scheduler="slurm")
        >>> script.splitlines()[1]
        '#SBATCH --gres=groq:card:1'
    """
    from minilmx.runners.groq.job import run_job

    return run_job(scheduler, Path(artifact), Path(bundle), str(source), Path(embeddings), column, graph)


def groq_standalone(
    artifact: ArtifactLike,
    bundle: Path | str,
    source: Path | str,
    folder: Path | str,
    *,
    column: str | None = None,
    graph: str = AUTO,
    replace: bool = False,
) -> int:
    """Write the card's side of a run as a folder that needs nothing of minilmx; returns the number of texts.

    The folder has the bundle, the token batches of the texts in `source`, and run.py, which needs numpy
    below 2 and Groq's runtime. What it writes is a run for `compare`. Raises ArtifactError, DatasetError,
    OutputError, and RunnerFailed for a bundle of another artifact or graph.

    Example:
        >>> groq_standalone("out", "minilm.tar", "sentences.txt", "to-the-card")
        2
    """
    from minilmx.embedding.standalone import write_folder
    from minilmx.files.atomic import check_writable
    from minilmx.files.texts import open_texts

    check_writable(Path(folder), replace=replace, folder=True)
    chosen = choose_graph(_opened(artifact), "groq", graph)
    texts = open_texts(str(source), column, BY_NAME, "error")
    return write_folder(chosen, Path(bundle), texts, Path(folder), replace=replace)


def reproduce_groq(
    artifact: ArtifactLike | None = None,
    dataset: Path | str = "stsb",
    *,
    limit: int | None = None,
    bundle: Path | str | None = None,
    progress: Progress = SILENT,
) -> "Reproduction":
    """Run Groq's own proof point of all-MiniLM-L6-v2 on a GroqCard, and embed its sentences on the CPU.

    As Groq does: batches of one pair at [2, 128], pairs over 128 tokens dropped, `last_hidden_state`
    pooled on the host, scipy's Spearman correlation. The CPU runs the dynamic-shape graph. Without an
    `artifact`, all-MiniLM-L6-v2 is exported with a bool mask to all-MiniLM-L6-v2-b2-s128-bool here, or
    reused if it exists. `dataset` is as in `evaluate`, by default Groq's; `limit` keeps its first pairs.
    `bundle` is a build of another machine. Raises EvalError for another artifact than the proof point's,
    RunnerUnavailable without a GroqCard, RunnerFailed, DatasetError, ArtifactError, and what
    `export_model` raises.

    Example:
        >>> found = reproduce_groq("all-MiniLM-L6-v2-b2-s128-bool", "bundled", limit=2)
        >>> found.pairs, found.dropped
        (2, 0)
    """
    from minilmx.eval.datasets.pairs import load_pairs, require_limit
    from minilmx.eval.proof_point import PROOF_SHAPE, reproduce, require_proof_artifact

    require_count("limit", limit)
    build = None if bundle is None else Path(bundle)
    if artifact is not None:
        artifact = _opened(artifact)
        require_proof_artifact(artifact)
    require_runner("groq", bundle=build)  # before a download or an export
    pairs = load_pairs(str(dataset), limit=limit, progress=progress)
    require_limit(pairs, limit)
    if artifact is None:
        size, length = PROOF_SHAPE.batch_size, PROOF_SHAPE.sequence_length
        artifact = export_model(batch_size=size, sequence_length=length, mask="bool", progress=progress)
        progress.message(f"artifact: {artifact.path}")
    return reproduce(artifact, pairs, build, progress)


def selftest_groq(*, progress: Progress = SILENT) -> "list[Check]":
    """Compile two small graphs, fixed and packed, with GroqFlow, and call each 100 times on the GroqCard.

    They are of a shipped BERT of one layer with random weights, and have the operators of a real model's
    graphs. The checks answer whether they compile, the types that the program takes and gives, whether its
    results repeat bit by bit, the milliseconds per call, and the error against the CPU. Raises
    RunnerUnavailable if this machine cannot build for a card and run on it.

    Example:
        >>> [check.name for check in selftest_groq() if not check.ok]
        []
    """
    from minilmx.runners.groq.selftest import run_selftest

    require_runner("groq")
    return run_selftest(progress)


def push(
    artifact: ArtifactLike,
    repository: str,
    *,
    result: "Result | Path | str | None" = None,
    progress: Progress = SILENT,
) -> str:
    """Upload an artifact to `repository`, "org/name" on the hub; returns hf://org/name@COMMIT.

    The files that the manifest lists and the model card are uploaded, in one commit; a repository that does
    not exist is made. `result` is an evaluation of this artifact, whose correlations with gold scores the
    model card then states. The token is huggingface_hub's own. Raises ArtifactError for a damaged artifact
    or a file that the export does not write, EvalError for a result of another artifact or without scores,
    and OutputError if the hub refuses the upload or cannot be reached.

    Example:
        >>> try:
        ...     minilmx.push("out", "my-model")
        ... except minilmx.MinilmxError as error:
        ...     print(error)
        the repository 'my-model'; expected a hub id (org/name)
    """
    from minilmx.publishing import require_repository, upload

    require_repository(repository)
    if isinstance(result, Path | str):
        from minilmx.eval.document import load_document
        from minilmx.eval.results import Result

        result = load_document(Path(result), Result)
    return upload(_opened(artifact), repository, result, progress)


def load_result(path: Path | str) -> "Result | Benchmark":
    """Read a saved result of `evaluate`, `compare` or `benchmark`. Raises EvalError.

    Example:
        >>> minilmx.load_result("result.json").passed
        True
    """
    from minilmx.eval.benchmark import Benchmark
    from minilmx.eval.document import load_document
    from minilmx.eval.results import Result

    return cast("Result | Benchmark", load_document(Path(path), Result, Benchmark))


def limits_of(result: "Result", limits: "LimitsLike" = None, preset: str | None = None) -> "Result":
    """A saved result with other limits or another preset; see `evaluate`. Raises EvalError.

    Example:
        >>> limits_of(minilmx.load_result("result.json"), {"max_abs": 1e-9}).passed
        False
    """
    from minilmx.eval.limits import limit_rules
    from minilmx.eval.results import check_limits

    rules = limit_rules(limits)
    with boundary(EvalError, "the result cannot be judged"):
        return check_limits(result.evaluations, rules, preset)


def _opened(
    artifact: ArtifactLike,
    prompt: str | None = None,
    runner: str | RunnerEntry | None = None,
    *,
    scores: bool = False,
) -> Artifact:
    """The artifact, verified here unless it is for a runner that verifies what it reads.

    Raises ArtifactError for a cross-encoder's, unless it is for `scores`.
    """
    if not isinstance(artifact, Artifact):
        verify = runner is None or not find_runner(runner).verifies
        artifact = artifacts.open_artifact(Path(artifact), verify=verify)
    if not scores:
        artifact.require_embeddings()
    return artifact if prompt is None else artifact.with_prompt(prompt)
