"""Which files a corpus consists of."""

import errno
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from minilmx.embedding.corpus.ledger import LEDGER_SUFFIX
from minilmx.embedding.output_file import RECORD_SUFFIX
from minilmx.errors import DatasetError
from minilmx.files.formats import COMPRESSIONS, EXTENSIONS, STANDARD_INPUT, file_kind
from minilmx.files.opening import files_at, is_read_once, is_url
from minilmx.progress import Progress

_NAMED = 10  # files in a message


def find_files(inputs: Sequence[str], leave_out: Path, progress: Progress) -> list[str]:
    """The files of a corpus in natural order (a2 before a10), each once.

    An input is a file, a folder or a glob pattern, or a URL of one. Of a folder, all files of a known
    kind are taken, at any depth, except names that start with "." or "_", ledgers and records of runs, and
    what is behind a link to a folder; a message counts and names what is skipped. Files in the folder
    `leave_out` never are taken. Raises DatasetError if an input leads to no file, or to one that cannot be
    read.
    """
    found: dict[str, str] = {}
    for given in inputs:
        if is_read_once(given):
            name = "standard input" if given == STANDARD_INPUT else given
            raise DatasetError(f"a corpus cannot come from {name}, which can be read only once", "Use files.")
        passed: dict[str, str] = {}
        if is_url(given):
            listed = files_at(given)
            files = [file for file in listed if file == given or _is_taken(file, Path(file).name, passed)]
        else:
            with _readable(given):
                listed = [given] if Path(given).exists() else _matches(given, passed)
                files = list(_files(listed, leave_out.resolve(), passed))
        if not listed:
            raise DatasetError(f"{given} does not exist")
        if not files:
            kinds = f"{', '.join(EXTENSIONS)}, also with {', '.join(COMPRESSIONS)}"
            raise DatasetError(f"{given} has no file of a known kind; expected {kinds}")
        for file in files:
            found.setdefault(file if is_url(given) else str(Path(file).resolve()), file)
        _report(given, passed, progress)
    return sorted(found.values(), key=_natural)


def _matches(pattern: str, passed: dict[str, str]) -> list[str]:
    """What a glob pattern matches. Raises DatasetError for a folder that it must look into but cannot."""
    parts = Path(pattern).parts
    for count in range(len(parts)):
        if glob.has_magic(str(Path(*parts[: count + 1]))):
            # Path.glob does not take absolute patterns, and neither glob says what it cannot read.
            for folder in glob.iglob(str(Path(*parts[:count])), recursive=True):  # noqa: PTH207
                if Path(folder).is_dir() and not os.access(folder, os.R_OK | os.X_OK, effective_ids=True):
                    raise _unreadable(folder, os.strerror(errno.EACCES))
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207
    return [name for name in names if not _is_ours(name, passed)]


def _files(names: Iterable[str], leave_out: Path, passed: dict[str, str]) -> Iterator[str]:
    """These files, and those of a known kind in these folders, at any depth."""
    pending = [(name, False) for name in names]
    while pending:
        name, is_inner = pending.pop()
        path = Path(name)
        if path.is_dir():
            if is_inner and path.is_symlink():
                passed[name] = "a link to a folder"
            elif path.resolve() != leave_out and leave_out not in path.resolve().parents:
                with _readable(name):
                    inner = [str(each) for each in sorted(path.iterdir())]
                inner = [name for name in inner if not _is_hidden(name, passed)]
                pending += [(name, True) for name in inner]
        elif is_inner and not _is_taken(name, path.name, passed):
            continue
        elif not path.exists():
            raise _unreadable(name, "the link leads to no file" if path.is_symlink() else "it does not exist")
        elif not path.is_file():
            raise _unreadable(name, "it is not a regular file")
        elif leave_out not in path.resolve().parents:
            yield name


def _is_taken(file: str, name: str, passed: dict[str, str]) -> bool:
    """Whether a file in a folder is one of a corpus. Raises DatasetError for a compressed Parquet file."""
    if _is_hidden(file, passed) or _is_ours(file, passed):
        return False
    kind = file_kind(file)
    if kind in COMPRESSIONS and Path(name).with_suffix("").suffix.lower() == ".parquet":
        raise _unreadable(file, f"it is a Parquet file within {kind}", "Decompress it.")
    if kind not in EXTENSIONS:
        passed[file] = "of an unknown kind"
    return kind in EXTENSIONS


def _is_hidden(file: str, passed: dict[str, str]) -> bool:
    hidden = Path(file).name.startswith((".", "_"))
    if hidden:
        passed[file] = "hidden"
    return hidden


def _is_ours(file: str, passed: dict[str, str]) -> bool:
    """Whether a file is one that minilmx writes beside its outputs."""
    ours = file.endswith((LEDGER_SUFFIX, RECORD_SUFFIX))
    if ours:
        passed[file] = "written by minilmx"
    return ours


def _report(given: str, passed: dict[str, str], progress: Progress) -> None:
    if passed:
        named = [f"{file} ({why})" for file, why in sorted(passed.items())[:_NAMED]]
        more = ", ..." * (len(passed) > _NAMED)
        one = len(passed) == 1
        what = "1 file or folder was" if one else f"{len(passed)} files or folders were"
        progress.message(f"{given}: {what} skipped: {', '.join(named)}{more}")


@contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unreadable(error.filename or path, error.strerror or str(error)) from error


def _unreadable(
    path: str, reason: str, hint: str = "Remove it, or name the inputs one by one."
) -> DatasetError:
    return DatasetError(f"{path} cannot be read: {reason}", hint)


def _natural(path: str) -> tuple[list[int | str], str]:
    """A sort key that orders numbers in names by value."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path)], path
