"""What a long operation reports while it runs."""

from collections.abc import Callable


class Progress:
    """Receives messages and counts from long operations. This base class ignores them.

    Example:
        >>> advance = SILENT.start("onnxruntime", total=2)
        >>> advance(2)
    """

    def message(self, text: str) -> None:
        """Report one line, such as the start of a stage."""

    def start(self, label: str, total: int | None) -> Callable[[int], None]:
        """Start a count of `total` items (None if unknown); returns what is called with each increase."""
        return lambda count: None


SILENT = Progress()
