"""Plain English: words of a private dialect are not used in documents, help, errors or docstrings.

A word list cannot make prose good. It keeps out what crept in before, each with the word to use instead.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from minilmx.cli import cli

ROOT = Path(__file__).parents[2]

# A unit that follows "one" or "once" as in "one sentence a line".
_UNIT = r"(?:line|row|sentence|batch|CPU|shard|file|token|column|language|runner|limit|worker|package|round)"

# Each pattern, and the reason: what a reader understands at once.
FORBIDDEN = {
    r"\btwins?\b": "a private metaphor: say dynamic-shape graph",
    r"\bmend(?:s|ed|ing)?\b": "old-fashioned: say fix",
    r"\bthe mains\b": "a private metaphor: say power loss",
    r"\bbegun with\b": "say created with",
    r"\bin vain\b": "say without success",
    r"\banew\b": "say again",
    r"\b(?:is|are|was|were) no (?!longer\b|more than\b|less than\b)\w": "say is not a, or does not exist",
    r"\btells\b": "say reports, shows or says",
    r"\b(?:go|goes|going) on (?:with|at|where|after)\b|\bgoes on\b": "say resume, resumes or continues",
    r",? where (?:it|they) (?:can|cannot|is|are|has|have|exists?)\b": "a condition: say if or when",
    r"\bwhere (?:there (?:is|are)|none|nothing)\b": "a condition: say if",
    r"\b(?:none|null|empty|nothing) where\b|\bwhere no\b": "a condition: say if",
    r"[,;(] ?else\b": "a word of code: say otherwise",
    r"\b(?:there already|already there)\b": "say already exists, or is already done",
    r"\b(?:is|are|was|were) not there\b": "say does not exist, or is missing",
    r"\bnot whole\b": "say incomplete",
    r"\bfrom (?:PyTorch|the \w+) on\b": "unclear where it ends: say starting with, or from X to Y",
    r"\b(?:makes?|made|brings?) the drift\b": "say causes",
    r"\bthe lines (?:of|that)\b": "lines of what? say the code",
    r"\bfor want of\b": "old-fashioned: say for lack of",
    rf"\bone(?: \w+)? an? {_UNIT}\b|\b(?:once|twice) an? {_UNIT}\b": "say per: one sentence per line",
}

# The pages in docs/reference/ are made of help and docstrings, which are checked at their source.
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob(".github/**/*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/*.md"),
    )
    if path.parent.name != "reference"
)

# The product code by room: its string constants, which hold every error and message, and its docstrings.
ROOMS = ("minilmx", "cli", "files", "embedding", "embedders", "models", "export", "runners", "eval")


def faults(text: str) -> list[str]:
    """What is wrong with a text, with its surroundings."""
    text = re.sub(r"\s+", " ", text)
    return [
        f"...{text[max(0, found.start() - 40) : found.end() + 30]}...: {reason}"
        for pattern, reason in FORBIDDEN.items()
        for found in re.finditer(pattern, text, re.I)
    ]


def prose(document: str) -> str:
    """A document without its code blocks: what a program prints is checked where it is written."""
    return re.sub(r"```.*?```", "", (ROOT / document).read_text("utf-8"), flags=re.S)


def helps(command: click.Command) -> Iterator[str]:
    yield command.help or ""
    yield command.epilog or ""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield parameter.help or ""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from helps(each)


def strings(room: str) -> Iterator[tuple[str, str]]:
    """Every string constant of a room, formatted ones with {} for what is filled in."""
    package = ROOT / "src" / "minilmx"
    for path in sorted(package.glob("*.py") if room == "minilmx" else (package / room).rglob("*.py")):
        if "lean-modules" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            where = f"{path.relative_to(package)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
                yield where, "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield where, node.value


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_are_in_plain_english(document: str) -> None:
    assert faults(prose(document)) == []


def test_the_help_of_every_command_is_in_plain_english() -> None:
    assert [fault for text in helps(cli) for fault in faults(text)] == []


@pytest.mark.parametrize("room", ROOMS)
def test_errors_messages_and_docstrings_are_in_plain_english(room: str) -> None:
    assert [f"{where} {fault}" for where, text in strings(room) for fault in faults(text)] == []


@pytest.mark.parametrize("room", ["export"])
def test_only_the_command_line_names_its_options(room: str) -> None:
    assert [f"{where} {text}" for where, text in strings(room) if re.search(r"(?<!\S)--[a-z]", text)] == []


@pytest.mark.parametrize(
    "sentence",
    [
        "Runs the dynamic twin.",
        "A run that was begun with other settings.",
        "It is no artifact.",
        "One sentence a line.",
        "It takes the packed graph, where it can.",
        "A folder that a run goes on with.",
        "Empty where there are none.",
        "A number, or None where it is not defined.",
        "The dynamic-shape graph if every runner takes it, else the fixed one.",
        "An artifact that is there already.",
        "The file is not there.",
        "The shard is not whole.",
        "The steps from PyTorch on.",
        "The step that makes the drift.",
        "The lines that use it.",
        "It stopped for want of memory.",
    ],
)
def test_the_dialect_is_recognized(sentence: str) -> None:
    assert faults(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "It is no longer used.",
        "One line per check.",
        "The folder where results go.",
        "Say it once and for all.",
        "Anything else is refused.",
        "From now on it is there.",
    ],
)
def test_plain_sentences_pass(sentence: str) -> None:
    assert faults(sentence) == []
