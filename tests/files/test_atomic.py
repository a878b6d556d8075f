"""Files and folders appear whole or not at all."""

import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from minilmx.errors import OutputError
from minilmx.files.atomic import FolderKind, atomic_file, atomic_folder, check_folder_writable, check_writable

ANY = FolderKind("a folder of any kind", ())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.relative_to(path.parent).parts[0].startswith(".")
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


def test_the_umask_is_not_changed_while_other_threads_create_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no way to read it without changing it for all threads."""
    monkeypatch.setattr("os.umask", lambda mask: pytest.fail("the umask was changed"))
    with atomic_file(tmp_path / "file") as temporary:
        temporary.write_text("new")


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
    with pytest.raises(error), atomic_folder(path, replace=ANY) as temporary:
        (temporary / "half").touch()
        raise error
    assert names(path) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for content in ("first", "second"):
        with atomic_folder(path, replace=ANY) as temporary:
            (temporary / content).touch()
    assert names(path) == ["second"]
    assert names(tmp_path) == ["folder"]


def test_a_folder_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    page = FolderKind("a page", ("index.html",))
    path = tmp_path / "folder"
    path.mkdir()
    for content in ("index.html", "next"):
        with atomic_folder(path, replace=page) as temporary:
            (temporary / content).touch()
    with (
        pytest.raises(
            OutputError, match="not a page, so it is not replaced; expected a page or an empty folder"
        ),
        atomic_folder(path, replace=page),
    ):
        raise AssertionError("the block must not run")
    with pytest.raises(OutputError, match="already exists"):
        check_folder_writable(path, replace=None)
    assert names(path) == ["next"]


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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_whole_after_a_process_was_killed_at_any_moment(
    number: int, exchange: bool, tmp_path: Path
) -> None:
    """A process replaces a folder all the time and is killed; the next one finds the old or the new."""
    program = f"""
import itertools, pathlib, sys
from minilmx.files import atomic
if not {exchange}:
    atomic._renameat2 = lambda: None
for turn in itertools.count():
    with atomic.atomic_folder(pathlib.Path("folder"), replace=atomic.FolderKind("any", ())) as new:
        for name in "abc":
            (new / name).write_text(str(turn))
    print(flush=True)
"""
    for _ in range(6):
        with subprocess.Popen(
            [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            process.stdout.readline()
            process.send_signal(number)
        with atomic_folder(tmp_path / "folder", replace=ANY) as new:
            assert len({path.read_text() for path in (tmp_path / "folder").iterdir()}) == 1
            assert names(tmp_path / "folder") == ["a", "b", "c"]
            shutil.copytree(tmp_path / "folder", new, dirs_exist_ok=True)
        assert names(tmp_path) == ["folder"]


def test_what_a_killed_process_left_is_removed_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = """
import os, pathlib, signal
from minilmx.files.atomic import atomic_file
with atomic_file(pathlib.Path("file")) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    (left,) = tmp_path.iterdir()
    (tmp_path / ".file.notours.mlx-partial").mkdir()
    with atomic_file(tmp_path / "file") as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == [".file.notours.mlx-partial", "file"]
    assert caplog.messages == [f"removed {left}, which an earlier run left"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    left = tmp_path / ".file.abcdefgh.mlx-partial"
    left.mkdir()
    monkeypatch.setattr("fcntl.flock", refuse)
    with atomic_file(tmp_path / "file") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "file").read_text() == "whole"
    assert names(tmp_path) == [left.name, "file"]  # it may belong to a process that lives


def test_nfs_locks_only_what_is_open_for_writing_and_keeps_what_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As flock(2) says of NFS; a file that is removed while it is open stays in its folder there."""

    lock, remove = fcntl.flock, shutil.rmtree
    locked: list[int] = []

    def nfs_lock(handle: int, operation: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        lock(handle, operation)
        locked.append(handle)

    def nfs_remove(folder: Path, ignore_errors: bool) -> None:
        for handle in locked:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(handle)
        remove(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr("fcntl.flock", nfs_lock)
    monkeypatch.setattr("shutil.rmtree", nfs_remove)
    with atomic_file(tmp_path / "lock") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "lock").read_text() == "whole"
    assert len(locked) == 1
    assert names(tmp_path) == ["lock"]


def test_a_lock_that_fails_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(OutputError, match="Input/output error"), atomic_file(tmp_path / "file"):
        pass


def test_no_folder_takes_the_place_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with (
        pytest.raises(OutputError, match="it is a file; expected a folder"),
        atomic_folder(path, replace=ANY),
    ):
        raise AssertionError("the block must not run")
    assert path.read_text() == "old"


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "file") as mine:
        mine.write_text("first")
        with atomic_file(tmp_path / "file") as other:
            other.write_text("second")
        assert mine.read_text() == "first"


def test_a_file_that_is_replaced_keeps_its_permissions_and_its_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o600)
    (tmp_path / "link").symlink_to("real")
    with atomic_file(tmp_path / "link", replace=True) as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o600


def test_a_device_and_a_pipe_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(OutputError, match="it is a device or a pipe"):
            check_writable(path, replace=True)


def test_a_loop_of_links_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="Too many levels of symbolic links"):
        check_writable(tmp_path / "a" / "file", replace=True)


def test_a_folder_is_replaced_from_inside_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    with atomic_folder(Path("../folder"), replace=ANY) as new:
        (new / "new").touch()
    assert names(tmp_path / "folder") == ["new"]
