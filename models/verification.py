"""Whether the files of an artifact are what its manifest states."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from minilmx.errors import ArtifactError, boundary
from minilmx.files.digest import sha256_of_files
from minilmx.models.external_data import data_file, external_fault, is_cached_blob
from minilmx.models.hub_names import snapshot_of
from minilmx.models.manifest import CARD, MANIFEST_NAME, File
from minilmx.wording import counted

if TYPE_CHECKING:
    from minilmx.models.artifact import Artifact


def require_none(artifact: "Artifact", problems: Mapping[str, str]) -> None:
    """Raise ArtifactError, with the first problem, if there is one."""
    if problems:
        more = f" (and {counted(len(problems) - 1, 'more file')})" if len(problems) > 1 else ""
        file, problem = next(iter(problems.items()))
        raise damage(artifact.path, file, f"{problem}{more}")


def damage(path: Path, file: str, problem: str) -> ArtifactError:
    """The error for a file that is not as the manifest states it."""
    hint = "Delete it from the hub's cache, or upload it again." if snapshot_of(path) else "Export it again."
    return ArtifactError(f"the artifact {path} is damaged: {file} {problem}", hint)


def other_digest(stated: File, digest: str) -> str:
    """What is wrong with a file of another digest than the manifest states."""
    return f"has SHA-256 {digest}; expected {stated.sha256}"


def find_problems(artifact: "Artifact", contents: Collection[Path] | None = None) -> Mapping[str, str]:
    """What is wrong with each damaged file, in a few words, by its path; empty if nothing is.

    `contents` are the files whose bytes are read; None for all. A symbolic link is damage, except one to a
    blob of the same repository in the hub's cache.
    Raises ArtifactError for a file that cannot be read.
    """
    problems: dict[str, str] = {}
    whole: list[File] = []
    with boundary(ArtifactError, f"the artifact {artifact.path} cannot be read"):
        for file in artifact.manifest.files:
            path = artifact.path / file.path
            folders = (artifact.path / part for part in Path(file.path).parents[:-1])
            if any(folder.is_symlink() for folder in folders) or (
                path.is_symlink() and not is_cached_blob(path)
            ):
                problems[file.path] = "is a symbolic link"
            elif not path.is_file():
                problems[file.path] = "is missing"
            elif path.stat().st_size != file.size_bytes:
                problems[file.path] = f"has {path.stat().st_size} bytes; expected {file.size_bytes}"
            elif contents is None or path in contents:
                whole.append(file)
        digests = sha256_of_files(artifact.path / file.path for file in whole)
    for file, digest in zip(whole, digests, strict=True):
        if digest != file.sha256:
            problems[file.path] = other_digest(file, digest)
    for file in whole:
        if file.path in artifact.graph_paths and file.path not in problems:
            fault = weights_fault(artifact, file.path, artifact.path / file.path)
            problems |= {file.path: fault} if fault else {}
    return problems


def weights_fault(artifact: "Artifact", graph: str, content: Path | bytes) -> str | None:
    """What is wrong with the weights of a graph in another file, which the manifest must list, or None."""
    data = data_file(artifact.path / graph)
    is_listed = any(artifact.path / each.path == data for each in artifact.manifest.files)
    try:
        fault = external_fault(content, data.parent, data if is_listed else None)
    except ArtifactError:
        return "is not an ONNX file"
    return fault and f"has {fault}"


def unlisted_files(artifact: "Artifact") -> list[str]:
    """Files in the folder that the manifest does not cover, without the model card."""
    listed = {file.path for file in artifact.manifest.files} | {MANIFEST_NAME, CARD}
    paths = (path for path in artifact.path.rglob("*") if not path.is_dir())
    return sorted(
        name for path in paths if (name := path.relative_to(artifact.path).as_posix()) not in listed
    )
