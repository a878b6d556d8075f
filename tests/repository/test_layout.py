"""The folders, the links, the package mapping and the documents agree."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from minilmx.cli import cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    "README.md",
    "examples/README.md",
    *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md")),
]


@pytest.fixture(scope="module")
def setuptools_config() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as stream:
        config: dict[str, Any] = tomllib.load(stream)["tool"]["setuptools"]
    return config


def test_each_top_level_folder_is_linked_into_the_package() -> None:
    for name in ("export", "runners", "eval", "models"):
        link = ROOT / "src" / "minilmx" / name
        assert link.is_symlink(), name
        assert link.resolve() == ROOT / name


def test_every_package_folder_is_mapped_and_nothing_else(setuptools_config: dict[str, Any]) -> None:
    package = ROOT / "src" / "minilmx"
    found = {"minilmx", *setuptools_config["package-data"]}
    for folder in (package, *(package / name for name in ("export", "runners", "eval", "models"))):
        for marker in folder.glob("**/__init__.py"):
            relative = marker.parent.relative_to(package).parts
            if "lean-modules" not in relative:  # modules for GroqFlow's Python, no package of ours
                found.add(".".join(("minilmx", *relative)))
    assert set(setuptools_config["packages"]) == found
    for name, path in setuptools_config["package-dir"].items():
        seen_as = package.joinpath(*name.split(".")[1:])
        assert (ROOT / path).resolve() == seen_as.resolve(), name


def test_torch_and_transformers_are_imported_in_a_few_files() -> None:
    importing = {
        path.relative_to(ROOT).as_posix()
        for folder in ("export", "runners", "eval", "models", "src/minilmx")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(import|from) (torch|transformers)\b", path.read_text("utf-8"), re.M)
    }
    own = {"src/minilmx/embedders/model.py", "src/minilmx/sentence_transformers.py"}
    made = "models/made_tokenizer.py"  # transformers alone
    assert importing == {"models/pytorch.py", "export/graph.py", "runners/torch.py", made, *own}


# Each room, by the package that it is, and the rooms that it may import: those before it.
_ORDER = (
    *("errors", "arguments", "progress", "cpus", "threads", "signals", "wording", "files", "models"),
    *(("export", "runners"), "embedding", "embedders", "eval", "publishing", "api"),
    ("testing", "sentence_transformers", "cli"),
)


def _allowed() -> dict[str, set[str]]:
    allowed: dict[str, set[str]] = {}
    before: set[str] = set()
    for step in _ORDER:
        rooms = (step,) if isinstance(step, str) else step
        allowed |= {room: before | {room} for room in rooms}
        before |= set(rooms)
    return allowed


def test_imports_go_one_way_without_exception() -> None:
    package = ROOT / "src" / "minilmx"
    for room, rooms in _allowed().items():
        files = [package / f"{room}.py"] if (package / f"{room}.py").is_file() else []
        for path in (*files, *(package / room).rglob("*.py")):
            tree = ast.parse(path.read_text("utf-8"))
            for node in ast.walk(tree):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                used = {name.split(".")[1] for name in names if name.startswith("minilmx.")}
                assert used <= rooms, f"{path} imports {', '.join(sorted(used - rooms))}"


def test_every_room_is_in_the_order() -> None:
    package = ROOT / "src" / "minilmx"
    rooms = {
        path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert rooms - {"__init__", "__main__"} <= set(_allowed())


def _commands_in(document: str) -> list[list[str]]:
    """The `mlx ...` lines of a document's code blocks, as words."""
    text = (ROOT / document).read_text("utf-8")
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [
        found.group(0).split("#")[0].split()
        for line in lines
        if (found := re.search(r"(?<![\w./-])mlx [a-z].*", line))
    ]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_and_option_in_the_documents_exists(document: str) -> None:
    for words in _commands_in(document):
        command: click.Command = cli
        for word in words[1:]:
            if not (isinstance(command, click.Group) and word in command.commands):
                break
            command = command.commands[word]
        assert command is not cli, f"{document}: {' '.join(words)}"
        known = {name for option in command.params for name in option.opts}
        used = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known, f"{document}: {' '.join(words)}"


def test_the_readme_shows_every_command() -> None:
    shown = {words[1] for words in _commands_in("README.md")}
    assert shown >= set(cli.commands)
