"""Which files a corpus consists of."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from minilmx.embedding.corpus.ledger import LEDGER_SUFFIX
from minilmx.embedding.output_file import RECORD_SUFFIX
from minilmx.errors import DatasetError
from minilmx.files.formats import COMPRESSIONS, EXTENSIONS, STANDARD_INPUT, file_kind
from minilmx.files.opening import files_at, is_read_once, is_url


def find_files(inputs: Sequence[str], leave_out: Path) -> list[str]:
    """The files of a corpus in natural order (a2 before a10), each once.

    An input is a file, a folder or a glob pattern, or a URL of one. Of a folder, all files of a known
    kind are taken, at any depth, except names that start with "." or "_". Files in the folder `leave_out`
    never are, nor are ledgers and records of runs, unless they are named. Raises DatasetError if an input
    leads to no file.
    """
    found: dict[str, str] = {}
    for given in inputs:
        if is_read_once(given):
            name = "standard input" if given == STANDARD_INPUT else given
            raise DatasetError(f"a corpus cannot come from {name}, which can be read only once", "Use files.")
        if is_url(given):
            found |= {file: file for file in _known(given, files_at(given))}
            continue
        # Path.glob does not take absolute patterns.
        names = [given] if _exists(given) else _not_ours(glob.glob(given, recursive=True))  # noqa: PTH207
        files = [file for name in names for file in (_within(Path(name)) if Path(name).is_dir() else [name])]
        if not names:
            raise DatasetError(f"{given} does not exist")
        if not files:
            raise _no_known_file(given)
        for file in files:
            resolved = Path(file).resolve()
            if leave_out.resolve() not in resolved.parents:
                found.setdefault(str(resolved), file)
    return sorted(found.values(), key=_natural)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error


def _known(url: str, files: list[str]) -> list[str]:
    """The files of a known kind at a URL. Raises DatasetError if there are none."""
    known = [
        file
        for file in files
        if file == url
        or (
            file_kind(file) in EXTENSIONS and _not_ours([file]) and not Path(file).name.startswith((".", "_"))
        )
    ]
    if not known:
        raise _no_known_file(url)
    return known


def _not_ours(names: list[str]) -> list[str]:
    """The names without those of what minilmx writes beside its outputs."""
    return [name for name in names if not name.endswith((LEDGER_SUFFIX, RECORD_SUFFIX))]


def _no_known_file(given: str) -> DatasetError:
    kinds = f"{', '.join(EXTENSIONS)}, also with {', '.join(COMPRESSIONS)}"
    return DatasetError(f"{given} has no file of a known kind; expected {kinds}")


def _within(folder: Path) -> list[str]:
    """The files of a known kind in a folder, at any depth."""
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file()
        and file_kind(str(path)) in EXTENSIONS
        and _not_ours([path.name])
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    ]


def _natural(path: str) -> tuple[list[int | str], str]:
    """A sort key that orders numbers in names by value."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path)], path
