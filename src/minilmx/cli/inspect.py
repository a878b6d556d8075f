"""mlx inspect"""

import sys
from pathlib import Path

import click

from minilmx.cli.options import ARTIFACT, describe_length, describe_truncation


@click.command()
@ARTIFACT
@click.option("--json", "as_json", is_flag=True, help="Print the manifest and findings as JSON.")
@click.option(
    "--snippet",
    metavar="NAME",
    help="Print only the code that uses ARTIFACT in a library or server (see docs/reuse.md).",
)
def inspect(artifact: Path, as_json: bool, snippet: str | None) -> None:
    """Show what ARTIFACT is, and whether every file is what its manifest says.

    Exits with 3 if a file is damaged.
    """
    import json

    from minilmx.models.artifact import find_problems, read_artifact, unlisted_files
    from minilmx.models.onnx_file import load_onnx, read_facts

    found = read_artifact(artifact)
    if snippet is not None:
        from minilmx.eval.consumers.snippets.template import render_snippet

        click.echo(render_snippet(snippet, found), nl=False)
        return
    manifest, problems, unlisted = found.manifest, find_problems(found), unlisted_files(found)
    facts = None
    if manifest.fixed.path not in problems:
        facts = read_facts(load_onnx(found.fixed_graph))
    if as_json:
        document = json.loads(manifest.to_json()) | {
            "artifact_sha256": found.digest,
            "verified": not problems,
            "problems": dict(problems),
            "unlisted_files": unlisted,
            "ops": dict(facts.ops) if facts else None,
            "parameters": facts.parameters if facts else None,
        }
        click.echo(json.dumps(document, indent=2, sort_keys=True))
    else:
        source = manifest.source
        revision = f" at {source.revision}" if source.revision else ""
        unit = "normalized" if manifest.normalized else "not normalized"
        rows = [
            ("model", f"{source.id}{revision}, from {source.origin}"),
            ("weights", f"sha256 {source.weights_sha256}"),
            ("artifact", f"sha256 {found.digest}"),
            (
                "shape",
                f"batch size {found.shape.batch_size}, sequence length {found.shape.sequence_length}",
            ),
            (
                "embedding",
                f"{manifest.embedding_dimension} x {manifest.precision}, {manifest.pooling} pooling, {unit}",
            ),
            *(("dimension", text) for text in [describe_truncation(found)] if text),
            *(("tokens", text) for text in [describe_length(found)] if text),
            *(
                ("prompt", f"{name}{' (default)' * (name == manifest.default_prompt)}: {text!r}")
                for name, text in sorted((manifest.prompts or {}).items())
            ),
            *(("similarity", name) for name in [manifest.similarity] if name),
            ("opset", f"{manifest.opset} (IR {manifest.ir_version})"),
            *(("input", str(tensor)) for tensor in manifest.fixed.inputs),
            *(("output", str(tensor)) for tensor in manifest.fixed.outputs),
            *(
                (("packed", f"{manifest.packed.path}, {manifest.packed.outputs[0]}"),)
                if manifest.packed
                else ()
            ),
        ]
        if facts:
            ops = ", ".join(f"{name} {count}" for name, count in facts.ops.items())
            rows += [("ops", ops), ("parameters", f"{facts.parameters:,}")]
        rows.append(("tools", ", ".join(f"{k} {v}" for k, v in sorted(manifest.tools.items()))))
        for file in manifest.files:
            state = problems.get(file.path, "ok")
            rows.append(("file", f"{file.path}  {file.size_bytes:,} bytes  {file.sha256[:12]}  {state}"))
        rows += [("unlisted", name) for name in unlisted]
        rows.append(("verified", f"no: {len(problems)} damaged" if problems else "yes"))
        for name, value in rows:
            click.echo(f"{name:<11} {value}")
    if problems:
        sys.exit(3)
