"""Filling a snippet's template with what one artifact is.

A template is a file NAME.LANGUAGE.txt in this folder; `{{word}}` in it stands for a value. One in
Python or JavaScript makes a function `embed(texts)`, so `mlx check` and the tests run it as it is.
"""

import json
import re
from importlib import resources
from pathlib import Path, PurePosixPath

from minilmx.errors import EvalError
from minilmx.models.artifact import Artifact

FIXED_SUFFIX = "-fixed"
# The settings with which other libraries run the fixed graph; `mlx export --fixed-consumers`
# puts the graph beside them.
_FIXED_SETTINGS = "sentence_bert_config.json"
_TORCH_POOLED = {
    "mean": "(tokens * mask).sum(1) / mask.sum(1)",
    "cls": "tokens[:, 0]",
    "max": "tokens.masked_fill(mask == 0, -torch.inf).amax(1)",
}


def snippet_names() -> list[str]:
    """The names that `render_snippet` knows, sorted."""
    return sorted(_languages())


def snippet_language(name: str) -> str:
    """The file ending of a snippet's language: py, mjs, pbtxt, cs or java."""
    return _languages()[name]


def has_fixed_settings(artifact: Artifact) -> bool:
    """Whether the artifact holds the settings with which other libraries run its fixed graph."""
    folder = PurePosixPath(artifact.manifest.fixed.path).parent
    listed = {file.path for file in artifact.manifest.files}
    return folder.name != "" and str(folder / _FIXED_SETTINGS) in listed


def render_snippet(name: str, artifact: Artifact) -> str:
    """The few lines that use this artifact, by its absolute path.

    Raises EvalError for an unknown name, and for one of the fixed graph where the artifact has no
    settings for it.
    """
    languages = _languages()
    if name not in languages:
        raise EvalError(f"there is no snippet {name!r}: expected one of {', '.join(sorted(languages))}")
    if name.endswith(FIXED_SUFFIX) and not has_fixed_settings(artifact):
        raise EvalError(
            f"the artifact {artifact.path} has no settings for other libraries to run its fixed graph "
            "with: export it with --fixed-consumers"
        )
    template = resources.files(__package__).joinpath(f"{name}.{languages[name]}.txt")
    values = _values(artifact)
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template.read_text("utf-8"))


def _languages() -> dict[str, str]:
    """Each template's language by its name."""
    files = (file.name.split(".") for file in resources.files(__package__).iterdir())
    return {parts[0]: parts[1] for parts in files if len(parts) == 3 and parts[2] == "txt"}


def _values(artifact: Artifact) -> dict[str, str]:
    """What a `{{word}}` stands for. A path or name is a quoted string: in JSON's form, which all
    the languages here read.
    """
    manifest, folder = artifact.manifest, artifact.path.absolute()
    fixed = Path(manifest.fixed.path)
    pooled = _TORCH_POOLED.get(manifest.pooling, _TORCH_POOLED["mean"])
    return {
        "artifact": _quote(folder),
        "name": _quote(folder.name),
        "plain_name": folder.name,
        "dynamic_graph": _quote(folder / manifest.dynamic.path),
        "dynamic_path": _quote(manifest.dynamic.path),
        "fixed_graph": str(folder / fixed),
        "fixed_folder": _quote(folder / fixed.parent),
        "fixed_file": _quote(fixed.name),
        "tokenizer": _quote(folder / "tokenizer.json"),
        "vocabulary": _quote(folder / "vocab.txt"),
        "batch_size": str(artifact.shape.batch_size),
        "sequence_length": str(artifact.shape.sequence_length),
        "dimension": str(manifest.embedding_dimension),
        "POOLING": manifest.pooling.upper(),
        "normalized": str(manifest.normalized),
        "torch_pooled": f"torch.nn.functional.normalize({pooled})" if manifest.normalized else pooled,
    }


def _quote(text: object) -> str:
    return json.dumps(str(text), ensure_ascii=False)
