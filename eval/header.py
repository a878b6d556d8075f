"""The header of a result, a bisection and a benchmark."""

import hashlib
from dataclasses import dataclass
from typing import Any

from minilmx.embedding.record import Header, artifact_fields
from minilmx.eval.datasets.pairs import SentencePairs
from minilmx.models.artifact import Artifact
from minilmx.models.tokenizer import TokenizedTexts


@dataclass(frozen=True, slots=True, kw_only=True)
class DataHeader(Header):
    """A header with the data set. `pairs` is 0 if the sentences are not graded pairs."""

    dataset: str
    dataset_revision: str | None
    language: str | None
    split: str | None
    pairs: int


def digest_of(texts: TokenizedTexts) -> str:
    """The SHA-256 of the token arrays."""
    digest = hashlib.sha256()
    texts.update_digest(digest)
    return digest.hexdigest()


def header_fields(artifact: Artifact, texts: TokenizedTexts, data: SentencePairs | str) -> dict[str, Any]:
    """The fields of a DataHeader for an artifact that ran over the texts of pairs, or of a named file."""
    pairs = None if isinstance(data, str) else data
    return {
        **artifact_fields(artifact),
        "sentences": len(texts),
        "truncated_sentences": int(texts.truncated.sum()),
        "inputs_sha256": digest_of(texts),
        "dataset": pairs.name if pairs else data,
        "dataset_revision": pairs.revision if pairs else None,
        "language": pairs.language if pairs else None,
        "split": pairs.split if pairs else None,
        "pairs": len(pairs) if pairs else 0,
    }
