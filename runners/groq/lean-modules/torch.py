"""A stand-in for PyTorch, on PYTHONPATH in the lean GroqFlow environment only.

GroqFlow 4.3.1 imports torch (2 GB and more with CUDA) when it is itself imported, but on the path from an
ONNX file it only ever asks whether something is a torch object. These are the names it asks with; nothing
here computes.
"""


class Tensor:
    """No object in the lean environment is an instance of it."""


class dtype:
    """GroqFlow names it in an annotation."""


class nn:
    class Module:
        """No object in the lean environment is an instance of it."""


class jit:
    class ScriptModule:
        """No object in the lean environment is an instance of it."""


def is_tensor(value):
    return isinstance(value, Tensor)
