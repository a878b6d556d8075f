import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from minilmx.errors import ArtifactError
from minilmx.models.artifact import Artifact, open_artifact, read_artifact, seal
from minilmx.models.read_manifest import parse_manifest

Document = dict[str, Any]


def refusal(text: str) -> str:
    with pytest.raises(ArtifactError) as caught:
        parse_manifest(text.encode())
    assert caught.value.message.startswith("mlx.json")
    return str(caught.value)


@pytest.fixture
def document(tiny_original: Artifact) -> Document:
    text = (tiny_original.path / "mlx.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def test_writing_what_was_read_gives_the_same_bytes(tiny_original: Artifact) -> None:
    content = (tiny_original.path / "mlx.json").read_bytes()
    assert parse_manifest(content).to_json() == content


def test_the_format_is_sorted_and_indented_json_with_a_last_newline(document: Document) -> None:
    document["tools"] |= {"é": '"\x7f\u2028\\', "a": "".join(map(chr, range(32)))}
    content = (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    assert parse_manifest(content).to_json() == content


@pytest.mark.parametrize(
    "text",
    ["", "{", "not json", "[" * 100_000, '{"schema_version": ' + "1" * 5000 + "}"],
    ids=["empty", "cut", "words", "deep", "long number"],
)
def test_a_file_that_is_not_json_is_refused(text: str) -> None:
    assert "expected a JSON object" in refusal(text)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"schema_version"'])
def test_json_that_is_not_an_object_is_refused(text: str) -> None:
    assert "expected a JSON object" in refusal(text)


def test_bytes_that_are_not_utf8_are_refused(tiny: Path) -> None:
    (tiny / "mlx.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ArtifactError, match=rf"{tiny}/mlx\.json: .* expected a JSON object"):
        read_artifact(tiny)


@pytest.mark.parametrize("version", [2, 0, "1", 1.0, True, None, [1]])
def test_another_schema_version_is_refused(document: Document, version: object) -> None:
    document["schema_version"] = version
    message = refusal(json.dumps(document))
    assert f"schema version {version!r}" in message
    assert "expected 1. Export the model again" in message


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
def test_an_unknown_field_is_refused_in_every_object(
    document: Document, place: tuple[str | int, ...]
) -> None:
    at(document, place)["colour"] = "blue"
    assert "colour" in refusal(json.dumps(document))


def test_an_unknown_graph_is_refused(document: Document) -> None:
    document["graphs"]["folded"] = document["graphs"]["fixed"]
    assert "mlx.json, graphs: unknown field `folded`" in refusal(json.dumps(document))


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_missing_field_is_refused_in_every_object(document: Document, place: tuple[str | int, ...]) -> None:
    for key in set(at(document, place)) - {"token_rows"}:  # optional, tests/embedding/test_embedder.py
        damaged = json.loads(json.dumps(document))
        del at(damaged, place)[key]
        assert key in refusal(json.dumps(damaged)).replace("schema version", "schema_version")


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value in a JSON document, including containers."""
    items = list(enumerate(value)) if isinstance(value, list) else []
    items = list(value.items()) if isinstance(value, dict) else items
    below = [leaf for key, child in items for leaf in leaves(child, (*path, key))]
    return [path, *below] if path else below


@pytest.mark.parametrize("wrong", [None, -1, 1.5, True, "text", [], {}, [[]]], ids=repr)
def test_a_value_of_the_wrong_type_is_refused_in_every_field(document: Document, wrong: object) -> None:
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
            parse_manifest(json.dumps(damaged).encode())
        except ArtifactError:
            continue
        accepted.append((*parents, key))
    assert accepted == []


@pytest.mark.parametrize("revision", [7, True, [], {}])
def test_a_revision_is_a_string_or_null(document: Document, revision: object) -> None:
    document["source"]["revision"] = revision
    message = refusal(json.dumps(document))
    assert f"mlx.json, source.revision: {revision!r}; expected `str | null`" in message


PATHS_OUT = (
    "../x",
    "/etc/passwd",
    "a/../b",
    "a\\b",
    "..",
    ".",
    "",
    "./x",
    "a//b",
    "a/",
    "a\0b",
    "a\nb",
    "\x1b[2J",
)


@pytest.mark.parametrize("path", PATHS_OUT)
def test_a_path_that_leaves_the_artifact_is_refused(document: Document, path: str) -> None:
    document["files"].append({"path": path, "sha256": "0" * 64, "size_bytes": 1})
    message = refusal(json.dumps(document))
    assert repr(path) in message
    assert "expected a path inside the artifact" in message


@pytest.mark.parametrize("graph", ["fixed", "dynamic"])
def test_a_graph_that_is_not_a_listed_file_is_refused(document: Document, graph: str) -> None:
    document["graphs"][graph]["path"] = "../other.onnx"
    message = refusal(json.dumps(document))
    assert f"graphs.{graph}.path: '../other.onnx'; expected a path from `files`" in message


def test_a_tokenizer_that_is_not_listed_is_refused(document: Document) -> None:
    document["files"] = [file for file in document["files"] if file["path"] != "tokenizer.json"]
    assert "files: no 'tokenizer.json'; expected one" in refusal(json.dumps(document))


def test_a_file_listed_twice_is_refused(document: Document) -> None:
    document["files"].append(document["files"][0])
    assert "listed 2 times; expected once" in refusal(json.dumps(document))


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
def test_a_shape_that_the_fixed_graph_does_not_have_is_refused(
    document: Document, change: Callable[[Document], object]
) -> None:
    change(document)
    message = refusal(json.dumps(document))
    assert "mlx.json, graphs.fixed." in message
    assert "; expected " in message


POOLING = "mean, cls, max, mean_sqrt_len_tokens, weightedmean, lasttoken, or several of them with + between"
CLOSED = [
    ("source.origin", "web", "hub, bundled, folder"),
    ("source.weights_sha256", "A" * 64, "[0-9a-f]{64}"),
    ("source.settings_sha256", "", "[0-9a-f]{64}"),
    ("files.0.sha256", "a" * 63, "[0-9a-f]{64}"),
    ("files.0.size_bytes", -1, "`int` >= 0"),
    ("shape.batch_size", 0, "`int` >= 1"),
    ("shape.batch_size", 65537, "`int` <= 65536"),
    ("shape.sequence_length", 65537, "`int` <= 65536"),
    ("embedding_dimension", 65537, "`int` <= 65536"),
    ("pooling", "sum", POOLING),
    ("pooling", "mean\n", POOLING),
    ("pooling", "mean+", POOLING),
    ("precision", "float16", "float32, int8"),
    ("opset", 12, "`int` >= 13"),
    ("opset", 29, "`int` <= 28"),
    ("ir_version", 15, "`int` <= 14"),
    ("graphs.dynamic.inputs.0.shape.0", 0, "`int` >= 1"),
]


@pytest.mark.parametrize(("field", "value", "expected"), CLOSED, ids=[f"{f} {v!r:.9}" for f, v, _ in CLOSED])
def test_a_value_outside_of_its_set_or_bounds_is_refused(
    document: Document, field: str, value: object, expected: str
) -> None:
    change(document, field, value)
    named = re.sub(r"\.(\d+)", r"[\1]", field)
    assert refusal(json.dumps(document)) == f"mlx.json, {named}: {value!r}; expected {expected}"


def change(document: Document, field: str, value: object) -> None:
    """Set the field at a dotted path."""
    *parents, last = (int(step) if step.isdigit() else step for step in field.split("."))
    found: Any = document
    for step in parents:
        found = found[step]
    found[last] = value


INTERFACE = [
    ("fixed.inputs.0.name", "ids", "expected input_ids int64 [4, 16], "),
    ("fixed.inputs.2.dtype", "int32", "token_type_ids int64 [4, 16]"),
    ("fixed.outputs.1.dtype", "float16", "sentence_embedding float32 [4, 8]"),
    ("dynamic.inputs.1.name", "mask", "attention_mask int64 [?, ?]"),
    ("dynamic.inputs.0.shape", ["batch"], "expected input_ids int64 [?, ?], "),
    ("dynamic.inputs.0.shape.0", 4, "expected input_ids int64 [?, ?], "),
    ("dynamic.outputs.0.dtype", "float64", "last_hidden_state float32 [?, ?, 8]"),
    ("dynamic.outputs", [], "outputs: none; expected last_hidden_state"),
    ("packed.inputs.1.name", "attention_mask", "position_ids int64 [4, 16]"),
    ("packed.outputs.0.name", "embeddings", "expected sentence_embedding float32 [4, 3, 8]"),
    ("packed.outputs.0.shape", [4, 65537, 8], "expected sentence_embedding float32 [4, 1 to 65536, 8]"),
    ("packed.outputs.0.shape", [4, "texts", 8], "expected sentence_embedding float32 [4, 1 to 65536, 8]"),
    ("packed.outputs", [], "outputs: none; expected sentence_embedding"),
]


@pytest.mark.parametrize(
    ("field", "value", "expected"), INTERFACE, ids=[f"{f} {v!r:.14}" for f, v, _ in INTERFACE]
)
def test_a_tensor_with_another_name_dtype_or_shape_is_refused(
    document: Document, field: str, value: object, expected: str
) -> None:
    inputs = [
        {"name": name, "dtype": "int64", "shape": [4, 16]}
        for name in ("input_ids", "position_ids", "segment_ids")
    ]
    outputs = [{"name": "sentence_embedding", "dtype": "float32", "shape": [4, 3, 8]}]
    document["graphs"]["packed"] = {"path": "onnx/model.onnx", "inputs": inputs, "outputs": outputs}
    parse_manifest(json.dumps(document).encode())
    change(document, f"graphs.{field}", value)
    message = refusal(json.dumps(document))
    assert message.startswith(f"mlx.json, graphs.{'.'.join(field.split('.')[:2])}: ")
    assert expected in message


def test_one_tensor_whose_name_reads_like_several_is_refused(document: Document) -> None:
    inputs = document["graphs"]["fixed"]["inputs"]
    inputs[0]["name"] = "input_ids int64 [4, 16], attention_mask"
    del inputs[1]
    assert "graphs.fixed.inputs" in refusal(json.dumps(document))


def test_a_packed_graph_of_null_is_refused(document: Document) -> None:
    document["graphs"]["packed"] = None
    assert "graphs.packed: None; expected `object`, got `null`" in refusal(json.dumps(document))


def test_a_manifest_that_could_not_be_read_back_is_not_sealed(tiny: Path) -> None:
    artifact = open_artifact(tiny)
    other = structs.replace(artifact.manifest, pooling="sum")
    with pytest.raises(ArtifactError, match=r"onnx/mlx\.json, pooling: 'sum'; expected mean, cls, max"):
        seal(tiny / "onnx", other)


def test_a_changed_byte_is_refused_or_does_not_affect_runners(tiny: Path) -> None:
    original = open_artifact(tiny)
    document = (tiny / "mlx.json").read_bytes()

    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, len(document) - 1), st.integers(0, 255))
    def change_byte(index: int, byte: int) -> None:
        changed = document[:index] + bytes([byte]) + document[index + 1 :]
        (tiny / "mlx.json").write_bytes(changed)
        try:
            artifact = open_artifact(tiny)
        except ArtifactError:
            assert changed != document
            return
        # The manifest protects the files; its own digest protects its other fields.
        assert (artifact.digest == original.digest) == (changed == document)
        assert artifact.manifest.files == original.manifest.files
        assert artifact.shape == original.shape
        assert artifact.manifest.embedding_dimension == original.manifest.embedding_dimension
        assert artifact.fixed_graph == original.fixed_graph
        assert artifact.dynamic_graph == original.dynamic_graph

    change_byte()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"default_prompt": "query"}, "default_prompt: 'query'; expected one of none"),
        ({"prompts": {"a": "b"}, "default_prompt": "q"}, "default_prompt: 'q'; expected one of a"),
        ({"prompts": {"a": 3}}, "prompts"),
        ({"similarity": "cosine"}, "similarity: 'cosine'"),
        ({"max_sequence_length": 0}, "max_sequence_length: 0"),
        (
            {"truncation": {"model_dimension": 7, "renormalized": True}},
            "truncation.model_dimension: 7; expected at least 8",
        ),
        ({"truncation": {"model_dimension": 9, "renormalized": False}}, "last_hidden_state"),
    ],
)
def test_a_setting_that_contradicts_the_rest_is_refused(
    document: Document, changes: Document, words: str
) -> None:
    assert words in refusal(json.dumps(document | changes))
