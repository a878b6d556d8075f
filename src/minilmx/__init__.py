"""Are the embeddings still the same on the accelerator? minilmx exports, runs and compares.

    >>> import minilmx
    >>> with minilmx.load("out") as model:
    ...     vectors = model.encode(["One sentence.", "Another one."])  # float32 [2, 384]

Everything in `__all__` is public and is imported when it is first used; all else may change.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minilmx.api.bench import benchmark as benchmark
    from minilmx.api.bisect import bisect as bisect
    from minilmx.api.check import check as check
    from minilmx.api.compare import compare as compare
    from minilmx.api.corpus import embed_corpus as embed_corpus
    from minilmx.api.evaluate import evaluate as evaluate
    from minilmx.api.export import export_model as export_model
    from minilmx.api.golden import check_golden as check_golden
    from minilmx.api.golden import create_golden as create_golden
    from minilmx.api.load import load as load
    from minilmx.api.push import push as push
    from minilmx.api.report import load_result as load_result
    from minilmx.api.run import embed_file as embed_file
    from minilmx.api.score import score_file as score_file
    from minilmx.embedding.embedder import Embedder as Embedder
    from minilmx.embedding.scorer import Scorer as Scorer
    from minilmx.errors import MinilmxError as MinilmxError
    from minilmx.eval.results import Result as Result
    from minilmx.files.formats import TextFormat as TextFormat
    from minilmx.models.artifact import Artifact as Artifact
    from minilmx.models.artifact import open_artifact as open_artifact
    from minilmx.progress import Progress as Progress
    from minilmx.runners.base import Runner as Runner
    from minilmx.runners.base import RunnerEntry as RunnerEntry

    __version__: str

# onnxruntime 1.29 and later reports its use to its maker unless this is set before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "Artifact": "minilmx.models.artifact",
    "Embedder": "minilmx.embedding.embedder",
    "MinilmxError": "minilmx.errors",
    "Progress": "minilmx.progress",
    "Result": "minilmx.eval.results",
    "Runner": "minilmx.runners.base",
    "RunnerEntry": "minilmx.runners.base",
    "Scorer": "minilmx.embedding.scorer",
    "TextFormat": "minilmx.files.formats",
    "benchmark": "minilmx.api.bench",
    "bisect": "minilmx.api.bisect",
    "check": "minilmx.api.check",
    "check_golden": "minilmx.api.golden",
    "compare": "minilmx.api.compare",
    "create_golden": "minilmx.api.golden",
    "embed_corpus": "minilmx.api.corpus",
    "embed_file": "minilmx.api.run",
    "evaluate": "minilmx.api.evaluate",
    "export_model": "minilmx.api.export",
    "load": "minilmx.api.load",
    "load_result": "minilmx.api.report",
    "open_artifact": "minilmx.models.artifact",
    "push": "minilmx.api.push",
    "score_file": "minilmx.api.score",
}

__all__ = [*sorted(_HOMES), "__version__"]  # names, all of them


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = importlib.import_module("importlib.metadata").version("minilmx")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
