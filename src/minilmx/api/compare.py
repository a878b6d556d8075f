"""Comparing embeddings, wherever they come from."""

from collections.abc import Sequence
from pathlib import Path

from minilmx.api.sides import EmbedderLike, inputs_of, side_of
from minilmx.arguments import require_count
from minilmx.errors import EvalError
from minilmx.eval.datasets.pairs import BUNDLED, load_pairs
from minilmx.eval.datasets.search import read_search
from minilmx.eval.inputs import Inputs
from minilmx.eval.limits import LimitsLike, limit_rules
from minilmx.eval.results import Result
from minilmx.eval.sides.compare import compare_sides
from minilmx.eval.sides.side import is_saved
from minilmx.progress import SILENT, Progress


def compare(
    *sides: EmbedderLike,
    texts: Path | str | Sequence[str] | None = None,
    column: str | None = None,
    dataset: Path | str | None = None,
    queries: Path | str | None = None,
    corpus: Path | str | None = None,
    qrels: Path | str | None = None,
    sample: int | None = None,
    keep_text: bool = False,
    limits: LimitsLike = None,
    preset: str | None = None,
    progress: Progress = SILENT,
) -> Result:
    """Compare embeddings of the same texts, wherever they come from; the first side is the reference.

    A side is a string that `mlx compare` takes: an artifact ("out"), an artifact on a runner with settings
    ("out@openvino:precision=bf16"), a model in sentence-transformers ("model:PATH"), an endpoint
    ("openai:URL?model=NAME", "tei:URL", "ollama:URL?model=NAME", "kserve:URL?model=NAME"), or a file of
    embeddings (.npy, .npz, .parquet or .jsonl), with its record FILE.run.json if there is one. It may also be
    a path, an artifact, an Embedder, any object whose `encode(texts)` returns an array [N, D], or an array.
    float16 and float64 become float32.

    `texts` are strings, or a file as in `embed_file` with the texts in `column`. Rows are joined by the
    column `id` if the texts and a file of embeddings both have it, otherwise by their order. `sample` is
    the number of texts to draw from a file of any size; saved embeddings must contain all its texts. With
    a column `language`, the result shows the drift of each language. Instead of texts, `dataset` names
    graded pairs, as in `evaluate` (the default is "bundled" unless a side is saved embeddings), or
    `queries` and `corpus` are the files of a search in BEIR's layout, with the columns `_id`, `text` and,
    for documents, `title`; `qrels` has the columns query-id, corpus-id and score. Saved embeddings then
    contain the queries, followed by the documents. The result names texts by their ids or rows; with
    `keep_text`, it also contains those that changed most. `limits` and `preset` are as in `evaluate`.
    Raises EvalError for fewer than two sides, other shapes or other inputs, DatasetError, ArtifactError,
    ModelError, OutputError for a file that cannot be read, and RunnerError, also for an endpoint that
    fails.

    Example:
        >>> minilmx.compare("cpu.npy", "card.npy", limits={"max_abs": 1e-2}).passed
        True
    """
    require_count("sample", sample)
    if sum(each is not None for each in (texts, dataset, queries or corpus or qrels)) > 1:
        raise EvalError("texts, a data set and queries: more than one; expected one of them", unused=True)
    if keep_text and texts is None and queries is None:
        raise EvalError("texts to keep: no texts and no queries; expected one of them", unused=True)
    rules = limit_rules(limits)
    search = None
    if queries is not None and corpus is not None:
        found = read_search(str(queries), str(corpus), None if qrels is None else str(qrels))
        search = Inputs(found.name, found.texts, found.ids, search=found)
    elif queries is not None or corpus is not None or qrels is not None:
        raise EvalError("a search: no queries or no corpus; expected both", unused=True)
    sources = [side_of(side) for side in sides]
    if dataset is None and texts is None and search is None and not any(map(is_saved, sources)):
        dataset = BUNDLED
    inputs = search
    if texts is not None or column is not None or sample is not None:
        inputs = inputs_of(() if texts is None else texts, column, sample)
    if dataset is not None:
        pairs = load_pairs(str(dataset), progress=progress)
        inputs = Inputs(pairs.name, pairs.texts, pairs=pairs)
    return compare_sides(sources, inputs, rules, preset, progress, keep_text=keep_text)
