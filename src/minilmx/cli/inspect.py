"""mlx inspect"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click

from minilmx.cli.console import echo, one_line
from minilmx.cli.describe import describe_dimension, describe_length
from minilmx.errors import ArtifactError, ModelError, boundary


@click.command(short_help="Show what an artifact or a model is.")
@click.argument("artifact", metavar="ARTIFACT|MODEL")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest and findings as JSON.")
@click.option(
    "--snippet",
    metavar="NAME",
    help="Print only the code that uses ARTIFACT in a library or server (see docs/reuse.md).",
)
def inspect(artifact: str, as_json: bool, snippet: str | None) -> None:
    """Describe ARTIFACT, and check every file against its manifest.

    For a MODEL (a folder, a known name or a hub id), show whether it can be exported and, if not, why,
    without downloading its weights. Exits with 3 if a file is damaged or the model is not supported.
    """
    if as_json and snippet is not None:
        raise click.UsageError("--json is for the manifest: --snippet prints code; expected one of them.")
    from minilmx.models.artifact import read_artifact
    from minilmx.models.onnx_file import load_graph, read_facts
    from minilmx.models.verification import find_problems, unlisted_files

    with boundary(ArtifactError, f"{artifact:.200} cannot be opened"):
        is_model = snippet is None and _is_model(artifact)
    if is_model:
        _inspect_model(artifact, as_json)
        return
    found = read_artifact(Path(artifact))
    if snippet is not None:
        from minilmx.eval.consumers.snippets.template import render_snippet

        echo(render_snippet(snippet, found), nl=False)
        return
    manifest, problems, unlisted = found.manifest, find_problems(found), unlisted_files(found)
    facts = None
    if manifest.fixed.path not in problems:
        facts = read_facts(load_graph(found), found.graph_file)  # the fixed one
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
        source, shape, packed = manifest.source, found.shape, manifest.packed
        unit = "normalized" if manifest.normalized else "not normalized"
        size = f"{manifest.embedding_dimension} x {manifest.precision}"
        made = ("embedding", f"{size}, {manifest.pooling} pooling, {unit}")
        if manifest.gives_scores:
            made = (manifest.output_name, f"one {manifest.precision} per pair of texts (a cross-encoder)")
        rows = [
            ("model", _origin(source.id, source.revision, source.origin)),
            ("weights", f"sha256 {source.weights_sha256}"),
            ("artifact", f"sha256 {found.digest}"),
            ("shape", f"batch size {shape.batch_size}, sequence length {shape.sequence_length}"),
            made,
            ("dimension", describe_dimension(found)),
            ("tokens", describe_length(found)),
            *(
                ("prompt", f"{name}{' (default)' * (name == manifest.default_prompt)}: {text!r}")
                for name, text in sorted((manifest.prompts or {}).items())
            ),
            ("similarity", manifest.similarity or ""),
            ("opset", f"{manifest.opset} (IR {manifest.ir_version})"),
            *(("input", str(tensor)) for tensor in manifest.fixed.inputs),
            *(("output", str(tensor)) for tensor in manifest.fixed.outputs),
            ("packed", f"{packed.path}, {packed.outputs[0]}" if packed else ""),
            ("ops", ", ".join(f"{name} {count}" for name, count in facts.ops.items()) if facts else ""),
            ("parameters", f"{facts.parameters:,}" if facts else ""),
            ("tools", ", ".join(f"{name} {version}" for name, version in sorted(manifest.tools.items()))),
            *(
                ("file", f"{each.path}  {each.size_bytes:,} bytes  {each.sha256[:12]}  {state}")
                for each in manifest.files
                for state in [problems.get(each.path, "ok")]
            ),
            *(("unlisted", name) for name in unlisted),
            ("verified", f"no: {len(problems)} damaged" if problems else "yes"),
        ]
        _print(rows, 11)
    if problems:
        raise click.exceptions.Exit(3)


def _is_model(name: str) -> bool:
    """Whether the argument names a model: a folder of one, a known name or a hub id."""
    from minilmx.models.hub_names import is_hub_id
    from minilmx.models.known import find_known_model
    from minilmx.models.manifest import MANIFEST_NAME

    path = Path(name)
    if path.is_dir():
        files = ("config.json", "modules.json", "adapter_config.json")
        return not (path / MANIFEST_NAME).exists() and any((path / file).is_file() for file in files)
    return not path.exists() and (is_hub_id(name) or find_known_model(name) is not None)


def _origin(model: str, revision: str | None, origin: str) -> str:
    return f"{model}{f' at {revision}' if revision else ''}, from {origin}"


def _print(rows: Sequence[tuple[str, str]], width: int) -> None:
    """A line for each name that has a value."""
    for name, value in rows:
        if value:
            echo(f"{name:<{width}} {one_line(value)}")


def _describe_prompts(prompts: dict[str, str], default: str | None) -> str:
    """The names of the prompts that say something, and which is prepended by default; empty without any."""
    names = sorted(name for name, text in prompts.items() if text)
    return f"{', '.join(names)}; by default {default or 'none'}" if names else ""


def _inspect_model(model: str, as_json: bool) -> None:
    """Print the facts of a model, and whether it is supported. Exits with 3 if it is not."""
    from minilmx.models.interface import SCORE
    from minilmx.models.source import resolve_model
    from minilmx.models.support import ModelFacts, read_model_facts

    source = resolve_model(model, settings_only=True)
    document: dict[str, Any] = {
        "model": source.id,
        "revision": source.revision,
        "origin": source.origin,
        **dict.fromkeys(field.name for field in fields(ModelFacts)),
        "supported": True,
        "reason": None,
        "hint": None,
    }
    try:
        document |= asdict(read_model_facts(source))
    except ModelError as error:
        document |= {"supported": False, "reason": error.message, "hint": error.hint}
    if as_json:
        click.echo(json.dumps(document, indent=2, sort_keys=True))
    else:
        rows = [("model", _origin(source.id, source.revision, source.origin))]
        if document["supported"]:
            unit = "normalized" if document["normalized"] else "not normalized"
            size = f"{document['embedding_dimension'] or '?'} numbers"
            made = ("embedding", f"{size}, {document['pooling']} pooling, {unit}")
            if document["output"] == SCORE:
                made = (SCORE, "one per pair of texts (a cross-encoder)")
            rows += [
                ("architecture", document["architecture"]),
                ("modules", " + ".join(document["modules"])),
                made,
                ("prompts", _describe_prompts(document["prompts"], document["default_prompt"])),
                ("tokens", document["max_sequence_length"] and f"up to {document['max_sequence_length']}"),
                ("tokenizer", document["tokenizer"]),
                ("weights", document["weights"]),
                ("supported", "yes"),
            ]
        else:
            rows += [("supported", f"no: {document['reason']}"), ("what to do", document["hint"])]
        _print(rows, 12)
    if not document["supported"]:
        raise click.exceptions.Exit(3)
