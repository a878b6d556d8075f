import bz2
import gzip
import io
import json
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minilmx.errors import DatasetError
from minilmx.files.formats import TextFormat
from minilmx.files.tables import read_table
from minilmx.files.texts import open_texts


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def write_parquet(folder: Path, columns: dict[str, list[Any]]) -> str:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = str(folder / "table.parquet")
    parquet.write_table(pyarrow.table(columns), path)
    return path


def refusal(path: str, column: str | None = None, **options: Any) -> str:
    with pytest.raises(DatasetError) as caught:
        list(open_texts(path, column, TextFormat(**options)))
    assert path in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "Grüße\n你好\n"),
        ("a.txt", "Grüße\n你好"),
        ("a.txt", "Grüße\r\n你好\r\n"),
        ("a.txt", "\ufeffGrüße\n你好\n"),
        ("a.csv", "text\nGrüße\n你好\n"),
        ("a.csv", "\ufefftext\r\nGrüße\r\n你好\r\n"),
        ("a.CSV", 'text\n"Grüße"\n"你好"'),
        ("a.tsv", "text\tscore\nGrüße\t1\n你好\t2\n"),
        ("a.jsonl", '{"text": "Grüße"}\n{"text": "\\u4f60\\u597d"}\n'),
        ("a.jsonl", '\ufeff{"text": "Grüße"}\r\n{"text": "你好"}'),
    ],
)
def test_every_text_format_gives_its_sentences(tmp_path: Path, name: str, content: str) -> None:
    column = None if name == "a.txt" else "text"
    assert list(open_texts(write(tmp_path, name, content), column)) == ["Grüße", "你好"]


def compressed(content: bytes, extension: str) -> bytes:
    if extension == ".zst":
        pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow for zstd")
        result: bytes = pyarrow.compress(content, codec="zstd", asbytes=True)
        return result
    return bz2.compress(content) if extension == ".bz2" else gzip.compress(content)


@pytest.mark.parametrize("extension", [".gz", ".bz2", ".zst"])
@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl", "JSONL", "json"])
def test_lines_may_be_compressed(tmp_path: Path, kind: str, extension: str) -> None:
    contents = {"txt": "text\n你好", "csv": "any\ntext\n你好\n", "json": '[{"any": "text"}, {"any": "你好"}]'}
    content = contents.get(kind, '{"any": "text"}\n{"any": "你好"}\n').encode()
    name = f"a.{kind}{extension if kind != 'JSONL' else extension.upper()}"
    assert list(open_texts(write(tmp_path, name, compressed(content, extension)))) == ["text", "你好"]


@pytest.mark.parametrize("extension", [".gz", ".bz2", ".zst"])
@pytest.mark.parametrize("damage", ["empty", "not compressed", "cut short"])
def test_a_damaged_compressed_file_is_refused(tmp_path: Path, damage: str, extension: str) -> None:
    contents = {"empty": b"", "not compressed": b"plain text"}
    content = contents.get(damage, compressed(b"one\ntwo\n" * 99, extension)[:-9])
    message = refusal(write(tmp_path, f"a.txt{extension}", content))
    assert ("is empty" if damage == "empty" else "cannot be read: ") in message


@pytest.mark.parametrize("extension", [".gz", ".bz2", ".zst"])
def test_a_compressed_parquet_file_is_refused(tmp_path: Path, extension: str) -> None:
    assert "unknown extension" in refusal(write(tmp_path, f"a.parquet{extension}", b""))


def test_without_pyarrow_a_zstd_file_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "a.txt.zst", b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "needs pyarrow, which is not installed. Run pip install 'minilmx[datasets]'." in refusal(path)


JSON_TEXTS = [
    '[{"t": "one"}, {"t": "Grüße"}]',
    '\ufeff[\n  {\n    "t": "one"\n  },\n  {"t": "Gr\\u00fc\\u00dfe"}\n]\n',
    '{"t": "one"}\n{"t": "Grüße"}\n',
    '{"t": "one"}{\n"t":\n"Grüße"}',
]


@pytest.mark.parametrize("content", JSON_TEXTS)
def test_json_is_an_array_or_objects_one_after_another(tmp_path: Path, content: str) -> None:
    assert list(open_texts(write(tmp_path, "a.json", content))) == ["one", "Grüße"]


def test_the_rows_of_json_have_lines(tmp_path: Path) -> None:
    records = [{"t": f"text {row}" * (1 + row % 50), "n": row} for row in range(3000)]
    records[2000]["t"] = "long" * 500_000
    for indent in (None, 1):
        path = write(tmp_path, "a.json", json.dumps(records, indent=indent))
        table = read_table(path)
        assert table.column("t") == [record["t"] for record in records]
        assert table.lines == [1 if indent is None else 2 + 4 * row for row in range(3000)]
        assert list(open_texts(path, "t")) == table.column("t")


@pytest.mark.parametrize("content", ["", "[]", " [ ] \n"])
def test_json_without_an_object_is_empty(tmp_path: Path, content: str) -> None:
    assert "is empty; expected at least one row" in refusal(write(tmp_path, "a.json", content))


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ('{"t": "b"', "line 3: not JSON: "),
        ('{"t": "b', "line 3: not JSON: "),
        ('{"t": "b"}', "line 3: not JSON: expected a comma or the end of the array"),
        ('{"t": "b"},]', "line 3: not JSON: "),
        ('{"t": "b"} {"t": "c"}]', "line 3: not JSON: expected a comma or the end of the array"),
        ('{"t": "b"}]\nmore', "line 4: not JSON: something follows the array"),
        ('["b"]]', "line 3: list; expected a JSON object"),
        ("12]", "line 3: int; expected a JSON object"),
        ("[" * 100_000, "line 3: not JSON: "),
    ],
    ids=range(9),
)
def test_broken_json_is_refused_with_its_line(tmp_path: Path, rest: str, message: str) -> None:
    assert message in refusal(write(tmp_path, "a.json", f'[{{"t": "a"}},\n\n{rest}'))


def test_json_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "line 2: byte 0xe9 is not UTF-8" in refusal(
        write(tmp_path, "a.json", b'[{"t": "a"},\n{"t": "\xe9"}]')
    )


def test_a_format_can_be_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b'{"text": "one", "n": 1}\n{"text": "two", "n": 2}\n'
    path = write(tmp_path, "a.dat", content)
    assert "unknown extension" in refusal(path)
    assert list(open_texts(path, "text", TextFormat("jsonl"))) == ["one", "two"]
    assert list(open_texts(write(tmp_path, "a.ndjson", content), "text")) == ["one", "two"]
    assert "has no column 'one'" in refusal(path, "one", kind="jsonl")
    for kind, data in {
        "jsonl": content,
        "json": b'[{"text": "one", "n": 1}, {"text": "two"}]',
        "csv": b"text;n\none;1\ntwo;2\n",
        "tsv": b"text\tn\none\t1\ntwo\t2\n",
    }.items():
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        assert list(open_texts("-", "text", TextFormat(kind))) == ["one", "two"]
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        with pytest.raises(DatasetError, match="- has no column 'other'; its columns are text, n"):
            list(open_texts("-", "other", TextFormat(kind)))


@pytest.fixture
def memory() -> Iterator[Any]:
    """A file system that exists only in this process, and is empty again afterwards."""
    system = pytest.importorskip("fsspec", reason="needs fsspec").filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl.gz", "a.json.zst", "a.parquet"])
def test_a_url_is_read(tmp_path: Path, name: str, memory: Any) -> None:
    contents = {
        "a.csv": b"text\none\ntwo\n",
        "a.jsonl.gz": gzip.compress(b'{"text": "one"}\n{"text": "two"}\n'),
    }
    if name == "a.json.zst":
        contents[name] = compressed(b'[{"text": "one"}, {"text": "two"}]', ".zst")
    if name == "a.parquet":
        contents[name] = Path(write_parquet(tmp_path, {"text": ["one", "two"]})).read_bytes()
    memory.pipe(f"/bucket/{name}", contents[name])
    texts = open_texts(f"memory://bucket/{name}")
    assert (texts.count, list(texts)) == (2, ["one", "two"])


def test_a_url_that_cannot_be_read_is_refused(memory: Any) -> None:
    assert "memory://bucket/a.txt does not exist" in refusal("memory://bucket/a.txt")
    message = refusal("nosuch://bucket/a.txt")
    assert "nosuch://bucket/a.txt cannot be read: Protocol not known: nosuch" in message


@pytest.mark.skipif(find_spec("s3fs") is not None, reason="s3fs is installed")
def test_without_its_package_a_protocol_is_refused(tmp_path: Path) -> None:
    message = refusal("s3://bucket/a.txt")
    assert "s3://bucket/a.txt cannot be read: Install s3fs" in message
    assert message.endswith("Install the package that fsspec needs for this protocol.")


def test_texts_are_counted_first_and_read_again_each_time(tmp_path: Path) -> None:
    texts = open_texts(write(tmp_path, "a.jsonl", '{"a": "one", "b": 1}\n{"a": "two"}\n'), "a")
    assert (texts.count, texts.column) == (2, "a")
    assert list(texts) == list(texts) == ["one", "two"]


def test_a_first_record_without_fields_is_not_overlooked(tmp_path: Path) -> None:
    assert "line 1: a is null" in refusal(write(tmp_path, "a.jsonl", '{}\n{"a": "one"}\n'))


def test_columns_that_first_appear_in_a_later_row_are_found(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "a.jsonl", '{"a": "one"}\n' * 5000 + '{"b": "two"}\n'))
    assert "has the columns a, b; choose a column. Name one of them." in message


def test_rows_in_the_middle_of_a_parquet_file_keep_their_numbers(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(10_000)]
    assert list(open_texts(write_parquet(tmp_path, {"text": texts}))) == texts
    texts[9000] = ""
    assert "row 9001: text is empty" in refusal(write_parquet(tmp_path, {"text": texts}))


def test_parquet_gives_its_sentences(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, {"text": ["Grüße", "你好"], "score": [1.5, 2.0]})
    assert list(open_texts(path, "text")) == ["Grüße", "你好"]
    assert read_table(path).column("score") == [1.5, 2.0]


def test_standard_input_has_one_sentence_per_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"one\ntwo\n")))
    assert list(open_texts("-")) == ["one", "two"]


def test_the_only_column_needs_no_name(tmp_path: Path) -> None:
    assert list(open_texts(write(tmp_path, "a.csv", "anything\nhello\n"))) == ["hello"]


def test_one_of_several_columns_must_be_chosen(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "a.csv", "one,two\na,b\n"))
    assert "has the columns one, two; choose a column. Name one of them." in message


def test_a_missing_column_is_refused_with_the_existing_ones(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "a.csv", "one,two\na,b\n"), "three")
    assert "no column 'three'; its columns are one, two" in message
    barred = refusal(write(tmp_path, "bars.csv", "one|two\na|b\n"), "two")
    assert "its columns are one|two. If | delimits the columns, set the file's delimiter." in barred


def test_a_column_of_a_text_file_is_refused(tmp_path: Path) -> None:
    assert "is a text file, which has no columns" in refusal(write(tmp_path, "a.txt", "hello\n"), "text")


def test_csv_keeps_commas_quotes_and_newlines_within_quotes(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,n\r\n"a ""b"", c\r\nd",1\r\n" e ",2\r\n')
    table = read_table(path)
    assert table.columns == [['a "b", c\r\nd', " e "], ["1", "2"]]
    assert table.lines == [2, 4]


def test_a_quote_in_tsv_is_a_character_like_any_other(tmp_path: Path) -> None:
    rows = ['"I see," he said\t1', 'the 5" disk\t2', '"Where?"\t3', 'an "odd one\t4']
    table = read_table(write(tmp_path, "a.tsv", "text\tn\n" + "\n".join(rows) + "\n"))
    assert table.columns == [[row.split("\t")[0] for row in rows], ["1", "2", "3", "4"]]
    assert table.lines == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "options", "content"),
    [
        ("a.tsv", {"quoting": "csv"}, 'text\tn\n"a ""b""\nc"\t1\n'),
        ("a.tsv", {}, '"text"\t"n"\n"a ""b""\nc"\t"1"\n'),
        ("a.csv", {}, 'text;n\n"a ""b""\nc";1\n'),
        ("a.csv", {}, '"text, raw";"n"\n"a ""b""\nc";1\n'),
        ("a.csv", {"delimiter": "|"}, 'text|n\n"a ""b""\nc"|1\n'),
        ("a.tsv", {"delimiter": ";"}, 'text;n\n"a ""b""\nc";1\n'),
    ],
)
def test_quoted_fields_are_read_if_the_file_or_the_user_says_so(
    tmp_path: Path, name: str, options: dict[str, str], content: str
) -> None:
    table = read_table(write(tmp_path, name, content), TextFormat(**options))
    assert table.columns == [['a "b"\nc'], ["1"]]


@pytest.mark.parametrize(
    ("name", "options", "content"),
    [
        ("a.csv", {"quoting": "none"}, 'text,n\n"a ""b""",1\n'),
        ("a.tsv", {"quoting": "none"}, 'text\tn\n"a ""b"""\t1\n'),
        ("a.csv", {"quoting": "none"}, 'text\tn\n"a ""b"""\t1\n'),
    ],
)
def test_without_quoting_every_quote_is_kept(
    tmp_path: Path, name: str, options: dict[str, str], content: str
) -> None:
    table = read_table(write(tmp_path, name, content), TextFormat(**options))
    assert table.columns == [['"a ""b"""'], ["1"]]


@pytest.mark.parametrize("field", ['"say ""no"""', '""'])
def test_a_tsv_field_that_only_a_writer_of_quotes_makes_is_refused(tmp_path: Path, field: str) -> None:
    message = refusal(write(tmp_path, "a.tsv", f"text\tn\na\t1\n{field}\t2\n"), "text")
    assert f"line 3: the field {field!r} is in double quotes; expected a TSV file" in message
    assert message.endswith("Set the file's quoting: csv, or none if the quotes belong to the text.")


def test_a_field_too_many_may_be_a_matter_of_the_format(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "a.tsv", 'text\tn\n"a\tb"\t1\n'), "text")
    assert "line 2: 3 fields; expected 2, as in the first row. Fix it, or set the file's del" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": ";;"}, "the delimiter is ';;'; expected one character"),
        ({"quoting": "some"}, "the quoting is 'some'; expected csv or none"),
    ],
)
def test_an_impossible_format_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        TextFormat(**options)


@pytest.mark.parametrize("option", [{"delimiter": ";"}, {"quoting": "none"}])
def test_a_setting_that_does_nothing_is_refused(tmp_path: Path, option: dict[str, str]) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "a"}\n')
    (name,) = option
    with pytest.raises(DatasetError, match=f"a {name} is only for CSV and TSV files; the input is .jsonl"):
        list(open_texts(path, None, TextFormat(**option)))


def test_line_numbers_count_newlines_within_quotes(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "a.csv", 'text,n\n"one\ntwo\nthree",1\n,2\n'), "text")
    assert "line 5: text is empty" in message


@pytest.mark.parametrize("row", ["a", "a,b,c"])
def test_a_row_with_more_or_fewer_fields_is_refused(tmp_path: Path, row: str) -> None:
    message = refusal(write(tmp_path, "a.csv", f"one,two\na,b\n{row}\nc,d\n"), "one")
    assert f"line 3: {len(row.split(','))} fields; expected 2" in message


@pytest.mark.parametrize("row", ['"a', '"a"b'])
def test_broken_quoting_is_refused_with_its_line(tmp_path: Path, row: str) -> None:
    assert "line 3: " in refusal(write(tmp_path, "a.csv", f"text\nok\n{row}\n"), "text")


def test_the_first_of_two_columns_with_the_same_name_is_read(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.csv", "x,x,y\n1,2,3\n"))
    assert table.names == ("x", "x", "y")
    assert table.column("x") == ["1"]
    assert table.columns == [["1"], ["2"], ["3"]]


def test_records_with_different_fields_make_one_table(tmp_path: Path) -> None:
    content = '{"a": 1}\n' * 5000 + '{"b": 2}\n'
    table = read_table(write(tmp_path, "a.jsonl", content))
    assert table.names == ("a", "b")
    assert table.column("a") == [1] * 5000 + [None]
    assert table.column("b") == [None] * 5000 + [2]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.jsonl"])
def test_a_huge_field_is_read_whole(tmp_path: Path, name: str) -> None:
    huge = "word " * 100_000 + "end"
    contents = {"a.txt": huge, "a.jsonl": json.dumps({"text": huge})}
    path = write(tmp_path, name, contents.get(name, f"text\n{huge}\n"))
    assert list(open_texts(path)) == [huge]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl"])
def test_invalid_utf8_is_refused_with_its_line_and_byte(tmp_path: Path, name: str, mark: bytes) -> None:
    first = {"a.txt": b"ab\ncd", "a.jsonl": b'{"text": "ab"}\n{"text": "cd"}'}.get(name, b"text\ncd")
    message = refusal(write(tmp_path, name, mark + first + b"\n\xe9\nf\n"), None)
    assert "line 3: byte 0xe9 is not UTF-8" in message


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl"])
@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"], ids=["nothing", "byte order mark"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    assert "is empty; expected at least one row" in refusal(write(tmp_path, name, content))


def test_a_table_with_only_a_header_is_empty(tmp_path: Path) -> None:
    assert "is empty" in refusal(write(tmp_path, "a.csv", "text\n"))
    assert "is empty" in refusal(write_parquet(tmp_path, {"text": []}))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "one\n\nthree\n"),
        ("a.txt", "one\r\n \t\r\nthree\r\n"),
        ("a.jsonl", '{"text": "one"}\n{"text": ""}\n'),
        ("a.csv", 'text\n""\nthree\n'),
    ],
)
def test_an_empty_text_is_refused_with_its_line(tmp_path: Path, name: str, content: str) -> None:
    message = refusal(write(tmp_path, name, content), None)
    assert "line 2: text is empty; expected a text. Fill it in or remove it, or choose to skip" in message


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("a.jsonl", '\n{"text": "one"}\n\n \r\n{"text": "two"}\n\n', [2, 5]),
        ("a.csv", '\r\ntext,n\r\none,1\r\n\r\n  \r\n"two",2\r\n\r\n', [3, 6]),
        ("a.csv", "text\none\n\ntwo\n\n", [2, 4]),
        ("a.tsv", "\n\ntext\tn\none\t1\n\ntwo\t2\n", [4, 6]),
    ],
)
def test_blank_lines_between_records_are_no_rows(
    tmp_path: Path, name: str, content: str, lines: list[int]
) -> None:
    table = read_table(write(tmp_path, name, content))
    assert (table.column("text"), table.lines) == (["one", "two"], lines)


EMPTIES = [
    ("a.txt", "one\n\n \t\ntwo\n\n", [2, 3, 5]),
    ("a.csv", 'text,n\none,1\n,2\n" ",3\ntwo,4\n,5\n', [3, 4, 6]),
    ("a.jsonl", '{"text": "one"}\n\n{"text": null}\n{"n": 1}\n{"text": "two"}\n{"text": ""}\n', [3, 4, 6]),
]


@pytest.mark.parametrize(("name", "content", "lines"), EMPTIES)
def test_rows_without_a_text_are_counted_skipped_or_null(
    tmp_path: Path, name: str, content: str, lines: list[int]
) -> None:
    path = write(tmp_path, name, content)
    column = None if name == "a.txt" else "text"
    state = "null" if name == "a.jsonl" else "empty"
    expected = f"line {lines[0]}: text is {state}, the first of 3 rows without a text; expected a text."
    assert expected in refusal(path, column)
    skipped = open_texts(path, column, on_empty="skip")
    assert (skipped.count, skipped.empty_lines, list(skipped)) == (2, lines, ["one", "two"])
    assert skipped.empty_note == f"{path}: 3 rows without a text: skipped (lines {str(lines)[1:-1]})"
    null = open_texts(path, column, on_empty="null")
    assert (null.count, null.empty_lines, list(null)) == (5, lines, ["one", "", "", "two", ""])


def test_rows_of_parquet_without_a_text_have_numbers(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, {"text": ["one", None, "", "two"]})
    texts = open_texts(path, on_empty="skip")
    assert texts.empty_note == f"{path}: 2 rows without a text: skipped (rows 2, 3)"
    assert list(texts) == ["one", "two"]


def test_standard_input_may_have_rows_without_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"one\n\ntwo\n")))
    texts = open_texts("-", on_empty="skip")
    assert (list(texts), texts.empty_lines) == (["one", "two"], [2])


@pytest.mark.parametrize("on_empty", ["skip", "null"])
def test_only_a_missing_text_is_skipped(tmp_path: Path, on_empty: str) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": ""}\n{"text": 3}\n')
    with pytest.raises(DatasetError, match="line 2: text is int; expected a text"):
        open_texts(path, on_empty=on_empty)


def test_a_file_of_nothing_but_rows_without_a_text_is_empty(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.txt is empty; expected at least one row"):
        open_texts(write(tmp_path, "a.txt", "\n\n"), on_empty="skip")


def test_rows_without_a_text_are_treated_in_one_of_three_ways(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="'drop'; expected one of error, skip, null"):
        open_texts(write(tmp_path, "a.txt", "a\n"), on_empty="drop")


@pytest.mark.parametrize(
    ("value", "kind"), [("null", "null"), ("3", "int"), ("1.5", "float"), ("[]", "list")]
)
def test_a_value_that_is_not_a_text_is_refused(tmp_path: Path, value: str, kind: str) -> None:
    message = refusal(write(tmp_path, "a.jsonl", f'{{"text": "a"}}\n{{"text": {value}}}\n'))
    assert f"line 2: text is {kind}; expected a text" in message


def test_a_record_without_the_field_is_null(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "a.jsonl", '{"text": "a"}\n{"other": 1}\n'), "text")
    assert "line 2: text is null" in message


def test_null_and_numbers_in_parquet_are_refused_with_their_row(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, {"text": ["a", None], "n": [1, 2]})
    assert "row 2: text is null" in refusal(path, "text")
    assert "row 1: n is int" in refusal(path, "n")


@pytest.mark.parametrize(
    ("line", "words"),
    [("{", "not JSON"), ("[1]", "list; expected a JSON object"), ("[" * 100_000, "not JSON")],
    ids=["cut", "list", "deep"],
)
def test_a_line_that_is_not_a_record_is_refused(tmp_path: Path, line: str, words: str) -> None:
    message = refusal(write(tmp_path, "a.jsonl", f'{{"text": "a"}}\n{line}\n'))
    assert f"line 2: {words}" in message


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0b", "\x1c"])
def test_only_newlines_end_a_line(tmp_path: Path, separator: str) -> None:
    text = f"one{separator}two"
    assert list(open_texts(write(tmp_path, "a.txt", f"{text}\nb\n"))) == [text, "b"]
    if separator in "\u2028\u0085":  # JSON wants the others escaped
        assert list(open_texts(write(tmp_path, "a.jsonl", f'{{"t": "{text}"}}\n'))) == [text]


def test_half_a_surrogate_pair_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "\\ud83d\\ude00"}\n{"text": "x\\ud800"}\n')
    assert "line 2: text has half of a surrogate pair" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 not really PAR1"])
def test_a_corrupt_parquet_file_is_refused(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("pyarrow")
    assert "cannot be read as Parquet" in refusal(write(tmp_path, "a.parquet", content))


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    path = Path(write_parquet(tmp_path, {"text": ["a"] * 100}))
    path.write_bytes(path.read_bytes()[:-30])
    assert "cannot be read as Parquet" in refusal(str(path))


@pytest.mark.parametrize("extension", ["txt", "csv", "tsv", "jsonl", "parquet"])
def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.{extension}"
    if extension == "parquet":
        pytest.importorskip("pyarrow")
    assert f"{path} does not exist" in refusal(str(path))
    path.mkdir()
    assert "cannot be read" in refusal(str(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_a_file_without_read_permission_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "secret\n")
    Path(path).chmod(0)
    assert "cannot be read: Permission denied" in refusal(path)


@pytest.mark.parametrize("name", ["a", "a.xlsx"])
def test_an_unknown_extension_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    message = refusal(write(tmp_path, name, "hello\n"))
    assert "unknown extension; expected one of .txt, .csv, .tsv, .jsonl, .ndjson, .json, .parquet" in message


@pytest.mark.parametrize("second", [b"\xff", b'{"text": "x"', b"[]"], ids=["not UTF-8", "not JSON", "list"])
def test_the_first_problem_is_reported_whatever_its_kind(tmp_path: Path, second: bytes) -> None:
    empty, rest = b'{"text": ""}\n', b'{"text": "a"}\n' * 5000
    assert "line 1: text is empty" in refusal(write(tmp_path, "a.jsonl", empty + second + b"\n" + rest))
    assert "line 2: " in refusal(write(tmp_path, "a.jsonl", b'{"text": "a"}\n' + second + b"\n" + empty))
    content = rest + empty + rest + second
    assert "line 5001: text is empty" in refusal(write(tmp_path, "a.jsonl", content))


def test_a_header_that_is_not_utf8_is_reported_before_its_missing_column(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "a.csv", "größe,text\n1,a\n".encode("latin-1")), "größe")
    assert "line 1: byte 0xf6 is not UTF-8" in message
    path = write(tmp_path, "a.jsonl", b'{"other": "a"}\n{"k\xf6ln": "b"}\n')
    assert "line 2: byte 0xf6 is not UTF-8" in refusal(path, "köln")


def test_a_csv_file_may_end_its_lines_with_carriage_returns(tmp_path: Path) -> None:
    assert list(open_texts(write(tmp_path, "a.csv", "text\rone\rtwo\r"))) == ["one", "two"]
