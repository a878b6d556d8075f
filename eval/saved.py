"""Runs that were saved by `mlx run`, perhaps on different machines, compared."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.output_file import read_embeddings, record_path
from minilmx.embedding.record import RECORD_SCHEMA_VERSION
from minilmx.errors import EvalError
from minilmx.eval.comparison import Comparison
from minilmx.eval.evaluation import Evaluation, RunnerResult
from minilmx.eval.limits import LimitRules, limit_rules
from minilmx.eval.metrics.correlation import Scores
from minilmx.eval.metrics.drift import measure_drift, profile_drift
from minilmx.eval.metrics.retrieval import measure_retrieval
from minilmx.eval.results import Result, check_limits
from minilmx.files.digest import sha256_of_file
from minilmx.runners.provenance import record_provenance

_RECORD_SUFFIX = ".run.json"
_NO_RECORD = "no record"
_STATED = ("artifact_sha256", "inputs_sha256", "runner", "model")


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A run's record (see RunRecord.to_document) and its embeddings, float32 [N, D]."""

    path: Path
    record: Mapping[str, Any]
    values: NDArray[np.float32]


def load_run(path: Path) -> SavedRun:
    """Load a run by its embeddings file or its record, FILE.run.json.

    Raises EvalError if either is missing, damaged, or not of a run.
    """
    if path.name.endswith(_RECORD_SUFFIX):
        path = path.with_name(path.name.removesuffix(_RECORD_SUFFIX))
    record_file = record_path(path)
    try:
        record = json.loads(record_file.read_text(encoding="utf-8"))
        version, digest, rows = record["schema_version"], record["sha256"], record["rows"]
        comparable = [record[key] for key in _STATED]
        details = record["details"]
    except FileNotFoundError as error:
        raise EvalError(f"{path} is not a saved run: {record_file} does not exist") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}"
        raise EvalError(f"{record_file} cannot be read as a run's record: {what}") from error
    if version != RECORD_SCHEMA_VERSION:
        raise EvalError(
            f"{record_file} has schema version {version!r}, and this minilmx reads {RECORD_SCHEMA_VERSION}"
        )
    if not (isinstance(details, dict) and all(isinstance(value, str) for value in comparable)):
        raise EvalError(f"{record_file} cannot be read as a run's record: it is not of a run")
    try:
        found = sha256_of_file(path)
    except OSError as error:
        raise EvalError(f"{path} cannot be read: {error.strerror}") from error
    if found != digest:
        raise EvalError(f"{path} is not what was saved: SHA-256 {found}, expected {digest}")
    values = read_embeddings(path)
    if len(values) != rows:
        raise EvalError(f"{path} has {len(values)} embeddings, expected {rows}")
    return SavedRun(path, record, values)


def compare_saved(sources: Sequence[Path | NDArray[np.float32]], rules: LimitRules | None = None) -> Result:
    """Compare embeddings, files or float32 [N, D] arrays, with the first of them.

    A file's record FILE.run.json states where it comes from; without it the result says "no record".
    Raises EvalError for fewer than two, other shapes or other inputs.
    """
    if len(sources) < 2:
        raise EvalError(f"comparing saved embeddings: found {len(sources)}; expected at least two")
    loaded = [_load(source, number) for number, source in enumerate(sources, 1)]
    (_, first, reference) = loaded[0]
    for name, record, values in loaded:
        inputs, expected = record.get("inputs_sha256"), first.get("inputs_sha256")
        if inputs and expected and inputs != expected:
            raise EvalError(f"{name}: other inputs than {loaded[0][0]}: {inputs}; expected {expected}")
        if values.shape != reference.shape:
            shapes = f"{list(values.shape)}; expected {list(reference.shape)}"
            raise EvalError(f"{name}: embeddings of another shape than {loaded[0][0]}: {shapes}")
    rows = [f"row {number}" for number in range(len(reference))]
    results = []
    for number, (name, record, values) in enumerate(loaded):
        artifact = record.get("artifact_sha256", _NO_RECORD)
        results.append(
            RunnerResult(
                runner=name,
                details={
                    **record.get("details", {}),
                    "runner": record.get("runner", _NO_RECORD),
                    "artifact_sha256": artifact,
                },
                versions=record.get("versions", {}),
                scores=Scores(None, None),
                similarities=None,
                comparison=_compare_rows(reference, values, rows) if number else None,
                batches=record.get("batches"),
                seconds=record.get("seconds"),
                sentences_per_second=record.get("sentences_per_second"),
                latency_seconds=record.get("latency_seconds"),
                estimated_on_chip_seconds=None,
            )
        )
    evaluation = Evaluation(
        artifact=first.get("artifact", _NO_RECORD),
        artifact_sha256=first.get("artifact_sha256", _NO_RECORD),
        model=first.get("model", _NO_RECORD),
        model_revision=None,
        batch_size=None,
        sequence_length=None,
        texts_per_row=1,
        dataset="saved embeddings",
        dataset_revision=None,
        language=None,
        split=None,
        pairs=0,
        sentences=len(reference),
        truncated_sentences=first.get("truncated_rows", 0),
        inputs_sha256=first.get("inputs_sha256", _NO_RECORD),
        gold=(),
        runners=tuple(results),
        noise=None,
        ladder=None,
        provenance=record_provenance(),
    )
    return check_limits([evaluation], rules or limit_rules(None))


def _compare_rows(reference: NDArray[np.float32], values: NDArray[np.float32], rows: list[str]) -> Comparison:
    drift = measure_drift(reference, values)
    if not drift.finite:
        return Comparison(drift, None, None, None, None, None, None)
    profile = profile_drift(reference, values, rows, None)
    return Comparison(drift, profile, None, None, None, None, measure_retrieval(reference, values, rows))


def _load(
    source: Path | NDArray[np.float32], number: int
) -> tuple[str, Mapping[str, Any], NDArray[np.float32]]:
    """The name, the record or an empty one, and the values of a source."""
    if isinstance(source, np.ndarray):
        if source.dtype != np.float32 or source.ndim != 2:
            found = f"{source.dtype} {list(source.shape)}"
            raise EvalError(f"array {number}: {found}; expected float32 [N, D]")
        return f"array {number}", {}, source
    source = Path(source)
    if source.name.endswith(_RECORD_SUFFIX) or record_path(source).exists():
        run = load_run(source)
        return f"{number}: {run.path.name}", run.record, run.values
    return f"{number}: {source.name}", {}, read_embeddings(source)
