"""The snippets: filled in, printed by `mlx inspect`, and the same as in docs/reuse.md."""

import ast
import json
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from msgspec import structs
from tests.conftest import Mlx

from minilmx.errors import EvalError
from minilmx.eval.consumers.registry import CONSUMERS
from minilmx.eval.consumers.snippets.template import has_fixed_settings, render_snippet, snippet_language
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.manifest import File, Shape

DOCUMENT = Path(__file__).parents[3] / "docs" / "reuse.md"
TEMPLATES = resources.files("minilmx.eval.consumers.snippets").iterdir()
NAMES = sorted(file.name.partition(".")[0] for file in TEMPLATES if file.name.endswith(".txt"))
FENCES = {"py": "python", "mjs": "javascript", "pbtxt": "protobuf", "cs": "csharp", "java": "java"}


@pytest.fixture
def example(tiny: Path) -> Artifact:
    """The artifact of the document: all-MiniLM-L6-v2 at 1 x 128."""
    artifact = open_artifact(tiny)
    graphs = structs.replace(
        artifact.manifest.graphs, fixed=structs.replace(artifact.manifest.fixed, path="model_b1_s128.onnx")
    )
    changed = structs.replace(artifact.manifest, shape=Shape(1, 128), embedding_dimension=384, graphs=graphs)
    return replace(artifact, path=Path("/models/all-MiniLM-L6-v2-b1-s128"), manifest=changed)


@pytest.fixture
def fixed_example(example: Artifact) -> Artifact:
    """The same, exported with --fixed-consumers."""
    graph = structs.replace(example.manifest.fixed, path="fixed/model_b1_s128.onnx")
    graphs = structs.replace(example.manifest.graphs, fixed=graph)
    files = (*example.manifest.files, File("fixed/sentence_bert_config.json", "", 0))
    return replace(example, manifest=structs.replace(example.manifest, graphs=graphs, files=files))


def test_the_document_shows_every_snippet_as_it_is_printed(
    example: Artifact, fixed_example: Artifact
) -> None:
    if not DOCUMENT.is_file():
        pytest.skip("needs docs/reuse.md of the checkout")
    text = DOCUMENT.read_text("utf-8")
    shown = dict(re.findall(r"\n### (\S+)\n.*?```\w+\n(.*?)```\n", text, re.S))
    assert sorted(shown) == NAMES
    for name, body in shown.items():
        artifact = fixed_example if name.endswith("-fixed") else example
        assert body == render_snippet(name, artifact), name
        assert f"```{FENCES[snippet_language(name)]}\n{body}" in text


def test_inspect_prints_it_and_nothing_else(tiny: Path, mlx: Mlx) -> None:
    outcome = mlx("inspect", tiny, "--snippet", "onnxruntime")
    assert outcome.code == 0, outcome
    assert outcome.stdout == render_snippet("onnxruntime", open_artifact(tiny))
    refused = mlx("inspect", tiny, "--snippet", "numpy")
    assert refused.code == 3
    assert "expected one of chroma, csharp, " in refused.stderr


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_filled_in_for_any_path(name: str, pooling: str, fixed_example: Artifact) -> None:
    path = Path('/a folder/it\'s "so" \\ ünïcode {{}}')
    changed = structs.replace(fixed_example.manifest, pooling=pooling, normalized=pooling != "max")
    text = render_snippet(name, replace(fixed_example, path=path, manifest=changed))
    assert not re.search(r"\{\{\w", text)
    if snippet_language(name) == "py":
        strings = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
        assert any(str(value).startswith(str(path)) for value in strings)


# A line break, one that only some languages know, a character past U+FFFF that is not printable.
HOSTILE = Path('/a "quoted" \\ folder\n{{ name }} \u2028 \U000e0001 \x7f é')


@pytest.mark.parametrize("name", NAMES)
def test_a_path_cannot_leave_its_string_or_comment(name: str, fixed_example: Artifact) -> None:
    tame = render_snippet(name, fixed_example)
    text = render_snippet(name, replace(fixed_example, path=HOSTILE))
    assert len(text.split("\n")) == len(tame.split("\n"))
    assert all(character.isprintable() or character == "\n" for character in text)
    if snippet_language(name) == "py":
        strings = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
        assert any(str(value).startswith(str(HOSTILE)) for value in strings)
    elif snippet_language(name) in ("mjs", "java"):
        quoted = re.findall(r'"(?:[^"\\]|\\.)*"', text)
        assert any(json.loads(each).startswith(str(HOSTILE)) for each in quoted if r"\u2028" in each)


def test_every_consumer_has_a_snippet_and_the_fixed_ones_need_settings(example: Artifact) -> None:
    assert set(CONSUMERS) <= set(NAMES)
    assert not has_fixed_settings(example)
    with pytest.raises(EvalError, match="no settings with which other libraries run its fixed graph"):
        render_snippet("langchain-fixed", example)
