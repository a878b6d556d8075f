"""Snapshot tests of embeddings: a golden file in a repository, and an assertion.

from minilmx.testing import assert_same

def test_the_embeddings_have_not_changed():
    assert_same("artifact/", "tests/golden.safetensors", preset="float32")
"""

from collections.abc import Mapping
from pathlib import Path

from minilmx.api.golden import check_golden
from minilmx.api.sides import EmbedderLike
from minilmx.eval.golden import most_moved, read_golden


def assert_same(
    embedder: EmbedderLike,
    golden: Path | str,
    *,
    preset: str | None = None,
    limits: Mapping[str, float] | Path | str | None = None,
) -> None:
    """Raise AssertionError, with the reason and the texts that moved most, unless a golden check passes.

    The arguments are as in `minilmx.check_golden`, and so are the errors of a check that cannot be made.

    Example:
        >>> from minilmx.testing import assert_same
        >>> assert_same("out", "golden.safetensors", preset="float32")
    """
    kept = read_golden(Path(golden))
    result = check_golden(kept, embedder, limits=limits, preset=preset)
    if not result.passed:
        broken = [
            f"{check.limit}: {check.found}; expected {check.allowed:g}"
            for check in result.checks
            if not check.passed
        ]
        raise AssertionError("\n".join([result.verdict.sentence, *broken, *most_moved(kept, result)]))
