"""Shards as data files of one Lance dataset, whose manifest is written when all are complete."""

import re
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from minilmx.embedding.corpus.ledger import LANCE_TRANSACTIONS, LANCE_VERSIONS, Entry
from minilmx.embedding.corpus.shards import ShardFormat
from minilmx.errors import OutputError, is_panic
from minilmx.files.atomic import FolderKind, atomic_folder

# Lance's default for strings, FSST, samples at random, so its bytes differ from run to run.
_COMPRESSION = {"lance-encoding:compression": "zstd"}
_VERSION = "2.2"
_LANCE = FolderKind("a part of a Lance dataset", ())


def _check_installed() -> None:
    if find_spec("lance") is None:
        raise OutputError(
            "the format lance needs pylance, which is not installed", "Run pip install 'minilmx[lance]'."
        )


def _check_columns(fields: list[Any]) -> None:
    import pyarrow

    for field in fields:
        with _one_sentence(f"the column {field.name} cannot be written to Lance"):
            _data_file(pyarrow.table([pyarrow.nulls(1, field.type)], [field.name]))


def _write(table: Any, path: Path) -> None:
    import pyarrow
    from lance.file import LanceFileWriter

    schema = pyarrow.schema(
        [field if field.name == "embedding" else _compressed(field) for field in table.schema]
    )
    # A copy, as the bytes would depend on the values behind nulls and before a slice.
    table = table.cast(schema).take(pyarrow.array(range(len(table)))).combine_chunks()
    # Lance writes to a temporary file of its own in the same folder.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as scratch:
        written = Path(scratch) / "shard.lance"
        with (
            _one_sentence(f"{path.parent} cannot be written"),
            LanceFileWriter(str(written), schema, version=_VERSION) as writer,
        ):
            writer.write_batch(table)
        written.replace(path)


def _commit(folder: Path, shards: Collection[Entry]) -> None:
    """Create the first version of the dataset from these shards, unless it exists."""
    if any((folder / LANCE_VERSIONS).glob("*.manifest")):
        return
    import lance
    from lance.file import LanceFileReader
    from lance.fragment import DataFile, FragmentMetadata

    with (
        _one_sentence(f"{folder} cannot become a Lance dataset"),
        atomic_folder(folder / LANCE_VERSIONS, replace=_LANCE) as versions,
        atomic_folder(folder / LANCE_TRANSACTIONS, replace=_LANCE) as transactions,
        tempfile.TemporaryDirectory(dir=versions.parent) as scratch,
    ):
        first, *_ = shards
        row = LanceFileReader(str((folder / first.file).absolute())).take_rows([0]).to_table()
        like = _data_file(row)
        version = like.file_major_version, like.file_minor_version
        fragments = []
        for shard in shards:
            file = DataFile(Path(shard.file).name, like.fields, like.column_indices, *version)
            fragments.append(FragmentMetadata(shard.shard, [file], shard.rows))
        lance.LanceDataset.commit(scratch, lance.LanceOperation.Overwrite(row.schema, fragments))
        # Not Lance's hint of the latest version, which it leaves out if the disk is full.
        for made, files in (
            (versions, f"{LANCE_VERSIONS}/*.manifest"),
            (transactions, f"{LANCE_TRANSACTIONS}/*.txn"),
        ):
            for path in Path(scratch).glob(files):
                path.rename(made / path.name)


def _data_file(rows: Any) -> Any:
    """How Lance describes a data file with the columns of these rows: which field is where."""
    from lance.fragment import LanceFragment

    (file,) = LanceFragment.create("memory://rows", rows, data_storage_version=_VERSION).files
    return file


def _compressed(field: Any) -> Any:
    """A pyarrow Field whose strings, at any depth, are compressed deterministically."""
    import pyarrow
    from pyarrow import types

    kind = field.type
    if types.is_struct(kind):
        kind = pyarrow.struct([_compressed(part) for part in kind])
    elif types.is_map(kind):
        kind = pyarrow.map_(_compressed(kind.key_field), _compressed(kind.item_field))
    elif types.is_fixed_size_list(kind):
        kind = pyarrow.list_(_compressed(kind.value_field), kind.list_size)
    elif types.is_large_list(kind):
        kind = pyarrow.large_list(_compressed(kind.value_field))
    elif types.is_list(kind):
        kind = pyarrow.list_(_compressed(kind.value_field))
    return field.with_type(kind).with_metadata(_COMPRESSION)


@contextmanager
def _one_sentence(what: str) -> Iterator[None]:
    """Raise OutputError for an error or a panic of Lance, without its place in Lance's source."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, OSError | RuntimeError | ValueError) and not is_panic(error):
            raise
        reason = re.sub(r"^LanceError\(\w+\): |, \S+\.rs:\d+:\d+$", "", str(error))
        raise OutputError(f"{what}: {reason}") from error


LANCE = ShardFormat("lance", _write, ("pylance",), _check_installed, _check_columns, _commit)
