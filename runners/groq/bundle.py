"""A build as one file, for the machine with the card, which needs no compiler.

A bundle is a plain tar of regular files: the program, GroqFlow's state, the compiler's statistics, the
artifact's manifest, and bundle.json with the digest of each of them and of itself. It is bound to the
artifact and holds no pickle.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minilmx.errors import RunnerFailed, boundary
from minilmx.files.atomic import atomic_file
from minilmx.files.digest import sha256_of_file
from minilmx.files.documents import parse_json, require_regular, require_version
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import MANIFEST_NAME
from minilmx.runners.groq.cache import DAMAGED, PROGRAM, STATE, STATISTICS, Build, read_build
from minilmx.runners.groq.machine import release

SCHEMA_VERSION = 1
_INDEX = "bundle.json"
_DIGEST = "bundle_sha256"
_REQUIRED = frozenset({PROGRAM, STATE, MANIFEST_NAME})
_ALLOWED = _REQUIRED | {STATISTICS}
_MAX_INDEX_BYTES = 1 << 20
_PIECE_BYTES = 1 << 20


def write_bundle(build: Build, artifact: Artifact, output: Path, *, replace: bool) -> None:
    """Pack a build; the same build gives the same bytes. Raises OutputError."""
    files = sorted({**build.files, MANIFEST_NAME: artifact.path / MANIFEST_NAME}.items())
    stated = {
        name: {"sha256": sha256_of_file(path), "size_bytes": path.stat().st_size} for name, path in files
    }
    index = _encode(build.document(_DIGEST, schema_version=SCHEMA_VERSION, files=stated))
    with (
        atomic_file(output, replace=replace) as temporary,
        tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        tar.addfile(_member(_INDEX, len(index)), io.BytesIO(index))
        for name, path in files:
            with path.open("rb") as stream:
                tar.addfile(_member(name, path.stat().st_size), stream)


def unpack_bundle(bundle: Path, artifact: Artifact, runtime: str | None, folder: Path) -> Build:
    """Check a bundle against an artifact and unpack it into an empty folder.

    `runtime` is the version of groq-runtime here; if both are known, it must be the release of the SDK
    that compiled the program. Trusts no path, link or size in the file. Raises RunnerFailed for
    anything that is not as stated.
    """
    with boundary(RunnerFailed, f"{bundle} cannot be read as a bundle"):
        if not bundle.exists():
            raise RunnerFailed(f"the bundle {bundle} does not exist")
        require_regular(bundle)
        with tarfile.open(bundle, "r:") as tar:
            build, files = _read_index(tar, bundle, folder)
            if build.artifact_sha256 != artifact.digest:
                raise RunnerFailed(
                    f"{bundle} was built from another artifact: {build.artifact_sha256}; "
                    f"expected {artifact.digest}, that of {artifact.path}"
                )
            if build.facts["onnx_sha256"] != artifact.graph_sha256:
                raise RunnerFailed(
                    f"{bundle} was built from another graph of the artifact; expected "
                    f"{artifact.graph_file.name}",
                    "Choose the same graph for building and running.",
                )
            if (chips := build.facts["chips"] or 1) != 1:
                raise RunnerFailed(f"{bundle} was built for {chips} chips; expected a program of one chip")
            if build.sdk and runtime and release(build.sdk) != release(runtime):
                raise RunnerFailed(
                    f"{bundle} was compiled with SDK {build.sdk}, and groq-runtime here is {runtime}",
                    "Build it again with that SDK.",
                )
            _unpack_files(tar, files, folder, bundle)
            _require_nothing_else(tar, files, bundle)
    if sha256_of_file(folder / MANIFEST_NAME) != artifact.digest:
        raise RunnerFailed(f"{bundle}: its {MANIFEST_NAME} is not the artifact's")
    return build


def _read_index(tar: tarfile.TarFile, bundle: Path, folder: Path) -> tuple[Build, Mapping[str, Any]]:
    """The stated build, which `folder` will hold, and the stated files of the bundle."""
    member = tar.next()
    if member is None or member.name != _INDEX or not _is_plain_file(member):
        raise RunnerFailed(f"{bundle} is not a bundle of minilmx: it does not begin with {_INDEX}")
    if member.size > _MAX_INDEX_BYTES:
        raise RunnerFailed(
            f"{bundle}: {_INDEX} has {member.size:,} bytes; expected at most {_MAX_INDEX_BYTES:,}"
        )
    stream = tar.extractfile(member)
    assert stream is not None  # a regular file has contents
    try:
        document = stream.read()
        index = parse_json(document)
        require_version(index["schema_version"], SCHEMA_VERSION, str(bundle), RunnerFailed)
        if document != _encode(index):  # 1e-5 and 1E-5 are the same number
            raise ValueError("it is not as minilmx writes it")
        build, files = read_build(folder, index, _DIGEST), index["files"]
        whole = all({"sha256", "size_bytes"} == set(entry) for entry in files.values())
    except DAMAGED as error:
        raise RunnerFailed(f"{bundle}: {_INDEX} is damaged: {type(error).__name__}: {error}") from error
    if not (whole and _REQUIRED <= set(files) <= _ALLOWED):
        raise RunnerFailed(
            f"{bundle}: {_INDEX} lists {', '.join(sorted(files)) or 'no files'}; expected "
            f"{', '.join(sorted(_REQUIRED))}, each with its digest and size"
        )
    return build, files


def _unpack_files(tar: tarfile.TarFile, files: Mapping[str, Any], folder: Path, bundle: Path) -> None:
    """Write exactly the listed regular files, each of exactly the stated size and digest."""
    left = dict(files)
    while (member := tar.next()) is not None:
        entry = left.pop(member.name, None)
        if entry is None:
            raise RunnerFailed(f"{bundle}: {member.name!r} is not listed, or occurs twice")
        if not _is_plain_file(member) or member.size != entry["size_bytes"]:
            raise RunnerFailed(
                f"{bundle}: {member.name} is not a regular file of {entry['size_bytes']} bytes"
            )
        stream = tar.extractfile(member)
        assert stream is not None  # a regular file has contents
        target = folder / member.name  # one of _ALLOWED
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("wb") as output:
            while piece := stream.read(_PIECE_BYTES):
                digest.update(piece)
                output.write(piece)
        if digest.hexdigest() != entry["sha256"]:
            raise RunnerFailed(f"{bundle} is damaged: {member.name} does not match its digest")
    if left:
        raise RunnerFailed(f"{bundle} is cut off: {', '.join(sorted(left))} missing")


def _require_nothing_else(tar: tarfile.TarFile, files: Mapping[str, Any], bundle: Path) -> None:
    """Refuse whatever `write_bundle` does not write: other headers, data in the padding or after the end."""
    stream = tar.fileobj
    assert stream is not None  # it is open
    stream.seek(0)
    first = tarfile.TarInfo.frombuf(stream.read(tarfile.BLOCKSIZE), tarfile.ENCODING, "strict")
    sizes = {name: entry["size_bytes"] for name, entry in sorted(files.items())}
    position = 0
    for name, size in {_INDEX: first.size, **sizes}.items():
        stream.seek(position)
        if stream.read(tarfile.BLOCKSIZE) != _member(name, size).tobuf(tarfile.USTAR_FORMAT):
            raise RunnerFailed(f"{bundle}: the header of {name} is not as minilmx writes it")
        position += tarfile.BLOCKSIZE + size
        stream.seek(position)
        padding = -size % tarfile.BLOCKSIZE
        if any(stream.read(padding)):
            raise RunnerFailed(f"{bundle}: data in the padding after {name}; expected zeros")
        position += padding
    end = position + 2 * tarfile.BLOCKSIZE
    zeros = bytes(end - position + -end % tarfile.RECORDSIZE)
    if stream.read(len(zeros) + 1) != zeros:
        raise RunnerFailed(f"{bundle}: other data after the last file; expected {len(zeros)} zeros")


def _encode(index: Mapping[str, Any]) -> bytes:
    return json.dumps(index, indent=2, sort_keys=True).encode()


def _is_plain_file(member: tarfile.TarInfo) -> bool:
    """A sparse member, a regular file to tarfile, could state any size in a few bytes."""
    return member.isreg() and not member.issparse()


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    return member
