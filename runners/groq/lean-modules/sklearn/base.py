"""The one name of scikit-learn that GroqFlow 4.3.1 needs to be imported.

It stands in the annotation of the models that GroqFlow accepts; the path from an ONNX file never uses it.
That `sklearn.ensemble` does not exist here is meant: GroqFlow catches the ImportError and turns its
scikit-learn path off.
"""


class BaseEstimator:
    """No object in the lean environment is an instance of it."""
