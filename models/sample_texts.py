"""Sentences of every length, for comparing one graph of a model with another."""

from importlib import resources


def sample_texts(sequence_length: int) -> list[str]:
    """Sentences from one word to more than `sequence_length` tokens, from sample_texts.txt.

    A word is at least one token, and special tokens are added, so a text of S words has more than S.
    """
    lines = (resources.files(__package__) / "sample_texts.txt").read_text("utf-8").splitlines()
    words = lines[-1].split()
    words *= sequence_length // len(words) + 1
    lengths = {2**power + extra for power in range(12) for extra in (-1, 0, 1, 5)}
    usable = sorted(length for length in lengths if 2 <= length < sequence_length)
    prefixes = [" ".join(words[:length]) for length in [*usable, sequence_length]]
    return [*lines[:-1], *prefixes]
