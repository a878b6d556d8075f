"""External data in an artifact: only in the file beside its graph, and only if the manifest lists it."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import AttributeProto, ModelProto, TensorProto, helper
from tests.conftest import reseal

from minilmx.errors import ArtifactError
from minilmx.models.artifact import open_artifact
from minilmx.models.external_data import data_file

Place = Callable[[ModelProto, TensorProto], object]
OPSET = [helper.make_opsetid("", 16)]


def as_initializer(model: ModelProto, tensor: TensorProto) -> None:
    model.graph.initializer.append(tensor)


def constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["unused"], value=tensor)


def as_constant(model: ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(constant(tensor))


def branch(tensor: TensorProto, inside: bool) -> onnx.GraphProto:
    result = helper.make_tensor_value_info("unused", TensorProto.FLOAT, [1])
    nodes = [] if inside else [constant(tensor)]
    return helper.make_graph(nodes, "branch", [], [result], [tensor] if inside else [])


def in_a_branch(model: ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=branch(tensor, inside=True)))


def in_a_branch_of_a_branch(model: ModelProto, tensor: TensorProto) -> None:
    outer = branch(tensor, inside=False)
    outer.node.append(helper.make_node("If", ["x"], ["y"], else_branch=branch(tensor, inside=False)))
    del outer.node[0]
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=outer))


def in_a_function(model: ModelProto, tensor: TensorProto) -> None:
    model.functions.append(helper.make_function("local", "F", [], ["unused"], [constant(tensor)], OPSET))


def in_a_default_of_a_function(model: ModelProto, tensor: TensorProto) -> None:
    in_a_function(model, TensorProto(name="other"))
    attribute = AttributeProto(name="weight", type=AttributeProto.TENSOR, t=tensor)
    model.functions[0].attribute_proto.append(attribute)


def in_a_list(model: ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(helper.make_node("Any", [], ["unused"], domain="local"))
    attribute = AttributeProto(name="weights", type=AttributeProto.TENSORS, tensors=[tensor])
    model.graph.node[-1].attribute.append(attribute)


def sparse(model: ModelProto, tensor: TensorProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)


def sparse_indices(model: ModelProto, tensor: TensorProto) -> None:
    model.graph.sparse_initializer.add().indices.CopyFrom(tensor)


def as_sparse_constant(model: ModelProto, tensor: TensorProto) -> None:
    node = helper.make_node("Constant", [], ["unused"])
    node.attribute.add(name="sparse_value", type=AttributeProto.SPARSE_TENSOR).sparse_tensor.values.CopyFrom(
        tensor
    )
    model.graph.node.append(node)


def for_training(model: ModelProto, tensor: TensorProto) -> None:
    model.training_info.add().algorithm.initializer.append(tensor)


PLACES: list[Place] = [
    as_initializer,
    as_constant,
    in_a_branch,
    in_a_branch_of_a_branch,
    in_a_function,
    in_a_default_of_a_function,
    in_a_list,
    sparse,
    sparse_indices,
    as_sparse_constant,
    for_training,
]


def add_weight(artifact: Path, graph: str, place: Place, location: str, **entries: str) -> None:
    """Add a weight in another file to a graph, and seal the artifact so that all digests are right."""
    model = onnx.load(artifact / graph)
    tensor = TensorProto(
        name="secret", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL
    )
    for key, value in ({"location": location} | entries).items():
        tensor.external_data.add(key=key, value=value)
    place(model, tensor)
    (artifact / graph).write_bytes(model.SerializeToString())
    reseal(artifact)


def refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        open_artifact(path)
    return str(caught.value)


@pytest.mark.parametrize("graph", ["model_b4_s16.onnx", "onnx/model.onnx"])
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_a_weight_in_an_unlisted_file_is_refused_wherever_it_is(tiny: Path, place: Place, graph: str) -> None:
    add_weight(tiny, graph, place, "secret.bin")
    (tiny / graph).with_name("secret.bin").write_bytes(bytes(4))
    words = "the weight 'secret' in 'secret.bin'; expected all weights in the file itself"
    assert f"{graph} has {words}" in refusal(tiny)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("../../etc/passwd", "expected a file in the folder of the graph"),
        ("/etc/passwd", "expected a file in the folder of the graph"),
        ("*/_ORT_MEM_ADDR_/*", "which is missing; expected a regular file"),
        ("", "expected the name of one file"),
        ("tokenizer.json", "in 'tokenizer.json'; expected all weights in the file itself"),
        ("onnx/model.onnx", "in 'model.onnx'; expected all weights in the file itself"),
    ],
)
def test_a_weight_in_any_other_place_is_refused(tiny: Path, location: str, words: str) -> None:
    add_weight(tiny, "model_b4_s16.onnx", as_initializer, location)
    assert words in refusal(tiny)


def test_a_listed_file_beside_the_graph_holds_its_weights_and_nothing_more(tiny: Path) -> None:
    graph = "model_b4_s16.onnx"
    data = data_file(tiny / graph)
    data.write_bytes(bytes(12))
    add_weight(tiny, graph, as_initializer, data.name, offset="8", length="4")
    assert open_artifact(tiny).graph_data == data
    add_weight(tiny, graph, as_initializer, data.name, offset="12", length="4")
    assert "4 bytes at 12; expected them within the file's 12 bytes" in refusal(tiny)


def test_a_file_beside_the_graph_that_is_not_listed_is_refused(tiny: Path) -> None:
    graph = "model_b4_s16.onnx"
    data = data_file(tiny / graph)
    add_weight(tiny, graph, as_initializer, data.name)
    data.write_bytes(bytes(4))
    assert f"in '{data.name}'; expected all weights in the file itself" in refusal(tiny)


def test_a_link_in_place_of_the_listed_file_is_refused(tiny: Path) -> None:
    graph = "model_b4_s16.onnx"
    data = data_file(tiny / graph)
    data.write_bytes(bytes(4))
    add_weight(tiny, graph, as_initializer, data.name)
    data.rename(tiny / "elsewhere")
    data.symlink_to("elsewhere")
    assert "a symbolic link" in refusal(tiny)


def split_varint(tag: int) -> bytes:
    """A protobuf tag in five bytes, with bits that protobuf's parser drops."""
    return bytes([tag & 127 | 128, 128, 128, 128, 0x70])


@pytest.mark.parametrize("kind", ["group", "wide tag", "cut", "second graph"])
def test_an_odd_encoding_hides_nothing(tiny: Path, kind: str) -> None:
    graph = tiny / "model_b4_s16.onnx"
    tensor = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[1])
    entry = onnx.StringStringEntryProto(key="location", value="secret.bin").SerializeToString()
    body = tensor.SerializeToString() + bytes([0x70, 1])  # data_location EXTERNAL
    tag = split_varint(13 << 3 | 2) if kind == "wide tag" else bytes([13 << 3 | 2])
    body += tag + bytes([len(entry)]) + entry
    initializer = bytes([5 << 3 | 2]) + bytes([len(body)]) + body
    if kind == "group":
        initializer = (
            bytes([100 << 3 & 127 | 3 | 128, 6]) + bytes([100 << 3 & 127 | 4 | 128, 6]) + initializer
        )
    second = bytes([7 << 3 | 2]) + bytes([len(initializer)]) + initializer
    content = graph.read_bytes() + second
    graph.write_bytes(content[:-1] if kind == "cut" else content)
    (tiny / "secret.bin").write_bytes(bytes(4))
    reseal(tiny)
    assert "model_b4_s16.onnx " in refusal(tiny)
