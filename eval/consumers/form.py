"""Whether an artifact has exactly the files that the export writes, before another library opens it.

A library runs what some of these files name: a class, a module beside them, another graph.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from minilmx.errors import ArtifactError
from minilmx.export.fixed_consumers import SAME, fixed_settings
from minilmx.export.folder import COPIED, TOKENIZER_SETTINGS, dense_weights, own_files
from minilmx.files.documents import parse_json
from minilmx.models.artifact import Artifact
from minilmx.models.external_data import SUFFIX
from minilmx.models.interface import INPUT_NAMES
from minilmx.models.manifest import GraphKind
from minilmx.models.verification import unlisted_files

_LIMITS = "sentence_bert_config.json"
_TOKENIZER = {"tokenizer.json", "tokenizer_config.json"}


def require_own_form(artifact: Artifact) -> None:
    """Raise ArtifactError for a file that the export does not write, or not in this form."""
    for name in unlisted_files(artifact):
        if not name.startswith("."):  # such as a repository's .gitattributes
            raise ArtifactError(
                f"{artifact.path}: the file {name}; expected only files that the manifest lists",
                "Delete the file, or export the model again.",
            )
    manifest = artifact.manifest
    made = own_files(manifest)
    fixed = PurePosixPath(manifest.fixed.path).parent
    if fixed.name:
        made |= {str(fixed / name): content for name, content in made.items() if name in SAME}
        made[str(fixed / _LIMITS)] = fixed_settings(manifest)
    graphs = {getattr(manifest, kind).path for kind in GraphKind if getattr(manifest, kind)}
    known = {
        *made,
        *dense_weights(manifest),
        *graphs,
        *(path + SUFFIX for path in graphs),
        *COPIED,
        *_TOKENIZER,
        "README.md",
    }
    if fixed.name:
        known |= {str(fixed / name) for name in (*SAME, *_TOKENIZER)}
    for file in manifest.files:
        if file.path not in known:
            raise _fault(artifact, file.path, "a file that the export does not write", "no such file")
        if file.path.endswith(".json") and PurePosixPath(file.path).name != "tokenizer.json":
            _require_content(artifact, file.path, made)


def _require_content(artifact: Artifact, path: str, made: dict[str, Any]) -> None:
    try:
        content = parse_json(artifact.read(artifact.path / path))
    except ValueError as error:
        raise _fault(artifact, path, str(error), "a JSON document") from error
    if path in made:
        if content != made[path]:
            raise _fault(artifact, path, f"{content!r:.200}", f"{made[path]!r:.200}, by the manifest")
        return
    if not isinstance(content, dict):
        raise _fault(artifact, path, f"{content!r:.80}", "an object")
    for key in _keys(content):
        if key in ("auto_map", "trust_remote_code", "custom_pipelines"):
            raise _fault(artifact, path, f"the setting {key}, which names code", "settings alone")
    if PurePosixPath(path).name == "tokenizer_config.json":
        expected = {
            "model_input_names": list(INPUT_NAMES),
            "model_max_length": artifact.shape.sequence_length,
            "tokenizer_class": "PreTrainedTokenizerFast",
        }
        for key, value in expected.items():
            if content.get(key) != value:
                raise _fault(artifact, path, f"{key} {content.get(key)!r:.80}", repr(value))
        for key in content.keys() - TOKENIZER_SETTINGS:
            raise _fault(artifact, path, f"the setting {key!r:.80}", "the settings that the export writes")


def _keys(content: Any) -> Iterator[str]:
    """The names of all fields of a JSON document."""
    if isinstance(content, dict):
        yield from content
    if isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from _keys(value)


def _fault(artifact: Artifact, path: str, found: str, expected: str) -> ArtifactError:
    return ArtifactError(f"{artifact.path}, {path}: {found}; expected {expected}", "Export the model again.")
