"""Each consumer in a process of its own, against the artifact's own embeddings."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import EvalError
from minilmx.eval.consumers.form import require_own_form
from minilmx.eval.consumers.places import Place
from minilmx.eval.consumers.registry import Consumer
from minilmx.eval.consumers.snippets.template import render_snippet
from minilmx.eval.metrics.drift import measure_drift
from minilmx.eval.verdict import Answer
from minilmx.files.scratch import private_folder
from minilmx.models.artifact import Artifact
from minilmx.models.sample_texts import odd_texts
from minilmx.models.tokenizer import load_tokenizer, open_tokenizer
from minilmx.progress import Progress
from minilmx.runners.groq.pythonpath import child_variables

BATCH_SIZES = (1, 7, 32)
AGREES, DISAGREES, FAILS, MISSING = "agrees", "disagrees", "fails", "not installed"
# A check may not download anything, and may not report to anybody.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "ANONYMIZED_TELEMETRY": "False",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONDONTWRITEBYTECODE": "1",
}
# What a library needs to start; nothing else of the user's environment, such as a token, reaches it.
_KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "PATH", "PYTHONPATH", "TMPDIR")
_EXPORT_AGAIN = "export the model again; if that changes nothing, use the versions of: "


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one consumer in one place.

    `state` is agrees, disagrees, fails (it does not load, or ended with an error) or not installed.
    `max_abs` and `min_cosine` are the worst over all batch sizes, None without finite
    embeddings. `same_ids` says whether the library's tokenizer gives the artifact's token ids, also for
    odd texts; None if it does not show them. `reason` says what is wrong and `remedy` what to do; both are
    None if it agrees.
    """

    consumer: str
    graph: str
    state: str
    tolerance: float
    place: str | None = None
    version: str | None = None
    max_abs: float | None = None
    min_cosine: float | None = None
    same_ids: bool | None = None
    reason: str | None = None
    remedy: str | None = None


def check_consumers(
    artifact: Artifact,
    consumers: Sequence[Consumer],
    places: Sequence[Place],
    texts: list[str],
    reference: NDArray[np.float32],
    time_limit_seconds: float,
    progress: Progress,
) -> Iterator[Finding]:
    """Run each consumer in every place that has it; if none has it, yield one finding that says so.

    `reference` holds the artifact's own embeddings of the N texts, float32 [N, D]. Each consumer
    embeds all of them in batches of 1, 7 and 32. Raises EvalError if a consumer has no snippet for
    this artifact, and
    ArtifactError if a file of the artifact is not as the export writes it.
    """
    require_own_form(artifact)
    for consumer in consumers:
        fitting = [place for place in places if place.language == consumer.language]
        having = [place for place in fitting if not place.lacks(consumer)]
        if not having:
            yield _missing(consumer, fitting)
        for place in having:
            version = place.versions[consumer.packages[0]]
            progress.message(f"checking {consumer.name} {version} in {place.path}")
            yield _check_one(artifact, consumer, place, texts, reference, time_limit_seconds)


def answer(findings: Sequence[Finding]) -> str:
    """Whether the embeddings are the same in every library that was checked, in one sentence."""
    checked = [finding for finding in findings if finding.state != MISSING]
    if not checked:
        return "nothing to compare: none of the libraries is installed"
    for state, word in ((DISAGREES, f"{Answer.DIFFERENT}"), (FAILS, "FAIL")):
        in_state = [finding for finding in checked if finding.state == state]
        if in_state:
            first = in_state[0]
            return f"{word}: {first.consumer} {first.reason} ({state}: {len(in_state)} of {len(checked)})"
    largest = max(finding.max_abs or 0.0 for finding in checked)
    names = ", ".join(dict.fromkeys(finding.consumer for finding in checked))
    return f"{Answer.SAME}: the embeddings agree in {names}: max abs {largest:.1e}"


def _missing(consumer: Consumer, places: Sequence[Place]) -> Finding:
    fewest = min((place.lacks(consumer) for place in places), key=len, default=list(consumer.packages))
    return Finding(
        consumer.name,
        consumer.graph,
        MISSING,
        consumer.tolerance,
        reason=f"missing: {', '.join(fewest)}",
        remedy=consumer.install,
    )


def _check_one(
    artifact: Artifact,
    consumer: Consumer,
    place: Place,
    texts: list[str],
    reference: NDArray[np.float32],
    time_limit_seconds: float,
) -> Finding:
    snippet = render_snippet(consumer.name, artifact)
    state, reason, remedy, differences, cosines = AGREES, None, None, [], []
    same_ids = None
    # As for an export: absolute for numbers up to 1, otherwise relative to the embedding's largest number.
    allowed = consumer.tolerance * np.maximum(1, np.abs(reference).max(axis=1))
    with private_folder("mlx-check-") as folder:
        try:
            odd = _odd_texts(artifact)
            _run(folder, snippet, place, texts, odd, time_limit_seconds)
            for size in BATCH_SIZES:
                values = _read(folder / f"{size}.f32", reference)
                drift = measure_drift(reference, values)
                if drift.max_abs is None:
                    raise EvalError(f"returned numbers that are not finite at batch size {size}")
                differences.append(drift.max_abs)
                cosines.append(drift.min_cosine)
                apart = np.abs(reference - values).max(axis=1) > allowed
                if apart.any() and state == AGREES:
                    state, reason = DISAGREES, _worst(texts, reference, values, size)
            if (folder / "ids.json").is_file():
                other = _other_ids(artifact, odd, json.loads((folder / "ids.json").read_text("utf-8")))
                same_ids = other is None
                if other is not None:
                    state, reason = DISAGREES, f"gives other token ids for the text {other[:60]!r}"
        except EvalError as error:
            state, reason = FAILS, str(error)
    if state != AGREES:
        again = _EXPORT_AGAIN if state == DISAGREES else "use the versions of: "
        remedy = again + consumer.install
    defined = [cosine for cosine in cosines if cosine is not None]
    return Finding(
        consumer.name,
        consumer.graph,
        state,
        consumer.tolerance,
        place=str(place.path),
        version=place.versions[consumer.packages[0]],
        max_abs=max(differences, default=None),
        min_cosine=min(defined, default=None),
        same_ids=same_ids,
        reason=reason,
        remedy=remedy,
    )


def _odd_texts(artifact: Artifact) -> list[str]:
    """Texts that show a difference between two tokenizers, with the artifact's last added tokens."""
    added = load_tokenizer(
        artifact.tokenizer_file, artifact.read(artifact.tokenizer_file)
    ).get_added_tokens_decoder()
    return odd_texts(artifact.shape.sequence_length, [str(added[number]) for number in sorted(added)[-8:]])


def _other_ids(artifact: Artifact, texts: list[str], theirs: list[list[int]]) -> str | None:
    """The first text whose token ids are not the artifact's, or None."""
    tokens = open_tokenizer(artifact).encode(texts).tokens
    for text, ids, row, mask in zip(texts, theirs, tokens.input_ids, tokens.attention_mask, strict=True):
        if ids != row[mask == 1].tolist():
            return text
    return None


def _run(
    folder: Path, snippet: str, place: Place, texts: list[str], odd: list[str], time_limit_seconds: float
) -> None:
    """Run the snippet in `folder` until it ends. Raises EvalError with the reason if it fails."""
    request = {"texts": texts, "odd_texts": odd, "batch_sizes": BATCH_SIZES}
    (folder / "texts.json").write_text(json.dumps(request), encoding="utf-8")
    (folder / f"snippet.{place.language}").write_text(snippet, encoding="utf-8")
    script = f"run.{place.language}"
    (folder / script).write_bytes(resources.files(__package__).joinpath(script).read_bytes())
    if place.language == "mjs":
        (folder / "node_modules").symlink_to(place.path, target_is_directory=True)
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [place.program, *(["-s"] if place.language == "py" else []), script],
            cwd=folder,
            env={name: value for name, value in child_variables().items() if name in _KEPT} | _ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = process.wait(time_limit_seconds)
        except subprocess.TimeoutExpired as error:
            raise EvalError(f"was stopped after {time_limit_seconds:g} seconds") from error
        finally:
            _end(process)
    if code:
        raise EvalError(_explain(folder, code))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the consumer and every process that it started, if any is left."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _explain(folder: Path, code: int) -> str:
    """Why a consumer ended: its own error, otherwise its exit code and the last line it wrote."""
    if (folder / "error.txt").is_file():
        return (folder / "error.txt").read_text("utf-8", "replace")
    lines = (folder / "output.txt").read_text("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"{how}: {last}"


def _read(file: Path, reference: NDArray[np.float32]) -> NDArray[np.float32]:
    """The embeddings that a consumer wrote, float32 [N, D]. Raises EvalError for another shape."""
    values = np.fromfile(file, dtype="<f4")
    if values.size != reference.size:
        rows, dimension = reference.shape
        raise EvalError(f"returned {values.size} numbers for {rows} texts; expected {rows} x {dimension}")
    return values.reshape(reference.shape).astype(np.float32)


def _worst(
    texts: list[str], reference: NDArray[np.float32], values: NDArray[np.float32], batch_size: int
) -> str:
    """The text whose embedding differs most, in a few words."""
    difference = np.abs(reference - values).max(axis=1)
    row = int(difference.argmax())
    return f"differs by {difference[row]:.2g} at batch size {batch_size}, on the text {texts[row][:60]!r}"
