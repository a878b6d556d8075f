"""Files and folders appear whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from minilmx.errors import OutputError
from minilmx.files.atomic import atomic_file, atomic_folder, check_writable


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")
    assert path.read_text() == "new"
    assert names(path.parent) == ["file.txt"]


def test_a_file_has_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "file") as temporary:
            temporary.touch()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_interruption_leaves_the_old_file(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error), atomic_file(path, replace=True) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interruption_leaves_the_old_folder(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(error), atomic_folder(path, replace=True) as temporary:
        (temporary / "half").touch()
        raise error
    assert names(path) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for content in ("first", "second"):
        with atomic_folder(path, replace=True) as temporary:
            (temporary / content).touch()
    assert names(path) == ["second"]
    assert names(tmp_path) == ["folder"]


def test_an_existing_file_is_replaced_only_if_allowed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OutputError, match="already exists"), atomic_file(path):
        raise AssertionError("the block must not run")
    with atomic_file(path, replace=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(OutputError, match="No space left on device"), atomic_file(path):
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == []


def test_a_path_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_writable(tmp_path / "new" / "deep" / "file", replace=False)
    for path, reason in (
        (tmp_path / "file" / "under", "is not a folder"),
        (tmp_path, "it is a folder"),
        (tmp_path / ("n" * 300), "File name too long"),
        (tmp_path / "file", "already exists"),
    ):
        with pytest.raises(OutputError, match=reason):
            check_writable(path, replace=False)
    check_writable(tmp_path / "file", replace=True)
    check_writable(tmp_path, replace=True, folder=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write anywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission to write"):
        check_writable(tmp_path / "file", replace=False)
