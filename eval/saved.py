"""A comparison of runs that were saved by `mlx run`, perhaps on different machines."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.output_file import RECORD_SUFFIX, read_embeddings, record_path
from minilmx.embedding.record import RECORD_SCHEMA_VERSION, Header, RunRecord
from minilmx.errors import EvalError, boundary
from minilmx.eval.comparison import Comparison
from minilmx.eval.evaluation import Evaluation, RunnerResult
from minilmx.eval.limits import LimitRules, limit_rules
from minilmx.eval.metrics.correlation import Scores
from minilmx.eval.metrics.drift import measure_drift, profile_drift
from minilmx.eval.metrics.retrieval import measure_retrieval
from minilmx.eval.results import Result, check_limits
from minilmx.files.digest import sha256_of_file
from minilmx.files.documents import parse_json, read_document, require_version
from minilmx.models.manifest import COSINE
from minilmx.runners.base import chip_latencies
from minilmx.runners.provenance import record_provenance

_NO_RECORD = "no record"


@dataclass(frozen=True, slots=True)
class SavedRun:
    """Embeddings, float32 [N, D], with their name in the result and their record, if there is one."""

    name: str
    record: RunRecord | None
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _SavedRecord(RunRecord):
    """A run's record as it is saved beside its embeddings."""

    schema_version: int
    output: str
    sha256: str


def load_run(path: Path) -> SavedRun:
    """Load a run by its embeddings file or its record, FILE.run.json.

    Raises EvalError if either is missing, damaged, or not of a run.
    """
    if path.name.endswith(RECORD_SUFFIX):
        path = path.with_name(path.name.removesuffix(RECORD_SUFFIX))
    record = _read_record(record_path(path))
    try:
        found = sha256_of_file(path)
    except OSError as error:
        raise EvalError(f"{path} cannot be read: {error.strerror}") from error
    if found != record.sha256:
        raise EvalError(f"{path}: SHA-256 {found}, which is not what was saved; expected {record.sha256}")
    values = read_embeddings(path)
    if len(values) != record.sentences:
        raise EvalError(f"{path}: {len(values)} embeddings; expected {record.sentences}")
    return SavedRun(path.name, record, values)


def _read_record(path: Path) -> _SavedRecord:
    with boundary(EvalError, f"{path} cannot be read as a run's record"):
        document = parse_json(read_document(path))
        require_version(document["schema_version"], RECORD_SCHEMA_VERSION, str(path), EvalError)
        return msgspec.convert(document, _SavedRecord)


def compare_saved(
    sources: Sequence[Path | NDArray[np.float32]],
    rules: LimitRules | None = None,
    preset: str | None = None,
) -> Result:
    """Compare embeddings, files or float32 [N, D] arrays, with the first of them.

    A file's record FILE.run.json states where it comes from; without it the result says "no record".
    Raises EvalError for fewer than two, other shapes or other inputs.
    """
    if len(sources) < 2:
        raise EvalError(f"comparing saved embeddings: found {len(sources)}; expected at least two")
    runs = [_load(source, number) for number, source in enumerate(sources, 1)]
    for run in runs:
        _require_same(runs[0], run)
    rows = [f"row {number}" for number in range(len(runs[0].values))]
    evaluation = Evaluation(
        **_header(runs[0]),
        sentences=len(rows),
        dataset="saved embeddings",
        dataset_revision=None,
        language=None,
        split=None,
        pairs=0,
        texts_per_row=1,
        gold=(),
        runners=tuple(_result(runs[0], run, rows) for run in runs),
        noise=None,
        ladder=None,
        provenance=record_provenance(),
    )
    return check_limits([evaluation], rules or limit_rules(None), preset)


def _header(run: SavedRun) -> dict[str, Any]:
    """The fields of a header that a record states."""
    if run.record is None:
        texts = dict.fromkeys(("artifact", "artifact_sha256", "model", "inputs_sha256"), _NO_RECORD)
        unknown = dict.fromkeys(("model_revision", "batch_size", "sequence_length", "prompt"))
        return {**texts, **unknown, "similarity": COSINE, "truncated_sentences": 0}
    others = ("sentences", "provenance")
    return {
        field.name: getattr(run.record, field.name) for field in fields(Header) if field.name not in others
    }


def _result(first: SavedRun, run: SavedRun, rows: list[str]) -> RunnerResult:
    record = run.record
    return RunnerResult(
        runner=run.name,
        graph=record.graph if record else None,
        details={
            **(record.details if record else {}),
            "runner": record.runner if record else _NO_RECORD,
            "artifact_sha256": record.artifact_sha256 if record else _NO_RECORD,
        },
        versions=record.versions if record else {},
        finite=bool(np.isfinite(run.values).all()),
        scores=Scores(None, None),
        similarities=None,
        comparison=None if run is first else _compare_rows(first, run.values, rows),
        invariance=None,
        timing=record.timing if record else None,
        **chip_latencies(record.details if record else {}),
    )


def _require_same(first: SavedRun, run: SavedRun) -> None:
    """Refuse runs over other inputs, or with embeddings of another shape."""
    if first.record and run.record and first.record.inputs_sha256 != run.record.inputs_sha256:
        digests = f"{run.record.inputs_sha256}; expected {first.record.inputs_sha256}"
        raise EvalError(f"{run.name}: other inputs than {first.name}: {digests}")
    if run.values.shape != first.values.shape:
        shapes = f"{list(run.values.shape)}; expected {list(first.values.shape)}"
        raise EvalError(f"{run.name}: embeddings of another shape than {first.name}: {shapes}")


def _compare_rows(first: SavedRun, values: NDArray[np.float32], rows: list[str]) -> Comparison:
    reference, similarity = first.values, first.record.similarity if first.record else COSINE
    drift = measure_drift(reference, values)
    if not drift.finite:
        return Comparison(drift, None, None, None, None, None, None)
    profile = profile_drift(reference, values, rows, None)
    retrieval = measure_retrieval(reference, values, rows, similarity)
    return Comparison(drift, profile, None, None, None, None, retrieval)


def _load(source: Path | NDArray[np.float32], number: int) -> SavedRun:
    if isinstance(source, np.ndarray):
        if source.dtype != np.float32 or source.ndim != 2:
            found = f"{source.dtype} {list(source.shape)}"
            raise EvalError(f"array {number}: {found}; expected float32 [N, D]")
        return SavedRun(f"array {number}", None, source)
    source = Path(source)
    if source.name.endswith(RECORD_SUFFIX) or record_path(source).exists():
        run = load_run(source)
        return SavedRun(f"{number}: {run.name}", run.record, run.values)
    return SavedRun(f"{number}: {source.name}", None, read_embeddings(source))
