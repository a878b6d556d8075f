"""The packages that make a GroqFlow environment that works today.

A plain `pip install groqflow==4.3.1` is broken in three ways: numpy 2 is incompatible with its scikit-learn
1.1.1; onnxconverter-common 1.16 silently writes an invalid FP16 graph; setuptools 81 has no `pkg_resources`.
"""

GROQFLOW_VERSION = "4.3.1"
PYTHON_VERSIONS = ("3.8", "3.9", "3.10")

# What Groq's own guide installs, with the pins that make it work: 3 GB to download, 5.4 GB on disk.
_FULL = (
    f"groqflow=={GROQFLOW_VERSION}",
    "numpy<2",
    "onnxconverter-common==1.13.0",
    "setuptools<81",
)

# Only what the path from an ONNX file uses: 44 MB to download. Install with --no-deps, and put the folder
# `lean-modules` on PYTHONPATH in place of torch, scikit-learn and SymPy.
_LEAN = (
    f"groqflow=={GROQFLOW_VERSION}",
    "mlagility==3.3.1",
    "onnx==1.14.0",
    "onnxruntime==1.15.1",
    "protobuf==3.20.3",
    "typeguard==4.0.0",
    "onnxmltools==1.11.2",
    "onnxconverter-common==1.13.0",
    "psutil==7.2.2",
    "pyyaml==6.0.3",
)
_LEAN_ON_PYTHON_3_8 = (  # the last releases for that version
    "numpy==1.24.4",
    "packaging==25.0",
    "typing-extensions==4.13.2",
    "setuptools==75.3.4",
)
_LEAN_ON_LATER_PYTHONS = (
    "numpy==1.26.4",
    "packaging==26.3",
    "typing-extensions==4.16.0",
    "setuptools==80.10.2",
)


def requirements(size: str, python_version: str) -> tuple[str, ...]:
    """What pip installs for a "full" or "lean" environment of a Python version, such as "3.10"."""
    if size == "full":
        return _FULL
    return _LEAN + (_LEAN_ON_PYTHON_3_8 if python_version == "3.8" else _LEAN_ON_LATER_PYTHONS)
