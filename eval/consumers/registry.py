"""The consumers that `mlx check` knows.

To add one, put its code into snippets/NAME.py.txt (or .mjs.txt) with a function `embed(texts)`, and
add an entry here.
"""

from dataclasses import dataclass

from minilmx.eval.consumers.snippets.template import FIXED_SUFFIX, snippet_language

PYTHON_TOLERANCE = 1e-5
NODE_TOLERANCE = 1e-4
# optimum-onnx 0.1.0, through which these run ONNX, works with transformers before 4.58 only.
_ONNX = "optimum-onnx 'transformers<4.58'"


@dataclass(frozen=True, slots=True)
class Consumer:
    """A library that opens an artifact.

    `packages` are the distributions (in Node the packages) that it needs, its own first; `install` is
    the command that installs them. `tolerance` is the largest difference of a number in an embedding
    that counts as agreement.
    """

    name: str
    packages: tuple[str, ...]
    install: str
    tolerance: float = PYTHON_TOLERANCE

    @property
    def language(self) -> str:
        """The language of its snippet: py or mjs."""
        return snippet_language(self.name)

    @property
    def graph(self) -> str:
        """The artifact's graph that it runs: dynamic or fixed."""
        return "fixed" if self.name.endswith(FIXED_SUFFIX) else "dynamic"


_LIBRARIES = (
    Consumer(
        "sentence-transformers",
        ("sentence-transformers", "optimum-onnx"),
        f"pip install sentence-transformers {_ONNX}",
    ),
    Consumer(
        "haystack",
        ("haystack-ai", "sentence-transformers-haystack", "optimum-onnx"),
        f"pip install haystack-ai sentence-transformers-haystack {_ONNX}",
    ),
    Consumer(
        "langchain",
        ("langchain-huggingface", "sentence-transformers", "optimum-onnx"),
        f"pip install langchain-huggingface sentence-transformers {_ONNX}",
    ),
    Consumer("fastembed", ("fastembed",), "pip install fastembed"),
)
_ALL = (
    Consumer("onnxruntime", ("onnxruntime", "tokenizers"), "pip install onnxruntime tokenizers numpy"),
    *_LIBRARIES,
    Consumer("optimum", ("optimum-onnx", "onnxruntime"), f"pip install onnxruntime {_ONNX}"),
    Consumer(
        "txtai",
        ("txtai", "sentence-transformers", "optimum-onnx"),
        f"pip install txtai sentence-transformers {_ONNX}",
    ),
    Consumer(
        "chroma",
        ("chromadb", "sentence-transformers", "optimum-onnx"),
        f"pip install chromadb sentence-transformers {_ONNX}",
    ),
    Consumer(
        "transformers-js",
        ("@huggingface/transformers",),
        "ONNXRUNTIME_NODE_INSTALL=skip npm install @huggingface/transformers",
        NODE_TOLERANCE,
    ),
    *(Consumer(each.name + FIXED_SUFFIX, each.packages, each.install) for each in _LIBRARIES),
)
CONSUMERS = {consumer.name: consumer for consumer in _ALL}
