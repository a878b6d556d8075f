"""mlx compare"""

from pathlib import Path
from typing import Any

import click

import minilmx
from minilmx.cli.evaluate import finish, given_limits, judgement_options
from minilmx.cli.options import require_writable, result_options
from minilmx.cli.progress import console_progress


@click.command(short_help="Compare artifacts, models, servers and saved embeddings.")
@click.argument("embedders", metavar="EMBEDDER EMBEDDER...", nargs=-1, required=True)
@click.option(
    "--texts",
    help="The texts to embed: one per line, CSV, TSV, JSON, JSONL or Parquet. A file of embeddings is joined "
    "with them by the column id, if both have it.",
)
@click.option("--column", help="Column of --texts with the texts, if it has several beside id and language.")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compare a random sample of N texts of --texts, always the same one. [default: all]",
)
@click.option(
    "--dataset",
    help="Graded pairs to embed: bundled, stsb, mteb:TASK, a hub id, or a file of pairs. [default: bundled, "
    "unless a file of embeddings is compared]",
)
@click.option(
    "--queries",
    help="Queries of a search in --corpus: JSONL with _id and text, as in BEIR. Files of embeddings contain "
    "the queries, then the documents.",
)
@click.option("--corpus", help="Documents of the search: JSONL with _id, text and an optional title.")
@click.option(
    "--qrels",
    help="Relevance judgements, for nDCG@10 and MRR@10: TSV with query-id, corpus-id and score.",
)
@click.option(
    "--keep-text",
    is_flag=True,
    help="Also write the texts that changed most to the result, not only their ids or rows.",
)
@judgement_options
@result_options
def compare(
    embedders: tuple[str, ...],
    output: Path | None,
    replace: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Compare the embeddings of any kind of EMBEDDER with those of the first.

    An EMBEDDER is an artifact: ARTIFACT on onnxruntime, or ARTIFACT@RUNNER:NAME=VALUE,... on another
    runner with its settings, graph and prompt. Or a model in sentence-transformers: model:MODEL. Or a
    server: openai:URL?model=NAME (the key is in the environment variable OPENAI_API_KEY), tei:URL,
    ollama:URL?model=NAME or kserve:URL?model=NAME (with &artifact=ARTIFACT for a graph that takes
    tokens). Or embeddings in a FILE: .npy, .npz, .parquet or .jsonl, with the record FILE.run.json of
    `mlx run` if there is one.

    The first line is the answer, and the exit code follows it, as in `mlx eval`.
    """
    _, rules = given_limits(settings)
    if settings["keep_text"] and output is None and not as_json:
        raise click.UsageError(
            "--keep-text is for the result: neither saved nor printed; expected --output or --json."
        )
    require_writable(output, replace)
    with console_progress() as progress:
        result = minilmx.compare(*embedders, limits=rules, progress=progress, **settings)
    finish(result, output, replace, as_json)
