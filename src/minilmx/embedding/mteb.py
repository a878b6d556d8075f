"""What an open artifact needs to be a model of mteb, by its protocol for encoders."""

from collections.abc import Iterable, Mapping
from typing import Any

from minilmx.models.artifact import Artifact
from minilmx.runners.base import Details


def read_call(artifact: Artifact, batches: Iterable[Any], given: Mapping[str, Any]) -> tuple[list[str], str]:
    """The texts in mteb's batches, and the text of the prompt for the task and the prompt type.

    Raises TypeError if mteb did not make the call.
    """
    if "task_metadata" not in given:
        raise TypeError(f"encode, arguments: {', '.join(given)}; expected texts, first_row or those of mteb")
    texts = [text for batch in batches for text in batch["text"]]
    return texts, _find_prompt(artifact, given["task_metadata"], given.get("prompt_type"))


def _find_prompt(artifact: Artifact, task: Any, kind: Any) -> str:
    """The chosen prompt, that of the task, that of the side of a search, or the default, in this order."""
    from mteb.models.abs_encoder import get_prompt_name

    if artifact.chosen_prompt is not None:
        return artifact.prompt
    name = get_prompt_name(artifact.manifest.prompts or None, task, kind)
    if name is not None:
        return artifact.prompt_text(name)
    if kind is not None and artifact.search_prompts is not None:
        return artifact.prompt_text(getattr(artifact.search_prompts, kind.value))
    return artifact.prompt


def make_meta(artifact: Artifact, runner: str, details: Details) -> Any:
    """The artifact, its runner and its graph as `mteb.ModelMeta`."""
    from mteb.models.model_meta import ModelMeta, ScoringFunction

    manifest = artifact.manifest
    # mteb's names are ORGANISATION/MODEL, and a folder of its cache.
    name = artifact.name.removeprefix("hf://").replace("/", "--")
    facts = {"runner": runner, "graph": str(artifact.graph_kind), "prompt": artifact.prompt_name}
    return ModelMeta.create_empty(
        {
            "name": f"minilmx/{name}",
            "revision": artifact.digest,
            "adapted_from": manifest.source.id,
            "embed_dim": manifest.embedding_dimension,
            "max_tokens": artifact.shape.sequence_length,
            "similarity_fn_name": ScoringFunction(artifact.similarity),
            "framework": ["ONNX"],
            "use_instructions": bool(manifest.prompts),
            "experiment_kwargs": {**details, **facts},
        }
    )
