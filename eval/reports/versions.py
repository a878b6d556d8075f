"""The versions that a runner recorded, in words."""

from minilmx.eval.evaluation import RunnerResult


def versions_of(result: RunnerResult) -> str:
    """The versions that a runner recorded, in words; empty if it recorded none."""
    return ", ".join(f"{name} {version}" for name, version in result.versions.items())
