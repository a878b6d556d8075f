"""Names in the product code say what they hold."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAY_NOTHING = {"wanted", "done", "taken", "there"}
# "found" is the middle of an error, "<what>: <found>; expected <x>", and what a check of a machine found.
CHECKS = ("runners/groq/doctor.py", "runners/groq/selftest.py")


def scopes(tree: ast.Module) -> Iterator[ast.AST]:
    yield tree
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def bound(scope: ast.AST) -> Iterator[str]:
    """The variables and parameters of a scope, without those of the functions in it."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname
        yield from bound(node)


def faults(source: str, path: str) -> list[str]:
    return [
        f"{path}: {getattr(scope, 'name', 'the module')}: {name}"
        for scope in scopes(ast.parse(source))
        for name in set(bound(scope))
        if name in SAY_NOTHING
        or (name == "found" and path not in CHECKS and "expected" not in ast.unparse(scope))
    ]


def test_no_name_says_nothing() -> None:
    paths = [
        path
        for folder in ("export", "runners", "eval", "models", "src", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if ".environments" not in path.parts
    ]
    assert len(paths) > 100
    names = (faults(path.read_text("utf-8"), path.relative_to(ROOT).as_posix()) for path in paths)
    assert [each for some in names for each in some] == []


@pytest.mark.parametrize(
    "source", ["done = 1", "def f(wanted): ...", "def f():\n    found = f()", "there, x = f()"]
)
def test_a_name_that_says_nothing_is_reported(source: str) -> None:
    assert len(faults(source, "models/any.py")) == 1
