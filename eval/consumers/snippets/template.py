"""Filling a snippet's template with the values of one artifact.

A template is a file NAME.LANGUAGE.txt in this folder, in jinja2's syntax: `{{ artifact|python }}` is a
value, quoted by the rules of Python. One in Python or JavaScript makes a function `embed(texts)`, so
`mlx check` and the tests run it as it is.
"""

import json
from functools import cache
from importlib import resources
from pathlib import Path, PurePosixPath

from jinja2 import Environment, PackageLoader, StrictUndefined

from minilmx.errors import EvalError
from minilmx.models.artifact import Artifact

FIXED_SUFFIX = "-fixed"
# The settings with which other libraries run the fixed graph; an export for fixed consumers puts the
# graph beside them.
_FIXED_SETTINGS = "sentence_bert_config.json"
_TORCH_POOLED = {
    "mean": "(tokens * mask).sum(1) / mask.sum(1)",
    "cls": "tokens[:, 0]",
    "max": "tokens.masked_fill(mask == 0, -torch.inf).amax(1)",
}

# The snippets that pool token embeddings themselves, instead of the graph or of modules.json.
_POOLS = ("fastembed", f"fastembed{FIXED_SUFFIX}", "optimum")


def snippet_language(name: str) -> str:
    """The file ending of a snippet's language: py, mjs, pbtxt, cs or java."""
    return _languages()[name]


def has_fixed_settings(artifact: Artifact) -> bool:
    """Whether the artifact holds the settings with which other libraries run its fixed graph."""
    folder = PurePosixPath(artifact.manifest.fixed.path).parent
    listed = {file.path for file in artifact.manifest.files}
    return folder.name != "" and str(folder / _FIXED_SETTINGS) in listed


def is_offered(name: str, artifact: Artifact) -> bool:
    """Whether a snippet exists for this artifact's pooling and modules."""
    manifest = artifact.manifest
    return name not in _POOLS or (manifest.pooling in _TORCH_POOLED and not manifest.head)


def render_snippet(name: str, artifact: Artifact) -> str:
    """The few lines that use this artifact, by its absolute path.

    Raises EvalError for an unknown name, for a snippet that pools itself if the model does more, and for one
    of the fixed graph if the artifact has no settings for it. Raises ArtifactError for a cross-encoder.
    """
    artifact.require_embeddings()
    languages = _languages()
    if name not in languages:
        raise EvalError(f"snippet: {name!r}; expected one of {', '.join(sorted(languages))}")
    if not is_offered(name, artifact):
        stated = f"{artifact.manifest.pooling} pooling{' and more modules' if artifact.manifest.head else ''}"
        raise EvalError(
            f"{artifact.path}: {stated}, which {name} cannot do; expected {', '.join(_TORCH_POOLED)} pooling "
            "alone",
            "Use the snippet of onnxruntime or sentence-transformers.",
        )
    if name.endswith(FIXED_SUFFIX) and not has_fixed_settings(artifact):
        raise EvalError(
            f"{artifact.path}: no settings with which other libraries run its fixed graph; expected "
            f"{_FIXED_SETTINGS} beside the graph",
            "Export the artifact for fixed consumers.",
        )
    return _environment().get_template(f"{name}.{languages[name]}.txt").render(_values(artifact))


class Code(str):
    """Text that is already written in the language of a snippet."""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("minilmx.eval.consumers", "snippets"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        finalize=_require_quoted,
    )
    environment.filters = {
        "python": _quote_long,
        "csharp": _quote_long,
        "protobuf": _quote_long,
        "javascript": _quote_short,
        "java": _quote_short,
        "comment": _comment,
    }
    return environment


def _require_quoted(value: object) -> object:
    if isinstance(value, Code | int):
        return value
    raise TypeError(f"{value!r} enters a snippet without a filter that quotes it")


def _quote_long(value: object) -> Code:
    r"""A string in quotes, with \uXXXX and \UXXXXXXXX for what is not printable; other values as Python's."""
    return Code(_escaped(json.dumps(value, ensure_ascii=False)) if isinstance(value, str) else repr(value))


def _quote_short(value: str) -> Code:
    r"""A string in quotes, with \uXXXX, two of them past U+FFFF, for what is not printable."""
    quoted = json.dumps(value, ensure_ascii=False)
    return Code("".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in quoted))


def _comment(value: str) -> Code:
    """Text for a comment, on one line."""
    return Code(_escaped(value))


def _escaped(text: str) -> str:
    def escape(code: int) -> str:
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return "".join(each if each.isprintable() else escape(ord(each)) for each in text)


def _languages() -> dict[str, str]:
    """Each template's language by its name."""
    files = (file.name.split(".") for file in resources.files(__package__).iterdir())
    return {parts[0]: parts[1] for parts in files if len(parts) == 3 and parts[2] == "txt"}


def _values(artifact: Artifact) -> dict[str, object]:
    """What the names in a template stand for. Text needs a filter that quotes it."""
    manifest, folder = artifact.manifest, artifact.path.absolute()
    fixed = Path(manifest.fixed.path)
    pooled = _TORCH_POOLED.get(manifest.pooling, "")
    return {
        "artifact": str(folder),
        "name": folder.name,
        "dynamic_graph": str(folder / manifest.dynamic.path),
        "dynamic_path": manifest.dynamic.path,
        "fixed_graph": str(folder / fixed),
        "fixed_folder": str(folder / fixed.parent),
        "fixed_file": fixed.name,
        "tokenizer": str(folder / "tokenizer.json"),
        "vocabulary": str(folder / "vocab.txt"),
        "batch_size": artifact.shape.batch_size,
        "sequence_length": artifact.shape.sequence_length,
        "dimension": manifest.embedding_dimension,
        "pooling_name": Code(manifest.pooling.upper()),
        "normalized": manifest.normalized,
        "prompt": artifact.prompt,
        "truncated": manifest.hidden_dimension > manifest.embedding_dimension,
        "torch_pooled": Code(f"torch.nn.functional.normalize({pooled})" if manifest.normalized else pooled),
    }
