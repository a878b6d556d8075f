"""Write docs/reference/ from the code: run `python docs/generate.py` after a change of a command,
a public docstring or a metric. tests/repository/test_docs.py fails if a page is out of date.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click

import minilmx
from minilmx.cli import cli
from minilmx.eval.metrics.table import METRICS
from minilmx.models.architectures import ARCHITECTURES
from minilmx.models.cross_encoder import HEADS
from minilmx.models.manifest import ACTIVATIONS, POOLINGS

REFERENCE = Path(__file__).parent / "reference"
NOTICE = "<!-- Written by docs/generate.py: change the code, not this page. -->\n"


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    return {
        "cli.md": command_line(),
        "api.md": python_api(),
        "limits.md": limits(),
        "models.md": models(),
    }


def command_line() -> str:
    """Every command with its help and options."""
    parts = [
        NOTICE,
        "# The command line\n",
        *(_command(words, each) for words, each in _commands(cli, "mlx")),
    ]
    return "\n".join(parts)


def _commands(command: click.Command, words: str) -> Iterator[tuple[str, click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _commands(command.commands[name], f"{words} {name}")


def _command(words: str, command: click.Command) -> str:
    # click keeps on the command the help option that it makes for its first context: here it must be the
    # one that `mlx` itself makes, or -h would be gone for whoever uses the command later.
    names = cli.context_settings["help_option_names"]
    context = click.Context(command, info_name=words, help_option_names=names)
    usage = f"```\n{' '.join([words, *command.collect_usage_pieces(context)])}\n```\n"
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    rows = [
        f"| `{_cell(_names(option))}` | {_cell(_about(option, context))} |"
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]
    table = ["| option | |", "|---|---|", *rows, ""] if rows else []
    epilog = [inspect.cleandoc(command.epilog) + "\n"] if command.epilog else []
    return "\n".join([f"## {words}\n", usage, text + "\n", *table, *epilog])


def _names(option: click.Option) -> str:
    names = ", ".join(sorted(option.opts, key=len))
    if isinstance(option.type, click.Choice):
        return f"{names} {'|'.join(map(str, option.type.choices))}"
    return (
        names
        if option.is_flag
        else f"{names} {option.metavar or option.type.name.upper().removesuffix(' RANGE')}"
    )


def _about(option: click.Option, context: click.Context) -> str:
    """The help, and what click adds to it, such as the default and the range."""
    record = option.get_help_record(context)
    return record[1] if record else ""


def python_api() -> str:
    """Every public name with its signature and docstring."""
    public = [(name, getattr(minilmx, name)) for name in minilmx.__all__ if name != "__version__"]
    functions = [each for each in public if inspect.isfunction(each[1])]
    classes = [each for each in public if inspect.isclass(each[1])]
    return "\n".join(
        [
            NOTICE,
            "# The Python API\n",
            "Everything here is in `minilmx.__all__`. All other names may change.\n",
            "## Functions\n",
            *(_function(f"minilmx.{name}", function, "###") for name, function in functions),
            "## Classes\n",
            *(_class(name, kind) for name, kind in classes),
        ]
    )


def _function(name: str, function: Any, heading: str) -> str:
    return f"{heading} {name}\n\n```python\n{_signature(function)}\n```\n\n{_docstring(function)}"


def _signature(function: Any, *, method: bool = False) -> str:
    """The `def` line with the annotations as the source has them, on several lines if it is long."""
    [node] = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef)
    arguments = list(_arguments(node.args))[method:]
    result = f" -> {_annotation(node.returns)}" if node.returns else ""
    line = f"{node.name}({', '.join(arguments)}){result}"
    if method or len(line) <= 100:
        return line
    return "\n".join([f"{node.name}(", *(f"    {argument}," for argument in arguments), f"){result}"])


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + list(arguments.defaults)
    for each, default in zip(arguments.args, defaults, strict=True):
        yield _argument(each, default)
    if arguments.vararg:
        yield f"*{_argument(arguments.vararg, None)}"
    elif arguments.kwonlyargs:
        yield "*"
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _argument(each, default)
    if arguments.kwarg:
        yield f"**{_argument(arguments.kwarg, None)}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    name = f"{argument.arg}: {_annotation(argument.annotation)}" if argument.annotation else argument.arg
    return name if default is None else f"{name} = {ast.unparse(default)}"


def _annotation(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)


def _docstring(thing: Any) -> str:
    """A docstring as Markdown: the indented block of its example becomes code."""
    text = inspect.getdoc(thing) or ""
    body, _, example = text.partition("\nExample:\n")
    if not example:
        return body + "\n"
    lines = textwrap.dedent(example).strip("\n").splitlines()
    start = next((index for index, line in enumerate(lines) if line.startswith(">>>")), 0)
    before = "\n".join(lines[:start]).strip()
    code = "\n".join(lines[start:])
    return "\n\n".join(filter(None, [body.rstrip(), before, f"```pycon\n{code}\n```"])) + "\n"


def _class(name: str, kind: type) -> str:
    members = [
        (member, value)
        for each in kind.__mro__
        for member, value in vars(each).items()
        if each.__module__.startswith("minilmx.") and value is getattr(kind, member, None)
        if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    ]
    parts = [f"### minilmx.{name}\n", _docstring(kind)]
    if is_dataclass(kind):
        parts.append(f"Fields: {', '.join(f'`{field.name}`' for field in fields(kind))}.\n")
    for member, value in members:
        shown = value.fget if isinstance(value, property) else value
        title = (
            f"`{name}.{member}`"
            if isinstance(value, property)
            else f"`{name}.{_signature(shown, method=True)}`"
        )
        parts.append(f"{title}\n:   " + textwrap.indent(_docstring(shown), "    ").lstrip())
    return "\n".join(parts)


_LIMITS = """\
# Limits

A limit is an option of `mlx eval`, `mlx compare` and `mlx report`, a key of a limits.toml, or a key
of `limits=` in Python. An undefined number fails its limit;
a limit on a card's time applies only to runners with a card.

| limit | metric in the report | what it is |
|---|---|---|
{rows}

The option of a limit is its name with hyphens: `--max-abs`. In a limits.toml the most specific table
wins: runner and language, then language, then runner, then default. Options on the command line override the
file. Without limits, a [preset](../evaluation.md#presets) decides.

```toml
[default]
max_abs = 1e-3
min_recall_at_10 = 0.99

[runner.groq]
max_spearman_drop = 0.05

[language.de]
min_spearman = 62

[runner.groq.language.de]
max_abs = 2e-3
```
"""


def limits() -> str:
    """The table of metrics: what each limit checks."""
    rows = [f"| `{each.limit}` | {each.label} | {_cell(each.about)} |" for each in METRICS]
    return NOTICE + "\n" + _LIMITS.format(rows="\n".join(rows))


_MODELS = """\
# Models

minilmx exports models of sentence-transformers whose encoder has one of these architectures, which
`config.json` names as its `model_type`. transformers itself must implement the encoder, because a model's own
code is never run. A folder that names such code (`auto_map`) is refused even if transformers has a class for
its `model_type`, because that class ignores settings that only the folder's code reads, and the folder's code
may compute something else with the same weights. If you know that both compute the same, remove `auto_map`
from `config.json` and `tokenizer_config.json` in a copy of the folder.

| architecture | models | packed graph |
|---|---|---|
{rows}

The tests export one model of each architecture with random weights, and compare it with
sentence-transformers, from texts, to 1e-5 of the embedding's largest number. The weights of the models that
the table names were not tried, except for all-MiniLM-L6-v2. Every architecture can be exported at opset 16.
Whether Groq's compiler takes their operators is not known: `mlx groq build` names those that were not tried
with GroqFlow.

The encoder is followed by one of the poolings {poolings}, or by several, whose results are joined. Dense
modules (with the activation {activations}) and Normalize modules may follow, in any order.

| option or command | needs |
|---|---|
| `mlx export --pack` | mean or cls pooling, and no module after it but a last Normalize |
| `mlx export --dimension` | one pooling and no Dense module |
| `mlx export --fixed-consumers` | no Dense module |
| `mlx export --from-onnx` | mean, cls or max pooling, and no module after it but a last Normalize |
| snippets of fastembed and optimum | mean, cls or max pooling, and no module after it but a last Normalize |
| `mlx bisect` | bert, electra, roberta or xlm-roberta |

Cross-encoders (rerankers) with one label are exported if their architecture is one of {heads}: see
[Export](../how-to/export.md). The tests compare one of each, with random weights, with sentence-transformers'
CrossEncoder to 1e-5. ms-marco-MiniLM-L6-v2 is of the architecture bert; its weights were not tried.

`mlx inspect MODEL` says whether a model is supported and, if not, why. Static embeddings (model2vec), sparse
embeddings, images, adapters that are not merged, other modules, a model's own code and weights that exist
only as a pickle are refused. `mlx compare` takes a folder of static embeddings as `model:FOLDER`.
"""


def models() -> str:
    """The table of architectures."""
    rows = [
        f"| `{name}` | {_cell(each.models)} | {'yes' if each.packs else 'no'} |"
        for name, each in ARCHITECTURES.items()
    ]
    poolings, activations = (", ".join(names) for names in (POOLINGS, ACTIVATIONS))
    text = _MODELS.format(
        rows="\n".join(rows), poolings=poolings, activations=activations, heads=", ".join(HEADS)
    )
    return NOTICE + "\n" + text


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for page, content in pages().items():
        (REFERENCE / page).write_text(content, encoding="utf-8")
