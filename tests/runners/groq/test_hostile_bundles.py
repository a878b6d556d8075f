"""Bundles that were tampered with: each is refused in one sentence, and nothing is written outside."""

import copy
import gzip
import hashlib
import io
import json
import tarfile

import pytest

from minilmx.errors import RunnerFailed
from minilmx.models.artifact import open_artifact
from minilmx.runners.groq.bundle import unpack_bundle

PROGRAM, STATE, STATISTICS = (
    "model/compile/output.iop",
    "model/model_state.yaml",
    "model/compile/stats.json",
)
SDK = "0.10.0+standin"


class Tampered:
    """The members of a valid bundle, to be changed and written again."""

    def __init__(self, bundle):
        with tarfile.open(bundle) as tar:
            self.members = [(member, tar.extractfile(member).read()) for member in tar]

    def at(self, name):
        return next(index for index, (member, _) in enumerate(self.members) if member.name == name)

    def set(self, name, data):
        member = copy.copy(self.members[self.at(name)][0])
        member.size = len(data)
        self.members[self.at(name)] = (member, data)

    def data(self, name):
        return self.members[self.at(name)][1]

    def add(self, name, data=b"", **fields):
        member = tarfile.TarInfo(name)
        member.size = len(data)
        for field, value in fields.items():
            setattr(member, field, value)
        self.members.append((member, data))

    def turn(self, name, **fields):
        """Change the kind of a member, which then has no contents."""
        index = self.at(name)
        del self.members[index]
        self.add(name, **fields)

    def restate(self, change):
        """Change bundle.json and its digest with it."""
        index = json.loads(self.data("bundle.json"))
        change(index)
        index.pop("bundle_sha256", None)
        index["bundle_sha256"] = hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()
        self.set("bundle.json", json.dumps(index, indent=2, sort_keys=True).encode())

    def write(self, path, format=tarfile.PAX_FORMAT):
        with tarfile.open(path, "w", format=format) as tar:
            for member, data in self.members:
                tar.addfile(member, io.BytesIO(data))
        return path


def flip(name):
    def tamper(bundle):
        data = bytearray(bundle.data(name))
        data[len(data) // 2] ^= 1
        bundle.set(name, bytes(data))

    return tamper


def restated(change):
    return lambda bundle: bundle.restate(change)


def listed(name, data=b"data"):
    """Add a member that may not be in a bundle, and list it with its correct digest."""

    def tamper(bundle):
        bundle.add(name, data)
        entry = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
        bundle.restate(lambda index: index["files"].update({name: entry}))

    return tamper


def both_digests(bundle):
    """Another manifest with matching digests, which is not the artifact's."""
    data = bundle.data("mlx.json") + b" "
    bundle.set("mlx.json", data)
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    bundle.restate(lambda index: index["files"].update({"mlx.json": entry}))


def sparse(bundle):
    """A member that states a terabyte and holds nothing."""
    size = 1 << 40
    bundle.restate(lambda index: index["files"][PROGRAM].update(size_bytes=size))
    bundle.turn(PROGRAM, pax_headers={"GNU.sparse.map": f"{size},0", "GNU.sparse.size": str(size)})


def swap_first(bundle):
    bundle.members.reverse()


TAMPERINGS = {
    "program": (flip(PROGRAM), "does not match its digest"),
    "state": (flip(STATE), "does not match its digest"),
    "statistics": (flip(STATISTICS), "does not match its digest"),
    "manifest": (flip("mlx.json"), "does not match its digest"),
    "manifest and its digest": (both_digests, "is not the artifact's"),
    "index": (flip("bundle.json"), "bundle.json"),
    "index empty": (lambda bundle: bundle.set("bundle.json", b""), "bundle.json is damaged"),
    "index a list": (lambda bundle: bundle.set("bundle.json", b"[]"), "bundle.json is damaged"),
    "index nested": (lambda bundle: bundle.set("bundle.json", b"[" * 100_000), "bundle.json is damaged"),
    "index huge": (
        lambda bundle: bundle.set("bundle.json", b" " * (1 << 20) + b"{}"),
        "expected at most 1,048,576",
    ),
    "index not first": (swap_first, "does not begin with bundle.json"),
    "index a link": (lambda b: b.turn("bundle.json", type=tarfile.SYMTYPE, linkname="x"), "does not begin"),
    "other schema": (restated(lambda index: index.update(schema_version=2)), "schema version 2; expected 1"),
    "no facts": (restated(lambda index: index.pop("facts")), "bundle.json is damaged"),
    "facts empty": (restated(lambda index: index.update(facts={})), "bundle.json is damaged"),
    "facts a list": (restated(lambda index: index.update(facts=[])), "bundle.json is damaged"),
    "no artifact": (restated(lambda index: index.pop("artifact_sha256")), "bundle.json is damaged"),
    "artifact": (restated(lambda index: index.update(artifact_sha256="0" * 64)), "another artifact"),
    "SDK": (restated(lambda index: index.update(sdk="0.9.3")), "compiled with SDK 0.9.3"),
    "several chips": (restated(lambda index: index["facts"].update(chips=4)), "was built for 4 chips"),
    "SDK a number": (restated(lambda index: index.update(sdk=1)), "bundle.json is damaged"),
    "files a list": (restated(lambda index: index.update(files=[])), "bundle.json is damaged"),
    "no files": (restated(lambda index: index.update(files={})), "bundle.json lists"),
    "digest": (restated(lambda index: index["files"][PROGRAM].update(sha256="0" * 64)), "does not match"),
    "size": (
        restated(lambda index: index["files"][PROGRAM].update(size_bytes=1)),
        "is not a regular file of 1 bytes",
    ),
    "size a word": (
        restated(lambda index: index["files"][PROGRAM].update(size_bytes="x")),
        "is not a regular file",
    ),
    "parent folder": (lambda bundle: bundle.add("../escaped", b"x"), "is not listed"),
    "parent folder listed": (listed("../escaped"), "bundle.json lists"),
    "absolute": (listed("/tmp/minilmx-escaped"), "bundle.json lists"),
    "pickle listed": (listed("model/inputs.npy"), "bundle.json lists"),
    "other file": (lambda bundle: bundle.add("model/inputs.npy", b"x"), "is not listed"),
    "symbolic link": (
        lambda bundle: bundle.turn(PROGRAM, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        "is not a regular file",
    ),
    "hard link": (
        lambda bundle: bundle.turn(PROGRAM, type=tarfile.LNKTYPE, linkname=STATE),
        "is not a regular file",
    ),
    "folder": (lambda bundle: bundle.turn(PROGRAM, type=tarfile.DIRTYPE), "is not a regular file"),
    "linked folder": (
        lambda bundle: bundle.members.insert(1, (link("model", "/tmp"), b"")),
        "'model' is not listed",
    ),
    "device": (lambda bundle: bundle.turn(PROGRAM, type=tarfile.CHRTYPE), "is not a regular file"),
    "pipe": (lambda bundle: bundle.turn(PROGRAM, type=tarfile.FIFOTYPE), "is not a regular file"),
    "oversized": (
        lambda bundle: bundle.set(PROGRAM, bundle.data(PROGRAM) + b"x" * 9999),
        "is not a regular file of",
    ),
    "sparse": (sparse, "is not a regular file of"),
    "twice": (lambda bundle: bundle.add(PROGRAM, bundle.data(PROGRAM)), "or occurs twice"),
    "missing": (lambda bundle: bundle.members.pop(bundle.at(STATE)), f"cut off: {STATE} missing"),
}


def link(name, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "a" / "b"
    path.mkdir(parents=True)
    return path


def files_outside(root, folder):
    return {path for path in root.rglob("*") if not path.is_relative_to(folder)}


@pytest.mark.parametrize("case", TAMPERINGS)
def test_a_tampered_bundle_is_refused(tiny, bundle, tmp_path, folder, case):
    tamper, sentence = TAMPERINGS[case]
    tampered = Tampered(bundle)
    tamper(tampered)
    path = tampered.write(tmp_path / "tampered.tar")
    before = files_outside(tmp_path, folder)
    with pytest.raises(RunnerFailed) as error:
        unpack_bundle(path, open_artifact(tiny), SDK, folder)
    assert sentence in str(error.value)
    assert str(path) in str(error.value)
    assert files_outside(tmp_path, folder) == before
    assert all(not each.is_symlink() for each in folder.rglob("*"))


def test_a_bundle_rewritten_without_a_change_is_accepted(tiny, bundle, tmp_path, folder):
    path = Tampered(bundle).write(tmp_path / "same.tar")
    build = unpack_bundle(path, open_artifact(tiny), SDK, folder)
    assert build.program.read_bytes().startswith(b"GROQWARE STAND-IN")


@pytest.mark.parametrize("name", [PROGRAM, STATE, STATISTICS, "mlx.json", "bundle.json"])
def test_every_flipped_byte_is_found(tiny, bundle, tmp_path, folder, name):
    artifact, whole = open_artifact(tiny), bundle.read_bytes()
    with tarfile.open(bundle) as tar:
        member = tar.getmember(name)
    path = tmp_path / "flipped.tar"
    step = max(1, member.size // 150)
    positions = {*range(0, member.size, step), member.size - 1}
    for position in positions:
        data = bytearray(whole)
        data[member.offset_data + position] ^= 1 << position % 8
        path.write_bytes(data)
        with pytest.raises(RunnerFailed):
            unpack_bundle(path, artifact, SDK, folder)


def test_a_bundle_that_is_cut_off_anywhere_is_refused(tiny, bundle, tmp_path, folder):
    artifact, whole = open_artifact(tiny), bundle.read_bytes()
    with tarfile.open(bundle) as tar:
        last = tar.getmembers()[-1]
    end = last.offset_data + last.size
    path = tmp_path / "cut.tar"
    for length in (*range(0, end, 509), end - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(RunnerFailed):
            unpack_bundle(path, artifact, SDK, folder)


def test_a_compressed_bundle_is_refused(tiny, bundle, tmp_path, folder):
    path = tmp_path / "bundle.tar"
    path.write_bytes(gzip.compress(bundle.read_bytes()))
    with pytest.raises(RunnerFailed, match="cannot be read as a bundle"):
        unpack_bundle(path, open_artifact(tiny), SDK, folder)


def appended(data):
    def change(whole, tar):
        return whole + data

    return change


def in_the_padding_of(name):
    def change(whole, tar):
        member = tar.getmember(name)
        at = member.offset_data + member.size
        assert member.size % 512
        return whole[:at] + b"x" + whole[at + 1 :]

    return change


def in_the_last_blocks(whole, tar):
    return whole[:-1] + b"x"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (appended(b"\0" * 512), "other data after the last file"),
        (appended(b"PK\x03\x04 another archive"), "other data after the last file"),
        (in_the_last_blocks, "other data after the last file"),
        (in_the_padding_of(STATE), f"data in the padding after {STATE}"),
        (in_the_padding_of("bundle.json"), "data in the padding after bundle.json"),
        (lambda whole, tar: whole[:-512], "other data after the last file"),
    ],
    ids=["zeros", "archive", "last blocks", "padding", "padding of the index", "shorter"],
)
def test_data_between_and_after_the_files_is_refused(tiny, bundle, tmp_path, folder, change, words):
    path = tmp_path / "longer.tar"
    with tarfile.open(bundle) as tar:
        path.write_bytes(change(bundle.read_bytes(), tar))
    with pytest.raises(RunnerFailed, match=words):
        unpack_bundle(path, open_artifact(tiny), SDK, folder)


@pytest.mark.parametrize("field", [{"mtime": 1}, {"mode": 0o755}, {"uname": "root"}])
def test_a_header_with_other_fields_is_refused(tiny, bundle, tmp_path, folder, field):
    tampered = Tampered(bundle)
    for name, value in field.items():
        setattr(tampered.members[tampered.at(STATE)][0], name, value)
    with pytest.raises(RunnerFailed, match=f"the header of {STATE} is not as minilmx writes it"):
        unpack_bundle(tampered.write(tmp_path / "t.tar"), open_artifact(tiny), SDK, folder)


def test_the_command_refuses_a_tampered_bundle_and_unpacks_nothing(machine, tiny, bundle):
    tampered = Tampered(bundle)
    flip(PROGRAM)(tampered)
    tampered.write(machine.folder / "tampered.tar")
    words = ("run", tiny, "--runner", "groq", "--bundle", "tampered.tar")
    message = machine.fails(*words, stdin="a\n")
    assert f"tampered.tar is damaged: {PROGRAM} does not match its digest" in message
    assert not list((machine.folder / "tmp").glob("minilmx*"))
