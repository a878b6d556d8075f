"""The errors that minilmx raises deliberately.

    MinilmxError
    ├── ModelError          a model that is unknown, out of reach, or not one we can read
    ├── ExportError         a graph that cannot be made, or that does not equal the model
    ├── ArtifactError       an artifact that does not exist, is incomplete, or has an unknown schema
    ├── RunnerError
    │   ├── RunnerUnavailable   something that the runner needs is missing on this machine
    │   └── RunnerFailed        a runner that was available and failed
    ├── DatasetError        sentences or scores that cannot be read
    ├── EvalError           numbers that cannot be compared
    └── OutputError         a file or folder that cannot be written

A message says what was wrong, what was found and what was expected; the hint says what to do. The
command line prints both and exits with code 3, or 2 for a setting that would change nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class MinilmxError(Exception):
    """Base class of all errors that minilmx raises deliberately.

    `message` says what is wrong; `hint`, if there is one, says what to do about it. `unused` is whether
    a setting was given that would change nothing: the command line exits with 2 then, as for wrong usage.

    Example:
        >>> try:
        ...     minilmx.bisect("out")
        ... except minilmx.MinilmxError as error:
        ...     print(error.message)
        ...     print(error.hint)
        nothing to compare with
        Name a candidate runner or artifact.
    """

    def __init__(self, message: str, hint: str | None = None, *, unused: bool = False) -> None:
        super().__init__(message, hint)
        self.unused = unused
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class ModelError(MinilmxError):
    """A model that is unknown, out of reach, or not one that minilmx can read."""


class ExportError(MinilmxError):
    """A graph that cannot be made, or that does not equal the model it came from."""


class ArtifactError(MinilmxError):
    """An artifact that does not exist, is incomplete, or has an unknown schema."""


class RunnerError(MinilmxError):
    """A runner that could not do its job."""


class RunnerUnavailable(RunnerError):
    """Something that the runner needs is missing on this machine."""


class RunnerFailed(RunnerError):
    """The runner was available and failed."""


class DatasetError(MinilmxError):
    """Sentences or scores that cannot be read."""


class EvalError(MinilmxError):
    """Numbers that cannot be compared."""


class OutputError(MinilmxError):
    """A file or folder that cannot be written."""


@contextmanager
def boundary(
    kind: type[MinilmxError], what: str, hint: str | None = None, *, named: bool = False
) -> Iterator[None]:
    """Raise `kind`, "<what>: <reason>", for whatever a parser, or a runner, raises on what it was given.

    That includes the panic of a Rust library, which is not an Exception. Errors of minilmx pass, and so does
    what ends the process. `named` is whether the reason begins with the class of the error.
    """
    try:
        yield
    except MinilmxError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        why = f"{type(error).__name__}: {error}" if named else reason(error)
        raise kind(f"{what}: {why}", hint) from error


def is_panic(error: BaseException) -> bool:
    """Whether an error is a panic of a Rust library: its class cannot be imported."""
    return type(error).__name__ == "PanicException"


def reason(error: BaseException) -> str:
    """What an error says, in words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, LookupError | ArithmeticError) or not str(error).strip():
        return f"{type(error).__name__}: {error}".strip(": ")
    return str(error)
