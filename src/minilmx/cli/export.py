"""mlx export"""

from pathlib import Path

import click

from minilmx.cli.progress import ConsoleProgress
from minilmx.models.known import DEFAULT_MODEL
from minilmx.models.manifest import FLOAT32, PRECISIONS


@click.command()
@click.argument("model", default=DEFAULT_MODEL)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Artifact folder to make. [default: MODEL-bBATCH-sLENGTH here, -int8 added for int8]",
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
    type=click.IntRange(min=3),
    default=128,
    show_default=True,
    help="Tokens in a row, fixed in the graph; longer texts are truncated.",
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
    help="Also write a packed graph: rows that hold up to N texts each (see --graph packed of run and eval).",
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
    help="Also write a folder fixed/, from which sentence-transformers, Haystack, LangChain and "
    "fastembed run the fixed graph.",
)
@click.option(
    "--from-onnx",
    is_flag=True,
    help="MODEL is an ONNX model with dynamic axes: fix its shape, without torch.",
)
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
def export(
    model: str,
    output: Path | None,
    batch_size: int,
    sequence_length: int,
    revision: str | None,
    opset: int | None,
    pack: int | None,
    fixed_consumers: bool,
    precision: str,
    from_onnx: bool,
    force: bool,
) -> None:
    """Export MODEL to a fixed-shape ONNX artifact and prove that it equals the model.

    MODEL is a sentence-transformers folder, a known name (see `mlx models`) or a hub id. If
    the same artifact already exists, it is verified and reused.
    """
    from minilmx.export.exporter import artifact_name, export_model
    from minilmx.models.manifest import Shape
    from minilmx.models.source import resolve_model

    progress = ConsoleProgress(None)
    source = resolve_model(model, revision, onnx=from_onnx, progress=progress)
    progress.message(f"source: {source.note}")
    shape = Shape(batch_size, sequence_length)
    report = export_model(
        source,
        output or Path(artifact_name(source, shape, precision)),
        shape,
        opset,
        segments=pack,
        fixed_consumers=fixed_consumers,
        precision=precision,
        from_onnx=from_onnx,
        replace_existing=force,
        say=progress.message,
    )
    artifact, facts, parity = report.artifact, report.facts, report.parity
    ops = ", ".join(f"{name} {count}" for name, count in facts.ops.items())
    lines = [
        ("artifact", f"{artifact.path}{'' if parity else '  (already existed, verified)'}"),
        ("shape", f"batch size {batch_size}, sequence length {sequence_length}"),
        ("opset", f"{facts.opset} (IR {facts.ir_version})"),
        ("ops", ops),
        ("parameters", f"{facts.parameters:,}"),
        ("size", f"{artifact.size_bytes / 1e6:.1f} MB in all"),
    ]
    if parity:
        lines.append(
            (
                "parity",
                f"max abs {parity.max_abs_embedding:.2g} on sentence_embedding, "
                f"{parity.max_abs_hidden:.2g} on last_hidden_state; {parity.sentences} sentences, "
                f"{parity.shortest} to {parity.longest} tokens, {parity.truncated} truncated"
                f"{', before quantising' if report.cost else ''}",
            )
        )
    if parity and parity.max_abs_packed is not None:
        lines.append(("packed", f"{pack} texts a row; max abs {parity.max_abs_packed:.2g}"))
    if report.cost:
        lines.append(
            (
                "int8",
                f"max abs {report.cost.max_abs:.2g}, least cosine {report.cost.min_cosine:.4f} against the "
                f"model; {report.cost.sentences} sentences",
            )
        )
    lines.append(("seconds", f"{report.seconds:.1f}"))
    for name, value in lines:
        click.echo(f"{name:<11} {value}")
