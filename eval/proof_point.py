"""Groq's proof point of all-MiniLM-L6-v2, as Groq runs it, on this machine.

A batch is one pair of sentences. The program's last_hidden_state is pooled on the host: the mean over the
tokens that are not padding. Pairs with a sentence of more than 128 tokens are dropped. The score is scipy's
Spearman correlation of the cosine similarities with the gold scores. The CPU runs the dynamic-shape graph,
for comparison: padding to 128 tokens takes it more than ten times as long.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.embedder import Embedder
from minilmx.embedding.open_graph import require_finite
from minilmx.embedding.similarity import cosine_similarity
from minilmx.errors import EvalError
from minilmx.eval.datasets.pairs import SentencePairs
from minilmx.eval.metrics.correlation import correlate
from minilmx.models.artifact import Artifact
from minilmx.models.interface import LAST_HIDDEN_STATE
from minilmx.models.known import DEFAULT_MODEL
from minilmx.models.manifest import FLOAT32, GraphKind, Shape
from minilmx.models.tokenizer import TokenBatch, TokenizedTexts, open_tokenizer
from minilmx.progress import SILENT, Progress
from minilmx.runners.base import Runner, chip_latencies
from minilmx.runners.groq.runner import GroqOptions, open_groq_runner
from minilmx.threads import map_in_threads
from minilmx.wording import counted

PROOF_SHAPE = Shape(batch_size=2, sequence_length=128)
PROOF_PAIRS = 1379


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What Groq's proof point gives here.

    `pairs` of the data set `dataset` ran, and `dropped` had a sentence of more than 128 tokens. `spearman` is
    the card's and `cpu_spearman` that of onnxruntime on the CPU, with the dynamic-shape graph, each -1 to 1,
    or None if it is not defined. The latencies are of one call, that is one pair, in seconds: the compiler's
    cycles at 900 MHz, GroqFlow's estimate with the transfers (both None without cycles), and the mean inside
    the SDK call. If `emulated`, a stand-in for Groq's SDK made or ran the program, and no number is from a
    GroqCard. `mask` is the dtype of the graph's attention_mask: bool in Groq's.
    """

    dataset: str
    mask: str
    pairs: int
    dropped: int
    spearman: float | None
    cpu_spearman: float | None
    on_chip_compute_seconds: float | None
    with_pcie_seconds: float | None
    sdk_call_seconds: float | None
    emulated: bool


def reproduce(
    artifact: Artifact, pairs: SentencePairs, bundle: Path | None = None, progress: Progress = SILENT
) -> Reproduction:
    """Run the proof point on the groq runner, and embed its sentences on the CPU.

    The artifact is one that `require_proof_artifact` accepts. Raises EvalError for fewer than two pairs that
    fit, RunnerUnavailable and RunnerFailed.
    """
    fixed = artifact.with_graph(GraphKind.FIXED)
    tokenizer = open_tokenizer(artifact)
    first, second = tokenizer.encode(pairs.sentences1), tokenizer.encode(pairs.sentences2)
    kept = np.flatnonzero(~(first.truncated | second.truncated))
    if len(kept) < 2:
        raise EvalError(
            f"{pairs.name}: {counted(len(kept), 'pair')} of at most "
            f"{PROOF_SHAPE.sequence_length} tokens; expected at least two, for a Spearman correlation"
        )
    # Row 2i is the first sentence of pair i, and row 2i + 1 the second.
    rows = np.stack([kept, kept + len(pairs)], axis=1).ravel()
    texts = [pairs.texts[row] for row in rows]
    batches = tokenizer.encode(texts)
    gold = pairs.gold[kept]
    with open_groq_runner(fixed, GroqOptions(bundle), progress, LAST_HIDDEN_STATE) as card:
        embeddings = _embed(card, batches, texts, progress)
        latencies, emulated = chip_latencies(card.details), card.is_emulated
    with Embedder(artifact, "onnxruntime", GraphKind.DYNAMIC) as cpu:
        expected = cpu.encode_tokenized(batches, progress.start(cpu.runner.name, len(texts))).values
        require_finite(expected, texts, cpu.runner.name)
    return Reproduction(
        pairs.name,
        artifact.manifest.mask,
        len(kept),
        len(pairs) - len(kept),
        correlate(cosine_similarity(embeddings[::2], embeddings[1::2]), gold).spearman,
        correlate(cosine_similarity(expected[::2], expected[1::2]), gold).spearman,
        **latencies,
        emulated=emulated,
    )


def require_proof_artifact(artifact: Artifact) -> None:
    """Refuse an artifact of another model, shape or precision than the proof point's. Raises EvalError."""
    model = Path(artifact.manifest.source.id).name
    for what, found, expected in (
        ("model", model, DEFAULT_MODEL),
        ("shape", artifact.shape, PROOF_SHAPE),
        ("precision", artifact.manifest.precision, FLOAT32),
    ):
        if found != expected:
            raise EvalError(
                f"the {what} of {artifact.path}: {found}; expected {expected}, as in Groq's proof point",
                "Leave out the artifact to export the one of the proof point.",
            )


def _embed(
    runner: Runner, batches: TokenizedTexts, texts: list[str], progress: Progress
) -> NDArray[np.float32]:
    """Run every batch and pool its last_hidden_state: float32 [N, H]. Raises RunnerFailed."""
    advance = progress.start(runner.name, len(texts))

    def pooled(batch: TokenBatch) -> NDArray[np.float32]:
        mask = batch.attention_mask[:, :, None].astype(np.float32)
        return np.asarray((runner.run(batch) * mask).sum(axis=1) / mask.sum(axis=1))

    parts = []
    for embeddings in map_in_threads(pooled, batches.batches(), runner.concurrency, runner.close):
        parts.append(embeddings)
        advance(len(embeddings))
    embeddings = np.concatenate(parts)
    require_finite(embeddings, texts, runner.name)
    return embeddings
