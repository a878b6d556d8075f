"""The card's side of a run as a folder that needs nothing of minilmx.

It holds the bundle, the token batches, and one script for the Python of Groq's runtime
(minilmx/runners/groq/standalone.py). What the script writes is a run like any other.
"""

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.open_graph import checked_tokenizer, in_chunks
from minilmx.embedding.record import RECORD_SCHEMA_VERSION, artifact_fields
from minilmx.errors import DatasetError
from minilmx.files.atomic import FolderKind, atomic_folder
from minilmx.files.digest import sha256_of_file
from minilmx.files.documents import dump_json
from minilmx.files.scratch import private_folder
from minilmx.models.artifact import Artifact
from minilmx.models.batching import feed_batches
from minilmx.models.interface import SENTENCE_EMBEDDING
from minilmx.runners.groq import standalone
from minilmx.runners.groq.bundle import unpack_bundle
from minilmx.runners.groq.cache import PROGRAM

STANDALONE = FolderKind("a standalone folder", ("run.json", "batches.npz"))


def write_folder(
    artifact: Artifact, bundle: Path, texts: Iterable[str], folder: Path, *, replace: bool
) -> int:
    """Write the folder, and return how many texts it is for.

    `artifact` has the graph chosen that the bundle was built from. All token batches are kept in memory.
    Raises RunnerFailed for a bundle of another artifact or graph, DatasetError, ArtifactError and
    OutputError.
    """
    with private_folder("minilmx-groq-") as scratch:
        build = unpack_bundle(bundle, artifact, None, scratch)
        details = {"execution": "standalone", "cards": 1, **build.details}
    tokenizer = checked_tokenizer(artifact)
    digest = hashlib.sha256()
    count = truncated = 0
    feeds: dict[str, list[NDArray[Any]]] = {}
    owners: list[NDArray[np.int64]] = []
    for chunk in in_chunks(texts, artifact.shape.batch_size):
        tokenized = tokenizer.encode(chunk)
        tokenized.update_digest(digest)
        truncated += int(tokenized.truncated.sum())
        for batch, indices in feed_batches(tokenized, artifact):
            for name, array in batch.feeds().items():
                narrow = array if array.dtype == np.bool_ else array.astype(np.int32)  # as the card takes it
                feeds.setdefault(name, []).append(narrow)
            owners.append(np.where(indices >= 0, indices + count, -1))
        count += len(chunk)
    if not count:
        raise DatasetError("no texts; expected at least one")
    record = {
        "schema_version": RECORD_SCHEMA_VERSION,
        **artifact_fields(artifact),
        "sentences": count,
        "truncated_sentences": truncated,
        "inputs_sha256": digest.hexdigest(),
        "graph": artifact.graph_kind,
        "runner": "groq",
        "details": details,
        "versions": {"sdk": build.sdk or "unknown", "groqflow": str(build.facts["versions"].get("groqflow"))},
        "empty_lines": [],
    }
    record["provenance"] = {"minilmx": record["provenance"].minilmx}
    with atomic_folder(folder, replace=STANDALONE if replace else None) as new:
        shutil.copyfile(bundle, new / "bundle.tar")
        shutil.copyfile(standalone.__file__, new / "run.py")
        arrays: dict[str, Any] = {name: np.stack(batches) for name, batches in feeds.items()}
        np.savez_compressed(new / "batches.npz", texts=np.stack(owners), **arrays)
        plan = {
            "program": PROGRAM,
            "output": SENTENCE_EMBEDDING,
            "dimension": artifact.manifest.embedding_dimension,
            "files": {name: sha256_of_file(new / name) for name in ("bundle.tar", "batches.npz")},
            "record": record,
        }
        (new / "run.json").write_text(dump_json(plan, indent=2) + "\n", encoding="utf-8")
    return count
