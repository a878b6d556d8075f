"""Numbers of things, as every message and report writes them."""


def counted(count: int, noun: str) -> str:
    """A count and its noun, in the plural unless it is one thing.

    Example:
        >>> counted(1, "pair"), counted(1379, "pair")
        ('1 pair', '1,379 pairs')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
