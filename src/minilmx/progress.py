"""What a long operation reports while it runs."""

import sys
from collections.abc import Callable

# Called with the number of items that were finished since the last call.
Advance = Callable[[int], None]


class Progress:
    """Receives messages and counts from long operations. This base class ignores them.

    Example:
        >>> class Printed(minilmx.Progress):
        ...     def message(self, text):
        ...         print("->", text)
        >>> Printed().message("loading the model")
        -> loading the model
    """

    def message(self, text: str) -> None:
        """Report one line, such as the start of a stage."""

    def start(self, label: str, total: int | None) -> Advance:
        """Start a count of `total` items (None if unknown); returns what is called with each increase."""
        return lambda count: None


class StandardErrorProgress(Progress):
    """Prints messages on standard error, and no counts."""

    def message(self, text: str) -> None:
        """Print one line."""
        print(text, file=sys.stderr)


SILENT = Progress()
