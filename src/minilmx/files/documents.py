"""Documents, such as a manifest, a record or settings: small regular files that are read strictly."""

import errno
import io
import json
import math
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from minilmx.errors import MinilmxError

MAX_BYTES = 64 * 1024**2  # a result has hundreds of kilobytes, a model's largest settings a few megabytes
# Of what grows with the data: a run's record and a ledger, which list the rows without a text.
LARGE_BYTES = 16 * MAX_BYTES
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")  # perhaps of a surrogate pair


def open_regular(path: Path) -> io.FileIO:
    """Open a file to read. Raises OSError for what is not a regular file, without waiting for a pipe."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return io.FileIO(handle)


def require_regular(path: Path) -> None:
    """Raise OSError for what is not a regular file, before a library that takes a path waits for a pipe."""
    open_regular(path).close()


def read_document(path: Path, most_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a document.

    Raises OSError for what is not a regular file, and for a file of more than `most_bytes`, without reading
    on.
    """
    with io.BufferedReader(open_regular(path)) as stream:
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes // 1024**2} MiB", str(path))
    return content


def dump_json(value: Any, indent: int | None = None) -> str:
    """A JSON document as text that can be encoded. A name of a file may have bytes that are not UTF-8, which
    Python decodes as halves of surrogate pairs: these are escaped.

    Raises ValueError for a number that is not finite.
    """
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def parse_json(document: bytes, *, names_files: bool = False) -> Any:
    """The value of a JSON document in UTF-8.

    Raises ValueError, also for what Python's json lets pass: an object with two values of one name, NaN,
    Infinity and numbers beyond float64, nesting too deep to read, and halves of surrogate pairs, unless the
    document names files of this machine, as `dump_json` writes them.
    """
    try:
        value = json.loads(
            document.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
        )
        if _HALF.search(document) and not names_files:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("it has half of a surrogate pair, which is not a character") from error
    return value


def require_version(
    found: object, expected: int, what: str, kind: type[MinilmxError], hint: str | None = None
) -> None:
    """Raise `kind` unless a document has this schema version; true and 1.0 are not 1."""
    if type(found) is not int or found != expected:
        raise kind(f"{what}: schema version {found!r:.40}; expected {expected}", hint)


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"it has two values named {name!r:.80}")
        members[name] = value
    return members


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits:.80} is beyond float64")
    return number


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")
