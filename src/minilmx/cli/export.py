"""mlx export"""

from pathlib import Path
from typing import Any

import click

import minilmx
from minilmx.cli.console import echo
from minilmx.cli.describe import describe_dimension, describe_length
from minilmx.cli.progress import console_progress
from minilmx.models.known import DEFAULT_MODEL
from minilmx.models.manifest import FLOAT32, INT64, MASKS, POOLINGS, PRECISIONS


class SequenceLength(click.ParamType):  # type: ignore[type-arg] # not generic in every click
    """A number of tokens, at least 3, or the word model."""

    name = "integer|model"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> "int | str":
        """The number, or "model"."""
        text = str(value)
        if text == "model":
            return text
        if not (text.isascii() and text.isdigit() and int(text) >= 3):
            self.fail(f"{text!r} is not a number of tokens, at least 3, or 'model'.", param, ctx)
        return int(text)


@click.command(short_help="Export a model to an ONNX artifact, and prove them equal.")
@click.argument("model", default=DEFAULT_MODEL)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Artifact folder to create. [default: ./MODEL-bBATCH-sLENGTH; with --dimension also -dN, for "
    "int8 also -int8, for a bool mask also -bool]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Rows in a batch, fixed in the graph.",
)
@click.option(
    "--sequence-length",
    type=SequenceLength(),
    default="128",
    show_default=True,
    help="Tokens per row, fixed in the graph; longer texts are truncated. model: the model's own limit.",
)
@click.option(
    "--dimension",
    type=click.IntRange(min=1),
    metavar="N",
    help="Keep the first N numbers of every embedding, renormalised if the model normalises: for models that "
    "were trained for it (Matryoshka). [default: the model's own setting, if it has one, otherwise all]",
)
@click.option("--revision", help="Commit, tag or branch on the hub. [default: the pinned one]")
@click.option(
    "--opset",
    type=click.IntRange(13, 17),
    help="ONNX operator set. [default: 16, or with --from-onnx the file's own]",
)
@click.option(
    "--pack",
    type=click.IntRange(min=1),
    metavar="N",
    help="Also write a packed graph, whose rows contain up to N texts each (see --graph of run and eval).",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=FLOAT32,
    show_default=True,
    help="int8: smaller and faster on a CPU, but the embeddings change; the export measures how much.",
)
@click.option(
    "--fixed-consumers",
    is_flag=True,
    help="Put the fixed graph into fixed/, with the settings that sentence-transformers, Haystack, LangChain "
    "and fastembed need to run it.",
)
@click.option(
    "--from-onnx",
    is_flag=True,
    help="Freeze the ONNX file with dynamic axes in MODEL, without torch.",
)
@click.option(
    "--pooling",
    type=click.Choice(POOLINGS),
    help="Pooling for a model that transformers saved, without modules.json. [default: mean]",
)
@click.option(
    "--mask",
    type=click.Choice(MASKS),
    default=INT64,
    show_default=True,
    help="Type of the fixed graph's attention mask. bool: as in Groq's proof point.",
)
@click.option("--force", "replace", is_flag=True, help="Replace an existing artifact.")
def export(model: str, output: Path | None, **settings: Any) -> None:
    """Export MODEL to a fixed-shape ONNX artifact and prove that it equals the model.

    MODEL is a folder of sentence-transformers or transformers, a known name (see `mlx models`) or a hub
    id; `mlx inspect MODEL` says whether it is supported. If the same artifact already exists, it is
    verified and reused.
    """
    with console_progress() as progress:
        artifact = minilmx.export_model(model, output, progress=progress, **settings)
    report = artifact.report
    facts, parity, texts, cost = report.facts, report.parity, report.text_parity, report.cost
    quantised = ", before quantising" if cost else ""
    lines = {
        "artifact": f"{artifact.path}{'' if parity else '  (already existed, verified)'}",
        "shape": f"batch size {artifact.shape.batch_size}, sequence length {artifact.shape.sequence_length}",
        "opset": f"{facts.opset} (IR {facts.ir_version})",
        "ops": ", ".join(f"{name} {count}" for name, count in facts.ops.items()),
        "parameters": f"{facts.parameters:,}",
        "size": f"{artifact.size_bytes / 1e6:.1f} MB in all",
        "tokens": describe_length(artifact),
        "dimension": describe_dimension(artifact),
    }
    if parity:
        hidden = ""
        if parity.max_abs_hidden is not None:
            hidden = f", {parity.max_abs_hidden:.2g} on last_hidden_state"
        lines["parity"] = (
            f"max abs {parity.max_abs_embedding:.2g} on {artifact.output_name}{hidden}; "
            f"{parity.sentences} {'pairs' if artifact.gives_scores else 'sentences'}, "
            f"{parity.shortest} to {parity.longest} tokens, {parity.truncated} truncated{quantised}"
        )
    if texts:
        unit, result = ("pair", "score") if artifact.gives_scores else ("text", "embedding")
        lines["text"] = (
            f"max abs {texts.max_abs:.2g} from {unit} to {result} against {texts.reference}; "
            f"{texts.texts} {unit}s{quantised}"
        )
        if texts.overridden:
            lines["tokenizer"] = "as AutoTokenizer makes it: tokenizer_config.json overrides tokenizer.json"
    if parity and parity.max_abs_packed is not None:
        lines["packed"] = f"{artifact.packed_segments} texts per row; max abs {parity.max_abs_packed:.2g}"
    if cost:
        lines["int8"] = (
            f"max abs {cost.max_abs:.2g}, min cosine {cost.min_cosine:.4f} against the model; "
            f"{cost.sentences} sentences"
        )
    lines["seconds"] = f"{report.seconds:.1f}"
    for name, value in lines.items():
        if value:
            echo(f"{name:<11} {value}")
