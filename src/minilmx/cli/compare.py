"""mlx compare"""

from pathlib import Path
from typing import Any

import click

import minilmx
from minilmx.cli.evaluate import LIMITS_FILE, PRESET, finish, limit_options, rules_under, stated_limits
from minilmx.cli.options import FORCE, JSON, require_writable


@click.command(short_help="Compare artifacts, models, servers and saved embeddings.")
@click.argument("embedders", metavar="EMBEDDER EMBEDDER...", nargs=-1, required=True)
@click.option(
    "--texts",
    help="The texts to embed: one per line, CSV, TSV, JSON, JSONL or Parquet. Rows of a file of embeddings "
    "are joined with them by the column id, if both have it.",
)
@click.option("--column", help="Column of --texts with the texts, if it has several beside id and language.")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compare N texts of --texts, drawn at random, always the same ones. [default: all]",
)
@click.option(
    "--dataset",
    help="Graded pairs to embed: bundled, stsb, mteb:TASK, a hub id, or a file of pairs. [default: bundled, "
    "unless a file of embeddings is compared]",
)
@click.option(
    "--queries",
    help="Queries of a search in --corpus: JSONL with _id and text, as BEIR has it. Files of embeddings hold "
    "the queries, then the documents.",
)
@click.option("--corpus", help="Documents of the search: JSONL with _id, text and, if there is one, title.")
@click.option(
    "--qrels",
    help="Relevance judgements, for nDCG@10 and MRR@10: TSV with query-id, corpus-id and score.",
)
@click.option(
    "--keep-text",
    is_flag=True,
    help="Have the texts that changed most in the result, not only their ids or rows.",
)
@PRESET
@limit_options
@LIMITS_FILE
@click.option("--output", "-o", type=click.Path(path_type=Path), help="JSON file for the result.")
@FORCE
@JSON
def compare(
    embedders: tuple[str, ...],
    texts: str | None,
    column: str | None,
    sample: int | None,
    dataset: str | None,
    queries: str | None,
    corpus: str | None,
    qrels: str | None,
    keep_text: bool,
    preset: str | None,
    limits: Path | None,
    output: Path | None,
    force: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Compare the embeddings of anything with those of the first EMBEDDER.

    An EMBEDDER is an artifact: ARTIFACT on onnxruntime, or ARTIFACT@RUNNER:NAME=VALUE,... on another
    runner with its settings, graph and prompt. Or a model in sentence-transformers: model:MODEL. Or a
    server: openai:URL?model=NAME (the key is in the environment variable OPENAI_API_KEY), tei:URL,
    ollama:URL?model=NAME or kserve:URL?model=NAME (with &artifact=ARTIFACT for a graph that takes
    tokens). Or embeddings in a FILE: .npy, .npz, .parquet or .jsonl, with the record FILE.run.json of
    `mlx run` if there is one.

    The first line is the answer, and the exit code follows it, as in `mlx eval`.
    """
    from minilmx.cli.progress import console_progress

    if column is not None and texts is None:
        raise click.UsageError("--column names a column of --texts: no texts; expected --texts.")
    if sample is not None and texts is None:
        raise click.UsageError("--sample takes some of --texts: no texts; expected --texts.")
    if keep_text and texts is None and queries is None:
        raise click.UsageError("--keep-text keeps some of --texts or --queries: neither; expected one.")
    if keep_text and output is None and not as_json:
        raise click.UsageError(
            "--keep-text is for the result: neither saved nor printed; expected --output or --json."
        )
    if (queries is None) != (corpus is None):
        raise click.UsageError("--queries and --corpus: only one of them; expected both.")
    if qrels is not None and queries is None:
        raise click.UsageError("--qrels judges a search: no queries; expected --queries and --corpus.")
    rules = rules_under(stated_limits(settings), limits)
    require_writable(output, force)
    with console_progress() as progress:
        result = minilmx.compare(
            *embedders,
            texts=texts,
            column=column,
            sample=sample,
            dataset=dataset,
            queries=queries,
            corpus=corpus,
            qrels=qrels,
            keep_text=keep_text,
            limits=rules,
            preset=preset,
            progress=progress,
        )
    finish(result, output, force, as_json, save=output is not None)
