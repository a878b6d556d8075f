"""The MiniLM models that minilmx knows by name.

Revisions are those in mteb's model metadata. A model without one is resolved during export, and
the artifact's manifest records the commit.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that can be exported by its short name.

    `spearman` is MTEB's published Spearman correlation x100 on STSBenchmark (English, test
    split), or None if we do not know one.
    """

    name: str
    layers: int
    revision: str | None
    spearman: float | None
    about: str

    @property
    def hub_id(self) -> str:
        """The id on the Hugging Face hub."""
        return f"sentence-transformers/{self.name}"


_MODELS = (
    KnownModel(
        "all-MiniLM-L6-v2",
        6,
        "8b3219a92973c328a8e22fadcfa821b5dc75636a",
        82.03,
        "English, general purpose; the default",
    ),
    KnownModel(
        "all-MiniLM-L12-v2",
        12,
        "364dd28d28dcd3359b537f3cf1f5348ba679da62",
        83.09,
        "English, general purpose, twice the layers",
    ),
    KnownModel("paraphrase-MiniLM-L3-v2", 3, None, None, "English, paraphrases, the smallest"),
    KnownModel(
        "paraphrase-multilingual-MiniLM-L12-v2",
        12,
        "e8f8c211226b894fcb81acc59f3b34ba3efd5f42",
        84.42,
        "50 languages, paraphrases",
    ),
    KnownModel(
        "multi-qa-MiniLM-L6-cos-v1",
        6,
        "b207367332321f8e44f96e224ef15bc607f4dbf0",
        75.98,
        "English, questions to passages",
    ),
)

KNOWN_MODELS = {model.name: model for model in _MODELS}
DEFAULT_MODEL = "all-MiniLM-L6-v2"


def find_known_model(name: str) -> KnownModel | None:
    """The known model of this short name or hub id, in any letter case, or None."""
    lower = name.lower()
    return next((each for each in _MODELS if lower in (each.name.lower(), each.hub_id.lower())), None)
