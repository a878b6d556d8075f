"""Sentences of every length to compare graphs with, and odd texts to compare tokenizers with."""

from collections.abc import Sequence
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


def pair_up(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Each text with the one before it, and the first with the last: pairs for a cross-encoder."""
    return [(text, texts[row - 1]) for row, text in enumerate(texts)]


# ruff: noqa: RUF001 - letters that look like others are what some of these texts are about
# Each is tokenized in another way if one setting of a tokenizer differs.
_ODD_TEXTS = (
    "",
    "The CAT sat on The Mat; İSTANBUL, STRASSE, Straße, ΣΊΣΥΦΟΣ.",
    "Café déjà-vu, naïve Ångström, jalapeño, Москва́, Tiếng Việt; Cafe\u0301 u\u0308ber.",
    "日本語の文章です。中文字符 mixed混合text 한국어 문장 ภาษาไทย हिन्दी العربية עברית",
    "  leading,  double \t tab\nnew line\r\nend\u00a0no-break\u2003em\u3000wide\u200bzero  ",
    "word",
    " word",
    "bell\x07 null\x00 delete\x7f soft\u00adhyphen \ufeffmark \ufffd replaced \u202eturned",
    "Great 👍🏽, 👩‍👩‍👧 and 🇩🇪 ❤️!",
    "don't re-read e-mails@example.com... 1,234.56 = 50% (ok?) `x_y` #tag $5 §9",
    "ﬁnance ½ Ⅷ ｆｕｌｌ ② x² Å",
    "z" * 130,
)


def odd_texts(sequence_length: int, added_tokens: Sequence[str]) -> list[str]:
    """Texts that show a difference between two tokenizers: in case, accents, CJK, white space and more.

    Two have more than `sequence_length` tokens, with other words at the start than at the end; some have
    an added token between words, within a word and in another case.
    """
    overlong = " ".join(f"{number} a" for number in range(sequence_length))
    added = [f"one {token} two{token}three {token.lower()} {token.upper()}" for token in added_tokens]
    return [*_ODD_TEXTS, overlong, "A b C. " * sequence_length + "The End", *added]
