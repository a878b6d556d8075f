"""How onnxruntime runs a graph."""

import onnxruntime

from minilmx.cpus import limited_threads

OPTIMIZATION_LEVELS = {
    "disable": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def session_options(optimization: str, threads: int | None) -> onnxruntime.SessionOptions:
    """The settings of a session; `threads` run an operator, or None: all CPUs that this process may use."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors are exceptions too, and their names of nodes unescaped
    options.graph_optimization_level = OPTIMIZATION_LEVELS[optimization]
    options.intra_op_num_threads = limited_threads(threads) or 0  # 0: onnxruntime's own choice
    return options
