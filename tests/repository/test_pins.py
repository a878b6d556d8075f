"""The files of pins that are installed together agree: pip refuses two versions of one package."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pins(path: Path) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([^\s;#]+)(?!.*< '3.11')", path.read_text("utf-8"), re.M)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_the_examples_pin_what_the_constraints_allow() -> None:
    """tests/examples/environments.sh installs with both files at once."""
    constraints, examples = pins(ROOT / "constraints.txt"), pins(ROOT / "tests/examples/requirements.txt")
    assert constraints and examples
    both = constraints.keys() & examples.keys()
    assert {name: examples[name] for name in both} == {name: constraints[name] for name in both}
