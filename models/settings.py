"""What config_sentence_transformers.json asks for: prompts, a similarity, and a shorter embedding."""

from dataclasses import dataclass
from typing import Any

from minilmx.errors import ModelError
from minilmx.models.manifest import COSINE, SIMILARITIES
from minilmx.models.model_folder import ModelSource, read_settings_file

SETTINGS = "config_sentence_transformers.json"
# sentence-transformers knows these prompts in every model: empty, unless the model says otherwise.
_EMPTY_PROMPTS = {"query": "", "document": ""}


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The settings of a model folder.

    `prompts` are texts by name, empty if none of them says anything; `default_prompt` is the name of the
    one that is prepended unless another is chosen. `similarity` is "cosine", "dot", "euclidean" or
    "manhattan". `truncate_dimension` is how many numbers of an embedding are kept, None for all.
    """

    prompts: dict[str, str]
    default_prompt: str | None
    similarity: str
    truncate_dimension: int | None


def read_settings(source: ModelSource) -> ModelSettings:
    """The settings of a model folder, whose file is optional. Raises ModelError for values of other kinds."""
    content = read_settings_file(source.folder, SETTINGS)
    similarity = content.get("similarity_fn_name") or COSINE
    if similarity not in SIMILARITIES:
        raise _fault(source, "similarity_fn_name", similarity, f"one of {', '.join(SIMILARITIES)}")
    dimension = content.get("truncate_dim")
    if dimension is not None and (type(dimension) is not int or dimension < 1):
        raise _fault(source, "truncate_dim", dimension, "a whole number from 1")
    prompts, default = _read_prompts(source, content)
    return ModelSettings(prompts, default, similarity, dimension)


def _read_prompts(source: ModelSource, content: dict[str, Any]) -> tuple[dict[str, str], str | None]:
    stated = content.get("prompts") or {}
    if not isinstance(stated, dict) or not all(isinstance(text, str | None) for text in stated.values()):
        raise _fault(source, "prompts", stated, "texts by name")
    prompts = _EMPTY_PROMPTS | {name: text or "" for name, text in stated.items()}
    default = content.get("default_prompt_name")
    if default is not None and (not isinstance(default, str) or default not in prompts):
        raise _fault(source, "default_prompt_name", default, f"one of {', '.join(sorted(prompts))}")
    return (prompts, default) if any(prompts.values()) else ({}, None)


def _fault(source: ModelSource, key: str, found: object, expected: str) -> ModelError:
    return ModelError(f"{source.folder / SETTINGS}: {key} {found!r:.80}; expected {expected}")
