import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from minilmx.errors import ArtifactError
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.verification import find_problems, unlisted_files

FIXED = "model_b4_s16.onnx"


def refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        open_artifact(path)
    return str(caught.value)


def test_a_complete_artifact_opens_and_lists_its_files(tiny: Path) -> None:
    artifact = open_artifact(tiny)
    assert str(artifact.shape) == "4x16"
    assert artifact.digest == sha256((tiny / "mlx.json").read_bytes()).hexdigest()
    assert artifact.fixed_graph == tiny / FIXED
    assert artifact.dynamic_graph == tiny / "onnx" / "model.onnx"
    on_disk = [
        path for path in tiny.rglob("*") if path.is_file() and path.name not in ("mlx.json", "README.md")
    ]
    assert artifact.size_bytes == sum(path.stat().st_size for path in on_disk)
    assert unlisted_files(artifact) == []


def test_every_file_is_listed_in_order_with_its_digest(tiny_original: Artifact) -> None:
    files = tiny_original.manifest.files
    on_disk = {
        path.relative_to(tiny_original.path).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in tiny_original.path.rglob("*")
        if path.is_file() and path.name not in ("mlx.json", "README.md")
    }
    assert {file.path: file.sha256 for file in files} == on_disk
    assert [file.path for file in files] == sorted(on_disk)


def test_a_file_that_the_manifest_does_not_list_is_named_but_accepted(tiny: Path) -> None:
    (tiny / "onnx" / "notes.txt").write_text("mine")
    assert unlisted_files(open_artifact(tiny)) == ["onnx/notes.txt"]


def remove(path: Path) -> None:
    path.unlink()


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def append_a_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def link_to_a_copy(path: Path) -> None:
    copy = path.with_name(f"copy-of-{path.name}")
    path.rename(copy)
    path.symlink_to(copy)


def put_a_folder_there(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", [FIXED, "onnx/model.onnx", "tokenizer.json", "modules.json"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove, "is missing"),
        (flip_a_byte, "SHA-256"),
        (append_a_byte, "bytes; expected"),
        (empty, "has 0 bytes; expected"),
        (link_to_a_copy, "is a symbolic link"),
        (put_a_folder_there, "is missing"),
    ],
)
def test_a_damaged_file_is_named(tiny: Path, name: str, damage: Callable[[Path], None], words: str) -> None:
    damage(tiny / name)
    message = refusal(tiny)
    assert f"{name} " in message
    assert words in message
    assert message.endswith(". Export it again.")


def test_several_damaged_files_are_all_found_and_counted(tiny: Path) -> None:
    artifact = open_artifact(tiny)
    remove(tiny / "modules.json")
    flip_a_byte(tiny / "tokenizer.json")
    assert set(find_problems(artifact)) == {"modules.json", "tokenizer.json"}
    assert "and 1 more file" in refusal(tiny)


def test_a_folder_that_is_a_symbolic_link_is_refused(tiny: Path) -> None:
    (tiny / "onnx").rename(tiny.parent / "elsewhere")
    (tiny / "onnx").symlink_to(tiny.parent / "elsewhere")
    assert "onnx/model.onnx is a symbolic link" in refusal(tiny)


def test_the_artifact_itself_may_be_reached_through_a_link(tiny: Path) -> None:
    link = tiny.parent / "latest"
    link.symlink_to(tiny)
    assert open_artifact(link).digest == open_artifact(tiny).digest


def test_a_moved_artifact_opens(tiny: Path) -> None:
    moved = tiny.parent / "a folder" / "with spaces é"
    moved.parent.mkdir()
    tiny.rename(moved)
    assert open_artifact(moved).path == moved


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path / "nowhere")
    assert f"{tmp_path / 'nowhere'} is not an artifact: it does not exist" in message
    assert "Create one with `mlx export`." in message


def test_an_empty_folder_is_not_an_artifact(tmp_path: Path) -> None:
    assert "has no mlx.json" in refusal(tmp_path)


def test_a_file_is_not_an_artifact(tiny: Path) -> None:
    assert f"{tiny / 'mlx.json'} is not an artifact" in refusal(tiny / "mlx.json")


def test_a_manifest_that_is_a_folder_cannot_be_read(tiny: Path) -> None:
    put_a_folder_there(tiny / "mlx.json")
    assert f"{tiny / 'mlx.json'} cannot be read" in refusal(tiny)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
def test_an_unreadable_file_is_an_artifact_error(tiny: Path) -> None:
    (tiny / "tokenizer.json").chmod(0)
    assert "tokenizer.json" in refusal(tiny)


def test_a_copy_is_the_same_artifact(tiny: Path) -> None:
    copy = Path(shutil.copytree(tiny, tiny.parent / "copy"))
    assert open_artifact(copy).digest == open_artifact(tiny).digest


def as_in_the_hub_cache(artifact: Path) -> Path:
    """The artifact as huggingface_hub keeps a download: each file a link to a blob of its repository."""
    repo = artifact.parent / "hub" / "models--org--tiny"
    snapshot = repo / "snapshots" / ("0" * 40)
    (repo / "blobs").mkdir(parents=True)
    for path in sorted(artifact.rglob("*")):
        if path.is_file():
            blob = repo / "blobs" / sha256(path.read_bytes()).hexdigest()
            shutil.copyfile(path, blob)
            link = snapshot / path.relative_to(artifact)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def test_an_artifact_in_the_hub_cache_opens(tiny: Path) -> None:
    snapshot = as_in_the_hub_cache(tiny)
    artifact = open_artifact(snapshot)
    assert artifact.digest == open_artifact(tiny).digest
    assert find_problems(artifact) == {}
    assert unlisted_files(artifact) == []


def test_an_artifact_in_the_hub_cache_opens_through_a_link_to_the_cache(tiny: Path) -> None:
    snapshot = as_in_the_hub_cache(tiny)
    link = tiny.parent / "cache"
    link.symlink_to(tiny.parent / "hub")
    assert open_artifact(link / snapshot.relative_to(tiny.parent / "hub"))


def test_a_blob_with_other_content_is_refused(tiny: Path) -> None:
    snapshot = as_in_the_hub_cache(tiny)
    flip_a_byte((snapshot / "tokenizer.json").resolve())
    assert "tokenizer.json has SHA-256" in refusal(snapshot)


def to_another_repository(link: Path, repo: Path) -> None:
    other = repo.parent / "models--org--other" / "blobs" / "blob"
    other.parent.mkdir(parents=True)
    shutil.copyfile(link, other)
    link.unlink()
    link.symlink_to(other)


def to_a_file_beside_the_blobs(link: Path, repo: Path) -> None:
    shutil.copyfile(link, repo / "copy")
    link.unlink()
    link.symlink_to(repo / "copy")


def to_a_blob_that_is_a_link(link: Path, repo: Path) -> None:
    blob = link.resolve()
    blob.rename(repo.parent / "elsewhere")
    blob.symlink_to(repo.parent / "elsewhere")


def through_a_linked_folder(link: Path, repo: Path) -> None:
    moved = repo.parent / "folder"
    moved.mkdir()
    (moved / link.name).symlink_to(link.resolve())
    shutil.rmtree(link.parent)
    link.parent.symlink_to(moved)


@pytest.mark.parametrize(
    "change",
    [to_another_repository, to_a_file_beside_the_blobs, to_a_blob_that_is_a_link, through_a_linked_folder],
    ids=lambda change: change.__name__,
)
def test_other_links_in_the_hub_cache_are_refused(tiny: Path, change: Callable[[Path, Path], None]) -> None:
    snapshot = as_in_the_hub_cache(tiny)
    change(snapshot / "onnx" / "model.onnx", snapshot.parents[1])
    assert "onnx/model.onnx is a symbolic link" in refusal(snapshot)


def test_a_folder_called_blobs_is_not_a_hub_cache(tiny: Path) -> None:
    (tiny.parent / "blobs").mkdir()
    shutil.copyfile(tiny / "modules.json", tiny.parent / "blobs" / "modules")
    (tiny / "modules.json").unlink()
    (tiny / "modules.json").symlink_to(tiny.parent / "blobs" / "modules")
    assert "modules.json is a symbolic link" in refusal(tiny)


def test_the_card_may_be_edited_or_deleted(tiny: Path) -> None:
    digest = open_artifact(tiny).digest
    (tiny / "README.md").write_text("edited")
    assert open_artifact(tiny).digest == digest
    (tiny / "README.md").unlink()
    assert unlisted_files(open_artifact(tiny)) == []
