"""An ONNX file with dynamic axes as a model to export, without torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from minilmx.errors import ExportError, ModelError, boundary
from minilmx.export.freeze import lowest_ir_version
from minilmx.export.model import Outputs
from minilmx.export.options import ExportOptions
from minilmx.export.parity import open_session
from minilmx.models.architectures import count_positions, token_width
from minilmx.models.external_data import (
    embed,
    external_tensors,
    find_span,
    fits_one_file,
    save_model,
    total_bytes,
)
from minilmx.models.interface import INPUT_NAMES, LEAST_NORM, MASKED, OUTPUT_NAMES
from minilmx.models.manifest import MAX_SIZE, GraphKind
from minilmx.models.model_folder import ModelSource, read_json
from minilmx.models.modules import choose_widths, pooled_dimension, read_modules
from minilmx.models.onnx_file import as_tensor, read_facts
from minilmx.models.tokenizer import TokenBatch

_HIDDEN, _POOLED = OUTPUT_NAMES
_CANDIDATES = ("onnx/model.onnx", "model.onnx")
# The poolings that are added to a file that has none.
_POOLINGS = ("mean", "cls", "max")
# The first opset in which the axes of ReduceMax are an input.
_AXES_AS_INPUT = 18


@dataclass(frozen=True, slots=True)
class DynamicModel:
    """An ONNX file with dynamic axes, as an ExportableModel.

    `session` runs the file as it is, for its `outputs`; `proto` has the inputs and outputs of an
    artifact's graph, with the pooling and normalisation that the file lacks.
    """

    file: Path
    session: onnxruntime.InferenceSession
    outputs: tuple[str, ...]
    proto: onnx.ModelProto
    pooling: str
    normalized: bool
    embedding_dimension: int
    max_sequence_length: int | None
    hidden_dimension: int
    model_dimension: int
    head: tuple[()] = ()
    output: str = OUTPUT_NAMES[1]

    @classmethod
    def load(
        cls, source: ModelSource, file: Path, proto: onnx.ModelProto, dimension: int | None = None
    ) -> "DynamicModel":
        """Take the parsed `file` of `source`, and change `proto` to an artifact's interface.

        The first output must be token embeddings; the input token_type_ids may be missing. If there is no
        `sentence_embedding`, modules.json says how to pool. With a `dimension`, that many numbers of the
        token embeddings are pooled by modules.json in any case. Raises ModelError or ExportError for any
        other file.
        """
        config = read_json(source.encoder, "config.json", dict)
        width = token_width(config)
        if width is None:
            raise ModelError(
                f"{source.encoder / 'config.json'}: hidden_size {config.get('hidden_size')!r}; expected a "
                f"whole number from 1 to {MAX_SIZE}"
            )
        modules = read_modules(source)
        if not modules.is_plain or modules.head or modules.pooling not in _POOLINGS:
            what = "Dense modules" if modules.dense else f"{modules.pooling} pooling"
            raise ModelError(
                f"{source.id}: {what}; expected {', '.join(_POOLINGS)} pooling and no Dense module for an "
                "ONNX file",
                "Export the model from its PyTorch weights.",
            )
        inputs = [as_tensor(value) for value in proto.graph.input]
        found = f"{file}: inputs {', '.join(map(str, inputs))}"
        names = {tensor.name for tensor in inputs}
        constants = {tensor.name for tensor in proto.graph.initializer}
        # RoBERTa has one type of token, so its files often have no such input: it is added, and not read.
        required = set(INPUT_NAMES) - ({"token_type_ids"} - constants)
        if not required <= names <= set(INPUT_NAMES):
            raise ExportError(f"{found}; expected {', '.join(INPUT_NAMES)}")
        if any(tensor.dtype != "int64" for tensor in inputs):
            raise ExportError(f"{found}; expected int64")
        if any(isinstance(dim, int) for tensor in inputs for dim in tensor.shape):
            raise ExportError(f"{found}; expected dynamic axes, which freezing makes fixed")
        stated = [value.name for value in proto.graph.output] or ["missing"]
        if stated[0] not in (_HIDDEN, "token_embeddings"):
            raise ExportError(f"{file}: the first output is {stated[0]}; expected {_HIDDEN}")
        width = min(width, pooled_dimension(source) or width)
        hidden, kept = choose_widths(source, modules, width, dimension)
        pools = _POOLED in stated and dimension is None
        outputs = (stated[0], _POOLED) if pools else (stated[0],)
        session = open_session(file)
        if fits_one_file(total_bytes(proto)):
            embed(proto, file.parent)
        model = cls(
            file,
            session,
            outputs,
            proto,
            modules.pooling,
            modules.normalized,
            kept,
            count_positions(config),
            hidden,
            width,
        )
        _give_interface(model)
        return model

    def run(self, batch: TokenBatch) -> Outputs:
        """The file's own outputs on onnxruntime; pooled by numpy if it does not pool. Raises ExportError."""
        feeds = batch.feeds()
        inputs = {value.name: feeds[value.name] for value in self.session.get_inputs()}
        with boundary(ExportError, f"{self.file}: onnxruntime cannot run it"):
            hidden, *pooled = self.session.run(list(self.outputs), inputs)
        hidden = hidden[:, :, : self.hidden_dimension]
        embedding = pooled[0] if pooled else self._pool(hidden, batch.attention_mask[:, :, None])
        return hidden, embedding[:, : self.embedding_dimension]

    def _pool(self, hidden: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.pooling == "cls":
            pooled = hidden[:, 0]
        elif self.pooling == "max":
            pooled = np.where(mask == 1, hidden, -np.inf).max(axis=1)
        else:
            pooled = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
        if self.normalized:
            pooled = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return pooled.astype(np.float32)

    def write_graph(self, kind: GraphKind, options: ExportOptions, path: Path) -> None:
        """Write the dynamic-shape graph: an ONNX file has no other."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        save_model(proto, path, self.file.parent)


def find_onnx_file(source: ModelSource) -> Path:
    """The ONNX file of a model folder. Raises ModelError if it does not exist."""
    for name in _CANDIDATES:
        with boundary(ModelError, f"{source.folder / name} cannot be read"):
            if (source.folder / name).is_file():
                return source.folder / name
    raise ModelError(f"{source.folder}: no ONNX file; expected {' or '.join(_CANDIDATES)}")


def find_weights(file: Path, proto: onnx.ModelProto) -> list[Path]:
    """The files that hold the weights of an ONNX file: itself, and those of its external data, sorted.

    Raises ExportError for external data that is not in a regular file in its folder, with one hard link:
    another one may be to a file outside the folder.
    """
    with boundary(ExportError, str(file)):
        data = {find_span(tensor, file.parent).file for tensor in external_tensors(proto)}
    for each in data:
        if (links := each.stat().st_nlink) > 1:
            raise ExportError(f"{each}: {links} hard links; expected a file of its own", "Copy the file.")
    return [file, *sorted(data)]


def _give_interface(model: DynamicModel) -> None:
    """Set our input order, output names and named dynamic axes; add the pooling and truncation it lacks."""
    proto, outputs = model.proto, model.outputs
    graph = proto.graph
    if model.hidden_dimension < model.model_dimension:
        _rename(graph, outputs[0], "pooling/full_hidden")
        _truncate(graph, "pooling/full_hidden", model.hidden_dimension, _HIDDEN)
    else:
        _rename(graph, outputs[0], _HIDDEN)
    if _POOLED not in outputs:
        _rename(graph, _POOLED, "pooling/unused")
        _add_pooling(graph, read_facts(proto, model.file).opset, model.pooling, model.normalized)
    if model.embedding_dimension < model.hidden_dimension:
        _rename(graph, _POOLED, "pooling/full_embedding")
        _truncate(graph, "pooling/full_embedding", model.embedding_dimension, _POOLED)
    dims = ["batch_size", "sequence_length"]
    del graph.input[:], graph.output[:], graph.value_info[:]
    int64, float32 = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    graph.input.extend(helper.make_tensor_value_info(name, int64, dims) for name in INPUT_NAMES)
    graph.output.extend(
        [
            helper.make_tensor_value_info(_HIDDEN, float32, [*dims, model.hidden_dimension]),
            helper.make_tensor_value_info(_POOLED, float32, [dims[0], model.embedding_dimension]),
        ]
    )
    proto.ir_version = lowest_ir_version(proto)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def _truncate(graph: onnx.GraphProto, values: str, kept: int, output: str) -> None:
    """Append a node that keeps the first numbers of each row."""
    names = [f"{output}/{name}" for name in ("start", "end", "axis")]
    for name, number in zip(names, (0, kept, -1), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.array([number], np.int64), name))
    graph.node.append(helper.make_node("Slice", [values, *names], [output], name=f"/{output}/truncate"))


def _add_pooling(graph: onnx.GraphProto, opset: int, pooling: str, normalized: bool) -> None:
    """Append the same pooling as export/graph.py's, as nodes of the file's opset."""

    def constant(name: str, value: float | list[int]) -> str:
        kind = np.int64 if isinstance(value, list) else np.float32
        graph.initializer.append(numpy_helper.from_array(np.array(value, kind), f"pooling/{name}"))
        return f"pooling/{name}"

    def add(op: str, *inputs: str, output: str, **attributes: Any) -> str:
        name = output if output == _POOLED else f"pooling/{output}"
        graph.node.append(helper.make_node(op, inputs, [name], name=f"/{name}", **attributes))
        return name

    last = "pooled" if normalized else _POOLED
    float32 = onnx.TensorProto.FLOAT
    tokens_axis = constant("tokens_axis", [1])
    mask = add("Cast", "attention_mask", output="mask", to=float32)
    mask = add("Unsqueeze", mask, constant("last_axis", [2]), output="mask_column")
    if pooling == "cls":
        pooled = add("Gather", _HIDDEN, constant("first", [0]), output="first_token", axis=1)
        pooled = add("Squeeze", pooled, tokens_axis, output=last)
    elif pooling == "max":
        padding = add("Sub", constant("one", 1.0), mask, output="padding")
        masked = add("Mul", padding, constant("masked", MASKED), output="masked_padding")
        hidden = add("Add", _HIDDEN, masked, output="masked_hidden")
        if opset < _AXES_AS_INPUT:
            pooled = add("ReduceMax", hidden, output=last, axes=[1], keepdims=0)
        else:
            pooled = add("ReduceMax", hidden, tokens_axis, output=last, keepdims=0)
    else:
        hidden = add("Mul", _HIDDEN, mask, output="masked_hidden")
        total = add("ReduceSum", hidden, tokens_axis, output="total", keepdims=0)
        count = add("ReduceSum", mask, tokens_axis, output="count", keepdims=0)
        count = add("Clip", count, constant("one", 1.0), output="count_at_least_one")
        pooled = add("Div", total, count, output=last)
    if normalized:
        square = add("Mul", pooled, pooled, output="square")
        total = add("ReduceSum", square, tokens_axis, output="square_sum", keepdims=1)
        norm = add("Sqrt", total, output="norm")
        norm = add("Clip", norm, constant("least_norm", LEAST_NORM), output="norm_clipped")
        add("Div", pooled, norm, output=_POOLED)
