"""The artifact: a folder with a fixed-shape ONNX graph, its tokenizer and a manifest.

It is all that passes between machines, runners and people, so everything in one is verified: a known
schema, paths inside the folder, and the size and digest of every file, at the latest when it is read.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import structs

from minilmx.errors import ArtifactError, boundary
from minilmx.files.digest import sha256_of_files
from minilmx.files.documents import open_regular, read_document
from minilmx.files.private import CAN_SEAL, private_copy
from minilmx.models.external_data import data_file
from minilmx.models.hub_artifact import fetch_artifact, is_hub_artifact
from minilmx.models.hub_names import snapshot_of
from minilmx.models.manifest import CARD, COSINE, MANIFEST_NAME, File, Graph, GraphKind, Manifest, Shape
from minilmx.models.read_manifest import parse_manifest
from minilmx.models.verification import damage, find_problems, other_digest, require_none, weights_fault

# What the document side of a search may be called, in the order in which sentence-transformers looks them up.
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True, slots=True)
class SearchPrompts:
    """The names of the prompts of the queries and of the documents of a search; None for no prompt."""

    query: str | None
    document: str | None


def find_search_prompts(prompts: Mapping[str, str]) -> SearchPrompts | None:
    """Those of a model's prompts that a search has. A prompt without a text does not count."""
    query = "query" if prompts.get("query") else None
    document = next((name for name in _DOCUMENT_PROMPTS if prompts.get(name)), None)
    return SearchPrompts(query, document) if query or document else None


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact, and which of its graphs runners run.

    `digest` is the SHA-256 of mlx.json, which covers every file. `with_graph` returns the same
    artifact with another `graph_kind`, `with_prompt` with a `chosen_prompt` in place of the model's default.

    Example:
        >>> artifact = minilmx.open_artifact("out")
        >>> artifact.with_graph("dynamic").graph_file.name
        'model.onnx'
    """

    path: Path
    manifest: Manifest
    digest: str
    graph_kind: GraphKind = GraphKind.FIXED
    chosen_prompt: str | None = None

    @property
    def name(self) -> str:
        """What records call it: the name of its folder, or hf://ID@COMMIT for one from the hub."""
        snapshot = snapshot_of(self.path)
        return "hf://{}@{}".format(*snapshot) if snapshot else self.path.resolve().name

    def with_graph(self, kind: GraphKind | str) -> "Artifact":
        """This artifact with another of its graphs for runners to run.

        Raises ArtifactError if it does not have that graph.
        """
        if kind not in self.graph_kinds:
            can_be_exported = kind == GraphKind.PACKED and not self.gives_scores
            raise ArtifactError(
                f"{self.path}: no {kind} graph; expected one of {', '.join(self.graph_kinds)}",
                "Export the model with a packed graph." if can_be_exported else None,
            )
        return replace(self, graph_kind=GraphKind(kind))

    def with_prompt(self, name: str | None) -> "Artifact":
        """This artifact with the text of another prompt before every text; None is the model's default.

        Raises ArtifactError if the model does not have that prompt.
        """
        prompts = self.manifest.prompts or {}
        if name is not None and name not in prompts:
            known = f"one of {', '.join(sorted(prompts))}" if prompts else "none, as the model has no prompts"
            raise ArtifactError(f"{self.path}, prompt: {name!r}; expected {known}")
        return replace(self, chosen_prompt=name)

    @property
    def prompt_name(self) -> str | None:
        """The name of the prompt that is prepended to every text, or None."""
        return self.chosen_prompt or self.manifest.default_prompt or None

    @property
    def prompt(self) -> str:
        """The text that is prepended to every text; empty if there is none."""
        return self.prompt_text(self.prompt_name)

    @property
    def search_prompts(self) -> SearchPrompts | None:
        """The prompts of the two sides of a search, by the names that sentence-transformers looks up.

        None if both sides get the prompt of every text: if one was chosen, or the model has neither a prompt
        for queries nor one for documents. A prompt without a text does not count.
        """
        if self.chosen_prompt is not None:
            return None
        return find_search_prompts(self.manifest.prompts or {})

    def prompt_text(self, name: str | None) -> str:
        """The text of a prompt; empty for None and for a prompt that the model does not have."""
        return (self.manifest.prompts or {}).get(name or "", "")

    @property
    def similarity(self) -> str:
        """How this model compares texts: cosine, dot, euclidean or manhattan of their embeddings, or score,
        which a cross-encoder gives itself."""
        return self.manifest.output or self.manifest.similarity or COSINE

    @property
    def gives_scores(self) -> bool:
        """Whether it is a cross-encoder's: it gives a score per pair of texts, and no embeddings."""
        return self.manifest.gives_scores

    def require_embeddings(self) -> None:
        """Raise ArtifactError for a cross-encoder's artifact."""
        if self.gives_scores:
            raise ArtifactError(
                f"{self.path} is a cross-encoder, which scores pairs of texts; expected an "
                "artifact that gives embeddings",
                "Score pairs of texts with it (`mlx run`), or evaluate it on graded pairs (`mlx eval`).",
            )

    @property
    def graph_kinds(self) -> list[GraphKind]:
        """The kinds of graph that the artifact has."""
        return [kind for kind in GraphKind if getattr(self.manifest, kind)]

    @property
    def graph_paths(self) -> list[str]:
        """The paths of all of its graphs, inside the artifact."""
        return [getattr(self.manifest, kind).path for kind in self.graph_kinds]

    @property
    def shape(self) -> Shape:
        """The fixed shape: batch size B and sequence length S."""
        return self.manifest.shape

    @property
    def graph(self) -> Graph:
        """The graph that runners run."""
        graph: Graph = getattr(self.manifest, self.graph_kind)
        return graph

    @property
    def graph_file(self) -> Path:
        """The ONNX file that runners run."""
        return self.path / self.graph.path

    @property
    def graph_data(self) -> Path | None:
        """The file with the weights of the graph that runners run, if they do not fit into the graph."""
        file = data_file(self.graph_file)
        return file if any(self.path / each.path == file for each in self.manifest.files) else None

    @property
    def graph_sha256(self) -> str:
        """The digest of the ONNX file that runners run."""
        paths = {file.path: file.sha256 for file in self.manifest.files}
        return paths[self.graph.path]

    @property
    def output_name(self) -> str:
        """The output of the graph that a runner returns: sentence_embedding, or a cross-encoder's score."""
        return self.manifest.output_name

    @property
    def fixed_graph(self) -> Path:
        """The fixed-shape ONNX file."""
        return self.path / self.manifest.fixed.path

    @property
    def dynamic_graph(self) -> Path:
        """The ONNX file with dynamic axes: what other libraries open."""
        return self.path / self.manifest.dynamic.path

    @property
    def texts_per_row(self) -> int:
        """The most texts per row of the graph that runners run: 1 unless it is packed."""
        return (self.packed_segments or 1) if self.graph_kind == GraphKind.PACKED else 1

    @property
    def packed_segments(self) -> int | None:
        """The most texts per row of the packed graph; None without a packed graph."""
        packed = self.manifest.packed
        return int(packed.outputs[-1].shape[1]) if packed else None

    @property
    def tokenizer_file(self) -> Path:
        """The Hugging Face tokenizer file."""
        return self.path / "tokenizer.json"

    def read(self, file: Path) -> bytes:
        """The bytes of one of the listed files, exactly as the manifest states them.

        Code that interprets a file must take these bytes, because the file itself can change at any time.
        Raises ArtifactError if the digest differs, or for a graph with weights in a file that is not listed.
        """
        stated = self._stated(file)
        with (
            boundary(ArtifactError, f"{file} cannot be read"),
            io.BufferedReader(open_regular(file)) as stream,
        ):
            content = stream.read(stated.size_bytes)
        self._verify(stated, hashlib.sha256(content).hexdigest(), content)
        return content

    @contextmanager
    def private_graph(self) -> Iterator[Path | bytes]:
        """The graph that runners run, for a library that takes a path, while the context lasts.

        A path to a copy in memory that nobody can change, or the bytes on a system without such copies; the
        file itself if its weights are in another file. Raises ArtifactError as `read` does.
        """
        if self.graph_data:  # more than 2 GiB: the library finds the other file beside this one
            require_none(self, find_problems(self, {self.graph_file, self.graph_data}))
            yield self.graph_file
            return
        if not CAN_SEAL:
            yield self.read(self.graph_file)
            return
        stated = self._stated(self.graph_file)
        with ExitStack() as stack:
            with boundary(ArtifactError, f"{self.graph_file} cannot be read"):
                file, digest = stack.enter_context(private_copy(self.graph_file, stated.size_bytes))
            self._verify(stated, digest, file)
            yield file

    def _stated(self, file: Path) -> File:
        return next(each for each in self.manifest.files if self.path / each.path == file)

    def _verify(self, stated: File, digest: str, content: Path | bytes) -> None:
        """Raise ArtifactError unless this is the content of a file, if it is a graph without other files."""
        fault = other_digest(stated, digest) if digest != stated.sha256 else None
        if fault is None and stated.path in self.graph_paths:
            fault = weights_fault(self, stated.path, content)
        if fault:
            raise damage(self.path, stated.path, fault)

    @property
    def size_bytes(self) -> int:
        """The size of all listed files together."""
        return sum(file.size_bytes for file in self.manifest.files)


def open_artifact(path: Path | str) -> Artifact:
    """Open an artifact, a folder or hf://ID[@REVISION] on the hub, and verify every byte of it.

    Raises ArtifactError if it does not exist, is damaged, or is of an unknown schema.

    Example:
        >>> artifact = minilmx.open_artifact("out")
        >>> artifact.manifest.embedding_dimension
        384
    """
    artifact = read_artifact(path)
    require_none(artifact, find_problems(artifact))
    return artifact


def open_unverified(path: Path | str) -> Artifact:
    """Open an artifact for whoever reads its files with `Artifact.read`, which compares their digests.

    Raises ArtifactError if it does not exist, is incomplete, or is of an unknown schema.
    """
    artifact = read_artifact(path)
    require_none(artifact, find_problems(artifact, ()))
    return artifact


def read_artifact(path: Path | str) -> Artifact:
    """Read an artifact's manifest without verifying its files, which are downloaded if it is on the hub.

    Raises ArtifactError.
    """
    path = fetch_artifact(str(path)) if is_hub_artifact(str(path)) else Path(path)
    file = path / MANIFEST_NAME
    try:
        document = read_document(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        fault = f"has no {MANIFEST_NAME}" if path.exists() else "does not exist"
        raise ArtifactError(
            f"{path} is not an artifact: it {fault}", "Create one with `mlx export`."
        ) from error
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read: {error.strerror}") from error
    return Artifact(path, parse_manifest(document, str(file)), hashlib.sha256(document).hexdigest())


def seal(folder: Path, manifest: Manifest) -> Artifact:
    """Write mlx.json for every file now in `folder` but the model card, and return the artifact.

    `manifest.files` is filled in here: sorted paths, digests and sizes. Raises ArtifactError if
    the manifest could not be read back.
    """
    card = folder / CARD  # people edit it on the hub
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != card)
    files = tuple(
        File(path.relative_to(folder).as_posix(), digest, path.stat().st_size)
        for path, digest in zip(paths, sha256_of_files(paths), strict=True)
    )
    (folder / MANIFEST_NAME).write_bytes(structs.replace(manifest, files=files).to_json())
    return read_artifact(folder)
