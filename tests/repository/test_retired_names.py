"""Names that one spelling for each concept has replaced are not used again, in code, tests or documents."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Each pattern, and what to use instead.
RETIRED = {
    r"\brun_tokenized\b": "Embedder.encode_tokenized",
    r"\bEmbeddingJob\b": "Embedder",
    r"\bembed_texts\b": "Embedder.encode",
    r"\bas_(?:packed|dynamic)\b": "Artifact.with_graph",
    r"\bRunnerOptions\b": "the options record of each runner",
    r"\bHELD\b": "nothing: it was only stored",
    r"--(?:fixed|packed)(?![\w-])": "--graph fixed, --graph packed",
    r"\bRUNNER:GRAPH\b": "--runner RUNNER --graph GRAPH",
}
# The changelog says what replaced them.
EXCEPT = {"CHANGELOG.md", Path(__file__).name}


def files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("needs a git checkout to know which files are the repository's")
    kinds = {".py", ".md", ".toml", ".ipynb", ".sh", ".yml", ".j2", ".txt", ".mjs"}
    paths = [ROOT / name for name in listed.stdout.splitlines()]
    return [path for path in paths if path.suffix in kinds and path.is_file() and path.name not in EXCEPT]


def test_no_retired_name_is_left() -> None:
    paths = files()
    assert len(paths) > 100
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}: use {instead}"
        for path in paths
        for pattern, instead in RETIRED.items()
        for match in re.finditer(pattern, path.read_text("utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text", ["mlx eval A --packed", "--runner RUNNER:GRAPH", "job = EmbeddingJob(runner)", "`--fixed`"]
)
def test_a_retired_name_is_found(text: str) -> None:
    assert any(re.search(pattern, text) for pattern in RETIRED)


def test_an_option_that_only_begins_like_a_retired_one_is_not() -> None:
    assert not any(re.search(pattern, "mlx export M --fixed-consumers") for pattern in RETIRED)
