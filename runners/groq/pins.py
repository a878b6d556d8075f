"""What `pip install` needs to make a GroqFlow 4.3.1 environment that works today.

A plain `pip install groqflow==4.3.1` is broken three ways: numpy 2 does not go with its scikit-learn 1.1.1;
onnxconverter-common 1.16 writes an invalid FP16 graph without a word; setuptools 81 has no `pkg_resources`.
"""

PYTHON_VERSIONS = ((3, 8), (3, 9), (3, 10))

# What Groq's own guide installs, with the pins that make it work: 3 GB to download, 5.4 GB on disk.
FULL = (
    "groqflow==4.3.1",
    "numpy<2",
    "onnxconverter-common==1.13.0",
    "setuptools<81",
)

# Only what the path from an ONNX file uses: 49 MB to download. Install with --no-deps, and put the folder
# `lean-modules` on PYTHONPATH for torch and scikit-learn.
_LEAN_ON_ANY = (
    "groqflow==4.3.1",
    "mlagility==3.3.1",
    "onnx==1.14.0",
    "onnxruntime==1.15.1",
    "protobuf==3.20.3",
    "typeguard==4.0.0",
    "onnxmltools==1.11.2",
    "onnxconverter-common==1.13.0",
    "psutil==7.2.2",
    "pyyaml==6.0.3",
    "mpmath==1.3.0",
)
LEAN = (
    *_LEAN_ON_ANY,
    "numpy==1.26.4",
    "packaging==26.3",
    "typing-extensions==4.16.0",
    "sympy==1.14.0",
    "setuptools==80.10.2",
)
# The last releases that Python 3.8 can have.
LEAN_ON_PYTHON_3_8 = (
    *_LEAN_ON_ANY,
    "numpy==1.24.4",
    "packaging==25.0",
    "typing-extensions==4.13.2",
    "sympy==1.13.3",
    "setuptools==75.3.4",
)
