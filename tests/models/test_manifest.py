import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilmx.errors import ArtifactError
from minilmx.models.artifact import Artifact, open_artifact, read_artifact
from minilmx.models.manifest import parse_manifest

Document = dict[str, Any]


def refusal(text: str) -> str:
    with pytest.raises(ArtifactError) as caught:
        parse_manifest(text)
    return str(caught.value)


@pytest.fixture
def document(tiny_original: Artifact) -> Document:
    text = (tiny_original.path / "mlx.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def test_writing_what_was_read_gives_the_same_bytes(tiny_original: Artifact) -> None:
    text = (tiny_original.path / "mlx.json").read_text(encoding="utf-8")
    assert parse_manifest(text).to_json() == text


def test_the_format_is_sorted_and_indented_json_with_a_last_newline(document: Document) -> None:
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert parse_manifest(text).to_json() == text


@pytest.mark.parametrize(
    "text",
    ["", "{", "not json", "[" * 100_000, '{"schema_version": ' + "1" * 5000 + "}"],
    ids=["empty", "cut", "words", "deep", "long number"],
)
def test_what_is_no_json_is_refused(text: str) -> None:
    assert "mlx.json is no JSON" in refusal(text)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"schema_version"'])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    assert "mlx.json is no JSON object" in refusal(text)


def test_bytes_that_are_not_utf8_are_refused(tiny: Path) -> None:
    (tiny / "mlx.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ArtifactError, match=r"mlx\.json cannot be read"):
        read_artifact(tiny)


@pytest.mark.parametrize("version", [2, 0, "1", 1.0, True, None, [1]])
def test_another_schema_version_is_refused(document: Document, version: object) -> None:
    document["schema_version"] = version
    message = refusal(json.dumps(document))
    assert f"schema version {version!r}" in message
    assert "reads version 1" in message


def test_a_manifest_without_schema_version_is_refused(document: Document) -> None:
    del document["schema_version"]
    assert "schema version None" in refusal(json.dumps(document))


PLACES: list[tuple[str | int, ...]] = [
    (),
    ("source",),
    ("shape",),
    ("graphs", "fixed"),
    ("graphs", "fixed", "inputs", 0),
    ("graphs", "dynamic", "outputs", 1),
    ("files", 0),
]


def at(document: Document, place: tuple[str | int, ...]) -> Document:
    found: Any = document
    for step in place:
        found = found[step]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_an_unknown_key_is_refused_wherever_it_stands(
    document: Document, place: tuple[str | int, ...]
) -> None:
    at(document, place)["colour"] = "blue"
    assert "colour" in refusal(json.dumps(document))


def test_an_unknown_graph_is_refused(document: Document) -> None:
    document["graphs"]["folded"] = document["graphs"]["fixed"]
    assert "unknown graphs folded" in refusal(json.dumps(document))


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_missing_key_is_refused_wherever_it_is_missing(
    document: Document, place: tuple[str | int, ...]
) -> None:
    for key in list(at(document, place)):
        damaged = json.loads(json.dumps(document))
        del at(damaged, place)[key]
        assert key in refusal(json.dumps(damaged)).replace("schema version", "schema_version")


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The place of every value in a JSON document, containers too."""
    items = list(enumerate(value)) if isinstance(value, list) else []
    items = list(value.items()) if isinstance(value, dict) else items
    below = [leaf for key, child in items for leaf in leaves(child, (*path, key))]
    return [path, *below] if path else below


@pytest.mark.parametrize("wrong", [None, -1, 1.5, True, "text", [], {}, [[]]], ids=repr)
def test_a_value_of_another_type_is_refused_wherever_it_stands(document: Document, wrong: object) -> None:
    accepted = []
    for *parents, key in leaves(document):
        damaged = json.loads(json.dumps(document))
        parent: Any = damaged
        for step in parents:
            parent = parent[step]
        a_name_for_a_dim = wrong == "text" and parents[-1:] == ["shape"] and "dynamic" in parents
        is_revision = (parents, key) == (["source"], "revision")
        if type(parent[key]) is type(wrong) or a_name_for_a_dim or is_revision:
            continue
        parent[key] = wrong
        try:
            parse_manifest(json.dumps(damaged))
        except ArtifactError:
            continue
        accepted.append((*parents, key))
    assert accepted == []


@pytest.mark.parametrize("revision", [7, True, [], {}])
def test_a_revision_is_a_text_or_null(document: Document, revision: object) -> None:
    document["source"]["revision"] = revision
    assert repr(revision) in refusal(json.dumps(document))


PATHS_OUT = ("../x", "/etc/passwd", "a/../b", "a\\b", "..", ".", "", "./x", "a//b", "a/", "a\0b")


@pytest.mark.parametrize("path", PATHS_OUT)
def test_a_path_that_leaves_the_artifact_is_refused(document: Document, path: str) -> None:
    document["files"].append({"path": path, "sha256": "0" * 64, "size_bytes": 1})
    message = refusal(json.dumps(document))
    assert repr(path) in message
    assert "leaves the artifact" in message


@pytest.mark.parametrize("graph", ["fixed", "dynamic"])
def test_a_graph_that_is_no_listed_file_is_refused(document: Document, graph: str) -> None:
    document["graphs"][graph]["path"] = "../other.onnx"
    assert "'../other.onnx' is not among the listed files" in refusal(json.dumps(document))


def test_a_tokenizer_that_is_not_listed_is_refused(document: Document) -> None:
    document["files"] = [file for file in document["files"] if file["path"] != "tokenizer.json"]
    assert "'tokenizer.json' is not among the listed files" in refusal(json.dumps(document))


def test_a_file_listed_twice_is_refused(document: Document) -> None:
    document["files"].append(document["files"][0])
    assert "listed twice" in refusal(json.dumps(document))


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["shape"].update(batch_size=5),
        lambda document: document["shape"].update(sequence_length=8),
        lambda document: document.update(embedding_dimension=9),
        lambda document: document["graphs"]["fixed"]["inputs"].pop(),
    ],
    ids=["batch size", "sequence length", "dimension", "inputs"],
)
def test_a_shape_that_is_not_the_fixed_graphs_is_refused(
    document: Document, change: Callable[[Document], object]
) -> None:
    change(document)
    assert "the fixed graph's tensors" in refusal(json.dumps(document))


def test_a_changed_byte_is_refused_or_leaves_what_runners_use(tiny: Path) -> None:
    original = open_artifact(tiny)
    document = (tiny / "mlx.json").read_bytes()

    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, len(document) - 1), st.integers(0, 255))
    def change(index: int, byte: int) -> None:
        changed = document[:index] + bytes([byte]) + document[index + 1 :]
        (tiny / "mlx.json").write_bytes(changed)
        try:
            artifact = open_artifact(tiny)
        except ArtifactError:
            assert changed != document
            return
        # A manifest vouches for the files; what it says of itself, its digest vouches for.
        assert (artifact.digest == original.digest) == (changed == document)
        assert artifact.manifest.files == original.manifest.files
        assert artifact.shape == original.shape
        assert artifact.manifest.embedding_dimension == original.manifest.embedding_dimension
        assert artifact.fixed_graph == original.fixed_graph
        assert artifact.dynamic_graph == original.dynamic_graph

    change()
