"""The physical limit: how much work a workload is, and how fast this machine multiplies matrices.

Run as a program, it prints this machine's rate in FLOP/s: the best of all libraries and shapes.
"""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# all-MiniLM-L6-v2: layers, the embedding's dimension, and that of the feed-forward layer.
_LAYERS, _HIDDEN, _INNER = 6, 384, 1536
_TOKENS = 512
_SHAPES = (
    (_TOKENS, _HIDDEN, _HIDDEN),  # attention's projections
    (_TOKENS, _HIDDEN, _INNER),
    (_TOKENS, _INNER, _HIDDEN),
    (2048, 2048, 2048),
)
_SECONDS_A_PRODUCT = 0.3
_LIBRARIES = ("numpy", "torch", "onnxruntime")

Rates = dict[tuple[int, int, int], dict[str, float]]


def count_flops(token_counts: NDArray[np.int64]) -> int:
    """Work in the matrix products for texts of so many tokens, int64 [N], without padding, FLOP.

    A token passes four D x D products and two D x F ones a layer; in a text of s tokens it also
    meets s others twice (scores, then weighted values), D numbers each. Two FLOP an element.
    """
    tokens = int(token_counts.sum())
    meetings = int((token_counts**2).sum())
    weights = 4 * _HIDDEN * _HIDDEN + 2 * _HIDDEN * _INNER
    return _LAYERS * 2 * (tokens * weights + meetings * 2 * _HIDDEN)


def measure_rates() -> Rates:
    """The best float32 rate by shape (rows, inner, columns) and library, all cores, FLOP/s.

    Which library multiplies fastest depends on the processor, by as much as a factor of two.
    """
    by_shape = {}
    for rows, inner, columns in _SHAPES:
        random = np.random.default_rng(0)
        left = random.random((rows, inner), dtype=np.float32)
        right = random.random((inner, columns), dtype=np.float32)
        rates = dict.fromkeys(_LIBRARIES, 0.0)
        for library, multiply in zip(_LIBRARIES, _products(left, right), strict=True):
            until = time.perf_counter() + _SECONDS_A_PRODUCT
            while (started := time.perf_counter()) < until:
                multiply()
                rate = 2 * rows * inner * columns / (time.perf_counter() - started)
                rates[library] = max(rates[library], rate)
        by_shape[rows, inner, columns] = rates
    return by_shape


def _products(left: NDArray[np.float32], right: NDArray[np.float32]) -> list[Callable[[], object]]:
    """[M, K] times [K, N] by each library; onnxruntime prepares the right one, as it does weights."""
    import onnxruntime
    import torch
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["left", "right"], ["product"])],
        "gemm",
        [helper.make_tensor_value_info("left", TensorProto.FLOAT, left.shape)],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, [len(left), right.shape[1]])],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    tensors = torch.from_numpy(left), torch.from_numpy(right)
    return [
        lambda: np.matmul(left, right),
        lambda: torch.mm(*tensors),
        lambda: session.run(None, {"left": left}),
    ]


if __name__ == "__main__":
    print(max(rate for rates in measure_rates().values() for rate in rates.values()))
