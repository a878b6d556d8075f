"""Reading a corpus through: its columns and their types."""

from pathlib import Path
from typing import Any

import pytest

from minilmx.embedding.corpus.source import Reading, scan_corpus

pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow for a corpus")


def test_a_wide_table_is_unified_once_per_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call takes time for every column, so one for each column would never end."""
    calls = []
    unify = pyarrow.unify_schemas

    def counted(schemas: list[Any], **options: Any) -> Any:
        calls.append(len(schemas))
        return unify(schemas, **options)

    monkeypatch.setattr(pyarrow, "unify_schemas", counted)
    names = [f"c{number}" for number in range(20_000)]
    path = tmp_path / "wide.csv"
    path.write_text("\n".join(",".join(["text", *row]) for row in (names, ["1"] * 20_000, ["x"] * 20_000)))
    corpus = scan_corpus([str(path)], Reading(text="text"), 10)
    assert corpus.schema.names == names
    assert calls == [2]
    (shard,) = corpus.shards({0})
    assert shard.carried.column("c19999").to_pylist() == ["1", "x"]
