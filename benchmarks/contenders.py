"""The table of contenders: whoever is to be measured is one entry here."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

BASELINE = "st-torch"


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to embed texts.

    `library` is the file in workers/ that does it, run by the Python of `environment` (see
    environments.sh), or by our own where that is None. `folder` is the model it opens (see
    folders.py), and `options` go to the worker's `load` beside it. `workloads` are those it takes
    part in: what is many times slower than all others would only stretch the rounds. `beside` is
    the contender that this one is compared with as well as with the baseline.
    """

    name: str
    about: str
    library: str
    environment: str | None
    folder: str
    options: Mapping[str, Any] = field(default_factory=dict)
    workloads: tuple[str, ...] = ("short", "long")
    beside: str | None = None


def _st(name: str, about: str, environment: str, folder: str, **options: object) -> Contender:
    """sentence-transformers with one of its backends."""
    return Contender(
        name, f"sentence-transformers {about}", "sentence_transformers", environment, folder, options
    )


def _peer(name: str, about: str, environment: str, folder: str | None = None, **options: object) -> Contender:
    """Another library, whose folder is called after it unless one is named."""
    return Contender(name, about, environment.replace("-", "_"), environment, folder or environment, options)


def _ours(name: str, about: str, artifact: str, graph: str, runner: str, **options: object) -> Contender:
    """minilmx: an artifact, one of its graphs, a runner, and its options."""
    settings = {"graph": graph, "runner": runner, "options": options}
    return Contender(f"minilmx-{name}", f"minilmx {about}", "minilmx", None, artifact, settings)


def _short(contender: Contender) -> Contender:
    """In the short workload alone."""
    return replace(contender, workloads=("short",))


def _beside(name: str, contender: Contender) -> Contender:
    """Compared with minilmx's contender of this name, too."""
    return replace(contender, beside=f"minilmx-{name}")


_TORCH = "sentence-transformers"
_ONNX = "sentence-transformers-onnx"
_OPENVINO = "sentence-transformers-openvino"
_OPENVINO_FILE = "openvino/openvino_model.xml"
_OPENVINO_INT8_FILE = "openvino/openvino_model_qint8_quantized.xml"
_BF16 = {"dtype": "bfloat16"}
_GENAI_F32 = {"INFERENCE_PRECISION_HINT": "f32"}
_F32 = {"ov_config": _GENAI_F32}

CONTENDERS = (
    _st(BASELINE, "torch fp32", _TORCH, "weights"),
    _st("st-torch-bf16", "torch bf16", _TORCH, "weights", model_kwargs=_BF16),
    _st("st-onnx", "ONNX", _ONNX, "st-onnx", file="onnx/model.onnx"),
    _st("st-onnx-o3", "ONNX O3", _ONNX, "st-onnx", file="onnx/model_O3.onnx"),
    _st("st-onnx-int8", "ONNX qint8", _ONNX, "st-onnx", file="onnx/model_qint8_avx512_vnni.onnx"),
    _st("st-ov-f32", "OpenVINO f32", _OPENVINO, "st-openvino", file=_OPENVINO_FILE, model_kwargs=_F32),
    _st("st-ov", "OpenVINO default", _OPENVINO, "st-openvino", file=_OPENVINO_FILE),
    _st("st-ov-int8", "OpenVINO int8", _OPENVINO, "st-openvino", file=_OPENVINO_INT8_FILE),
    Contender("fastembed", "fastembed default", "fastembed", "fastembed", "artifact"),
    Contender("fastembed-32", "fastembed batch 32", "fastembed", "fastembed", "artifact", {"batch_size": 32}),
    Contender("optimum", "optimum ONNX batch 32 by length", "optimum", "optimum", "st-onnx"),
    _peer("ctranslate2-default", "CTranslate2 default", "ctranslate2", by_length=False),
    _peer("ctranslate2", "CTranslate2 tuned (worker per core, by length)", "ctranslate2"),
    _peer("ctranslate2-int8", "CTranslate2 int8 tuned", "ctranslate2", compute_type="int8"),
    _peer("genai-default", "OpenVINO GenAI default", "openvino-genai"),
    _peer(
        "genai-f32", "OpenVINO GenAI f32 tuned (by length)", "openvino-genai", by_length=True, **_GENAI_F32
    ),
    _peer("light-embed", "light-embed default", "light-embed", "artifact"),
    _peer("embed-anything-default", "embed-anything default", "embed-anything", "artifact"),
    _peer("embed-anything", "embed-anything tuned (by length)", "embed-anything", "artifact", by_length=True),
    _peer("llama-cpp-f32", "llama.cpp f32 tuned (by length)", "llama-cpp", "gguf", kind="f32"),
    _peer("llama-cpp-q8", "llama.cpp q8_0 tuned (by length)", "llama-cpp", "gguf", kind="q8_0"),
    _short(_ours("fixed", "onnxruntime fixed 1x128", "artifact", "fixed", "onnxruntime")),
    _beside("fixed", _ours("packed", "onnxruntime packed 1x128", "artifact", "packed", "onnxruntime")),
    _beside(
        "fixed", _short(_ours("packed-64", "onnxruntime packed 8x64", "batch-8", "packed", "onnxruntime"))
    ),
    _ours("dynamic", "onnxruntime", "artifact", "dynamic", "onnxruntime"),
    _short(_ours("int8-fixed", "onnxruntime int8 fixed 1x128", "int8", "fixed", "onnxruntime")),
    _beside(
        "int8-fixed", _ours("int8-packed", "onnxruntime int8 packed 1x128", "int8", "packed", "onnxruntime")
    ),
    _ours("int8", "onnxruntime int8", "int8", "dynamic", "onnxruntime"),
    _ours("ov-f32", "OpenVINO f32", "artifact", "dynamic", "openvino"),
    _ours("ov-bf16", "OpenVINO bf16", "artifact", "dynamic", "openvino", precision="bf16"),
    _ours("ov-bf16-packed", "OpenVINO bf16, packed 4x128", "batch-4", "packed", "openvino", precision="bf16"),
    _ours("ov-int8", "OpenVINO int8", "artifact", "dynamic", "openvino", precision="int8"),
    _short(
        _ours(
            "ov-int8-packed", "OpenVINO int8, packed 8x64", "batch-8", "packed", "openvino", precision="int8"
        )
    ),
)
