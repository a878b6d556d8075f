"""Options that several commands share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from minilmx.files.atomic import check_writable
from minilmx.files.formats import KINDS, TextFormat

Command = Callable[..., Any]


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, which help lists in this order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


ARTIFACT = click.argument("artifact", type=click.Path(path_type=Path))
FORCE = click.option("--force", "replace", is_flag=True, help="Replace the output if it exists.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, not as a table.")
result_options = together(
    click.option("--output", "-o", type=click.Path(path_type=Path), help="JSON file for the result."),
    FORCE,
    JSON,
)
GRAPHS = click.Choice(["auto", "dynamic", "fixed", "packed"])
GRAPH = click.option(
    "--graph",
    type=GRAPHS,
    default="auto",
    show_default=True,
    help="Graph of the artifact to run. auto: the first of dynamic, packed and fixed that the artifact has "
    "and the runner supports. packed: several texts per row (see `mlx export --pack`).",
)
PROMPT = click.option(
    "--prompt",
    metavar="NAME",
    help="The model's prompt to prepend to every text (see `mlx inspect`). [default: the model's default "
    "prompt, if it has one]",
)


def _limit_time(context: click.Context, parameter: click.Parameter, value: float | None) -> None:
    if value is not None and not context.resilient_parsing:
        context.obj.limit(value)


TIME_LIMIT = click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True, max=1e8),
    expose_value=False,
    callback=_limit_time,
    help="Seconds after which the command is interrupted, with exit code 3. [default: no limit]",
)
DATASET = click.option(
    "--dataset",
    default="bundled",
    show_default=True,
    help="bundled, stsb, mteb:TASK (an STS task), a hub id, or a file of pairs (CSV, TSV, JSON, JSONL, "
    "Parquet).",
)


def _cards(context: click.Context, parameter: click.Parameter, value: str | None) -> int | str | None:
    """A number of cards, or all."""
    if value is None or value == "all":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value!r}; expected a whole number from 1, or all.")
    return int(value)


def _key_values(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...] | None:
    """The options of a device, or None."""
    for value in values:
        if not value.partition("=")[1]:
            raise click.BadParameter(f"{value!r}; expected key=value.")
    return values or None


_DEVICES = (
    *("cpu", "openvino", "webgpu", "cuda", "tensorrt", "tensorrt-rtx", "qnn", "coreml", "directml"),
    *("migraphx", "xnnpack"),
)
# The options that runners take; `given_settings` reads them.
runner_settings = together(
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        help="Threads that compute. [default: the runner's own choice, or one per CPU]",
    ),
    click.option(
        "--precision",
        type=click.Choice(["f32", "bf16", "int8"]),
        help="Precision in which the openvino runner computes. [default: f32]",
    ),
    click.option(
        "--graph-optimization",
        type=click.Choice(["disable", "basic", "extended", "all"]),
        help="The onnxruntime runner's graph optimization level. [default: all]",
    ),
    click.option(
        "--device",
        type=click.Choice(_DEVICES),
        help="The onnxruntime runner's device. Most need another package. [default: cpu]",
    ),
    click.option(
        "--device-option",
        "device_options",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_key_values,
        help="Option of the device, as onnxruntime documents it. Repeatable.",
    ),
    click.option(
        "--model",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Folder with the PyTorch weights, for the torch runner. [default: the source that the "
        "artifact's manifest names]",
    ),
    click.option(
        "--bundle",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Build of the artifact for the groq runner (see `mlx groq build --bundle`).",
    ),
    click.option(
        "--groq-execution",
        type=click.Choice(["held", "groqflow"]),
        help="How the groq runner runs a build: held loads the program once; groqflow loads it once per "
        "batch, on GroqFlow's own path. [default: held]",
    ),
    click.option(
        "--cards",
        metavar="N|all",
        callback=_cards,
        help="Cards on which the groq runner runs batches at the same time. [default: 1]",
    ),
)


def _one_character(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A delimiter; a tab is hard to type."""
    value = "\t" if value in ("\\t", "tab") else value
    if value is not None and len(value) != 1:
        raise click.BadParameter(f"{value!r}; expected one character, or tab.")
    return value


# The format of a file; `text_format` reads them.
format_options = together(
    click.option(
        "--input-format",
        type=click.Choice(KINDS),
        help="Format of the input. [default: by its extension; txt for standard input]",
    ),
    click.option(
        "--delimiter",
        callback=_one_character,
        help="Character between the fields of CSV or TSV input, or the word tab. [default: tab for TSV, "
        "otherwise what the first line has]",
    ),
    click.option(
        "--quoting",
        type=click.Choice(["csv", "none"]),
        help="csv: fields of CSV or TSV input may be in double quotes. none: a quote is a character like any "
        "other. [default: none between tabs, otherwise csv]",
    ),
)

# A data set of pairs; `pair_settings` reads them.
pair_options = together(
    click.option(
        "--split",
        help="Split of a hub data set, or of a file with a column called split. [default for the hub: test]",
    ),
    click.option(
        "--text-columns",
        nargs=2,
        metavar="NAME NAME",
        help="Columns of the two sentences. [default: sentence1 sentence2]",
    ),
    click.option(
        "--score-column",
        metavar="NAME",
        help="Column of the scores, on any scale. [default: similarity_score, score or label]",
    ),
    format_options,
)


def pair_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """The data set as the library's functions take it, from options that leave `settings`."""
    names = ("split", "text_columns", "score_column")
    return {"text_format": text_format(settings)} | {name: settings.pop(name) for name in names}


def text_format(settings: dict[str, Any]) -> TextFormat:
    """The format that the options state, which leave `settings`."""
    return TextFormat(settings.pop("input_format"), settings.pop("delimiter"), settings.pop("quoting"))


def given_settings(runners: Sequence[str], settings: dict[str, Any]) -> dict[str, Any]:
    """The runner options that the user gave. Raises UsageError for an option that no runner has."""
    from minilmx.runners.registry import option_names

    given = {name: value for name, value in settings.items() if value is not None}
    known = {option for name in runners for option in option_names(name)}
    for name in given:
        if name not in known:
            takes = ", ".join(sorted(map(flag, known))) or "no options"
            runner = "runner" if len(runners) == 1 else "runners"
            raise click.UsageError(
                f"{flag(name)} is not an option of the {runner} {', '.join(runners)}; expected {takes}."
            )
    return given


def require_output(output: object, replace: bool) -> None:
    """Refuse --force without an output that it could replace. Raises UsageError."""
    if replace and output is None:
        raise click.UsageError("--force replaces the output: no output; expected --output.")


def require_writable(output: Path | None, replace: bool) -> None:
    """As require_output; also refuse an output file that cannot be written. Raises OutputError."""
    require_output(output, replace)
    if output is not None:
        check_writable(output, replace=replace)


def flag(name: str) -> str:
    """A parameter as it is written on the command line."""
    return "--device-option" if name == "device_options" else "--" + name.replace("_", "-")
