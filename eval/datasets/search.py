"""Queries, documents and relevance judgements in BEIR's layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from minilmx.errors import DatasetError
from minilmx.files.formats import place
from minilmx.files.tables import Table, read_table
from minilmx.files.texts import bad_text, is_text
from minilmx.wording import counted

_ID, _TEXT, _TITLE = "_id", "text", "title"
_QUERY, _DOCUMENT, _SCORE = "query-id", "corpus-id", "score"
FEWEST_DOCUMENTS = 10

# Of the number of a query, its judged documents by their number, with the score of each.
Judgements = Mapping[int, Mapping[int, int]]


@dataclass(frozen=True)
class SearchTexts:
    """Q queries and the documents that are searched, with their ids, and the judgements if there are any."""

    name: str
    query_ids: Sequence[str]
    queries: Sequence[str]
    document_ids: Sequence[str]
    documents: Sequence[str]
    judgements: Judgements | None = None

    @cached_property
    def texts(self) -> list[str]:
        """All queries, then all documents."""
        return [*self.queries, *self.documents]

    @property
    def labels(self) -> list[str]:
        """What a report calls each of the texts."""
        return [f"query {each}" for each in self.query_ids] + [f"document {e}" for e in self.document_ids]

    @property
    def ids(self) -> list[str] | None:
        """The ids of all texts; None if a query and a document have the same one."""
        ids = [*self.query_ids, *self.document_ids]
        return ids if len(set(ids)) == len(ids) else None


def read_search(queries: str, corpus: str, qrels: str | None) -> SearchTexts:
    """Read files with the columns `_id`, `text` and, of documents, `title`, which precedes the text.

    `qrels` has the columns query-id, corpus-id and score, a whole number of 0 or more. Raises DatasetError.
    """
    query_ids, query_texts = _read_texts(queries)
    document_ids, documents = _read_texts(corpus)
    if len(documents) < FEWEST_DOCUMENTS:
        raise DatasetError(
            f"{corpus}: {counted(len(documents), 'document')}; expected at least {FEWEST_DOCUMENTS}"
        )
    judgements = None if qrels is None else _read_judgements(qrels, query_ids, document_ids)
    name = f"{Path(queries).name} in {Path(corpus).name}"
    return SearchTexts(name, query_ids, query_texts, document_ids, documents, judgements)


def _read_texts(path: str) -> tuple[list[str], list[str]]:
    table = read_table(path)
    ids = table.ids(_ID)
    _require_once(table, ids, "id")
    texts = table.column(_TEXT)
    if _TITLE in table.names:
        pairs = zip(table.column(_TITLE), texts, strict=True)
        texts = [f"{title} {text}".strip() if title and isinstance(text, str) else text
                 for title, text in pairs]  # fmt: skip
    for line, text in zip(table.lines, texts, strict=True):
        if not is_text(text):
            raise bad_text(path, line, _TEXT, text)
    return ids, texts


def _require_once(table: Table, keys: Sequence[Any], what: str) -> None:
    seen: set[Any] = set()
    for line, key in zip(table.lines, keys, strict=True):
        if key in seen:
            raise DatasetError(f"{place(table.path, line)}: the {what} {key!r:.80} twice; expected each once")
        seen.add(key)


def _read_judgements(path: str, query_ids: Sequence[str], document_ids: Sequence[str]) -> Judgements:
    table = read_table(path)
    pairs = list(zip(table.ids(_QUERY), table.ids(_DOCUMENT), strict=True))
    _require_once(table, pairs, "pair of ids")
    queries = {each: number for number, each in enumerate(query_ids)}
    documents = {each: number for number, each in enumerate(document_ids)}
    found: dict[int, dict[int, int]] = {}
    for line, (query, document), score in zip(table.lines, pairs, table.column(_SCORE), strict=True):
        for key, known, what in ((query, queries, "queries"), (document, documents, "documents")):
            if key not in known:
                raise DatasetError(f"{place(path, line)}: the id {key!r:.80}; expected one of the {what}")
        if not str(score).isdecimal() or len(str(score)) > 6:
            raise DatasetError(
                f"{place(path, line)}: the score {score!r:.80}; expected a whole number from 0"
            )
        found.setdefault(queries[query], {})[documents[document]] = int(score)
    return found
