"""What a runner's details say of its versions."""

from minilmx.eval.evaluation import RunnerResult

# Keys of the runners' details that hold a version.
_KEYS = ("onnxruntime", "torch", "transformers", "groqflow", "sdk")


def versions_of(result: RunnerResult) -> str:
    """The versions that a runner recorded, in words; empty if it recorded none."""
    stated = result.versions or {key: str(result.details[key]) for key in _KEYS if key in result.details}
    return ", ".join(f"{name} {version}" for name, version in stated.items())
