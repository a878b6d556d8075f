"""Artifacts into the hub and out: a local server stands in for it (tests/hub_server.py)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import Mlx, Outcome, contents
from tests.hub_server import HubServer, hub_server

from minilmx.models.artifact import open_artifact

ID = "some-org/tiny"
TOKEN = "hf_notARealToken0123456789"
NOWHERE = "http://127.0.0.1:9"  # nothing listens at the discard port


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server(TOKEN) as server:
        yield server


@pytest.fixture
def mlx(hub: HubServer, tmp_path: Path) -> Mlx:
    """Run `mlx` as a process: huggingface_hub reads its variables when it is imported."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    (tmp_path / "texts.txt").write_text("one\ntwo\nthree\n")

    def run(*words: object, token: bool = True, **variables: str) -> Outcome:
        own = {"HF_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1"}
        own |= {"HF_TOKEN": TOKEN} if token else {}
        done = subprocess.run(
            [sys.executable, "-m", "minilmx", *map(str, words)],
            cwd=tmp_path,
            env=clean | hub.variables | own | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def uploaded(hub: HubServer, tiny: Path) -> str:
    """The commit of `tiny`, as it is, on the hub."""
    return hub.commit(ID, contents(tiny))


def test_an_artifact_is_pushed_and_opened_by_its_name(
    hub: HubServer, mlx: Mlx, tiny: Path, tmp_path: Path
) -> None:
    (tiny / ".private").write_text("not listed, so not uploaded")
    pushed = mlx("push", tiny, ID)
    assert pushed.code == 0, pushed
    (commit,) = hub.repositories[ID]
    name = f"hf://{ID}@{commit}"
    assert pushed.stdout == f"{name}\n"
    listed = {file.path for file in open_artifact(tiny).manifest.files}
    assert set(hub.head(ID)) == {*listed, "mlx.json", "README.md"}
    assert all((tiny / path).read_bytes() == content for path, content in hub.head(ID).items())
    assert len(hub.uploaded) >= 2  # the graphs, by LFS

    for spelling, output in ((tiny, "here.npy"), (f"hf://{ID}", "hub.npy"), (name, "again.npy")):
        done = mlx("run", spelling, "texts.txt", "-o", output)
        assert done.code == 0, done
    assert np.array_equal(np.load(tmp_path / "hub.npy"), np.load(tmp_path / "here.npy"))
    records = [json.loads((tmp_path / f"{each}.npy.run.json").read_text()) for each in ("hub", "here")]
    assert [record["artifact"] for record in records] == [name, tiny.name]
    assert records[0]["artifact_sha256"] == records[1]["artifact_sha256"]

    hub.asked.clear()
    offline = mlx("run", f"hf://{ID}", "texts.txt", "-o", "offline.npy", HF_HUB_OFFLINE="1")
    unreachable = mlx("run", f"hf://{ID}", "texts.txt", "-o", "unreachable.npy", HF_ENDPOINT=NOWHERE)
    pinned = mlx("inspect", name)
    assert (offline.code, unreachable.code, pinned.code) == (0, 0, 0), (offline, unreachable, pinned)
    assert "verified    yes" in pinned.stdout
    assert not any("some-org" in each for each in hub.asked)
    assert not any(TOKEN.encode() in content for content in contents(tmp_path).values())


@pytest.mark.parametrize(
    "words", [(), ("-o", "vectors.npy"), ("-o", "vectors/")], ids=["printed", "file", "folder"]
)
def test_a_run_asks_the_hub_once_which_commit_it_is_at(
    hub: HubServer, mlx: Mlx, uploaded: str, words: tuple[str, ...]
) -> None:
    assert mlx("inspect", f"hf://{ID}").code == 0  # which downloads it
    hub.asked.clear()
    done = mlx("run", f"hf://{ID}", "texts.txt", *words)
    assert done.code == 0, done
    assert len([each for each in hub.asked if f"/api/models/{ID}" in each]) == 1, hub.asked


def test_a_card_may_be_edited_and_states_a_result(hub: HubServer, mlx: Mlx, tiny: Path) -> None:
    from huggingface_hub import ModelCard, ModelCardData

    evaluated = mlx("eval", tiny, "--runner", "onnxruntime", "--limit", "20", "-o", "result.json")
    assert evaluated.code == 0, evaluated
    pushed = mlx("push", tiny, ID, "--result", "result.json")
    assert pushed.code == 0, pushed
    card = ModelCard(hub.head(ID)["README.md"].decode())
    assert isinstance(card.data, ModelCardData)
    assert card.data.library_name == "minilmx"
    assert card.data.pipeline_tag == "sentence-similarity"
    assert card.data.tags == ["feature-extraction", "minilmx", "onnx", "float32"]
    assert card.data.base_model is None  # the model was a folder
    scores = json.loads((tiny.parent / "result.json").read_text())["evaluations"][0]["runners"][0]["scores"]
    stated = {each.metric_type: each.metric_value for each in card.data.eval_results or ()}
    assert stated == {"spearman_cosine": scores["spearman"], "pearson_cosine": scores["pearson"]}
    assert card.text.strip().startswith("# tiny, 4 x 16")

    edited = {**hub.head(ID), "README.md": b"# Edited on the hub"}
    name = f"hf://{ID}@{hub.commit(ID, edited)}"
    opened = mlx("run", name, "texts.txt", "-o", "vectors.npy")
    assert opened.code == 0, opened


def test_a_result_of_another_artifact_is_refused(mlx: Mlx, tiny: Path, tmp_path: Path) -> None:
    mlx("eval", tiny, "--runner", "onnxruntime", "--limit", "20", "-o", "result.json")
    document = (tmp_path / "result.json").read_text().replace(open_artifact(tiny).digest, "0" * 64)
    (tmp_path / "other.json").write_text(document)
    refused = mlx("push", tiny, ID, "--result", "other.json")
    assert refused.code == 3
    assert "the result belongs to artifact 000000000000; expected" in refused.stderr


def test_an_embedder_has_a_revision_a_runner_or_both(mlx: Mlx, uploaded: str, tiny: Path) -> None:
    spellings = [f"hf://{ID}", f"hf://{ID}@{uploaded}", f"hf://{ID}@{uploaded}@openvino:precision=f32"]
    done = mlx("compare", tiny, *spellings, f"hf://{ID}@openvino", "--texts", "texts.txt")
    assert done.code == 0, done
    assert done.stdout.startswith("SAME")
    assert f"hf://{ID}@{uploaded}@openvino:precision=f32" in done.stdout


REFUSED = {
    "no repository": (f"hf://{ID}x", "the hub has no model some-org/tinyx"),
    "no revision": (f"hf://{ID}@v9", f"the hub has no revision 'v9' of {ID}"),
    "no name": ("hf://tiny", "the artifact hf:/tiny; expected hf://ORG/NAME or hf://ORG/NAME@REVISION"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_hub_does_not_have_is_one_sentence(mlx: Mlx, uploaded: str, name: str) -> None:
    spelling, sentence = REFUSED[name]
    require_one_sentence(mlx("run", spelling, "texts.txt", "-o", "v.npy"), sentence)


def test_a_hub_that_refuses_or_is_out_of_reach_is_one_sentence(
    hub: HubServer, mlx: Mlx, uploaded: str, tiny: Path
) -> None:
    run = ("run", f"hf://{ID}", "texts.txt", "-o", "v.npy")
    require_one_sentence(mlx(*run, HF_ENDPOINT=NOWHERE), f"{ID} is not in the hub cache, and the hub cannot")
    require_one_sentence(mlx(*run, HF_HUB_OFFLINE="1"), "and HF_HUB_OFFLINE forbids a download")
    require_one_sentence(mlx("push", tiny, ID, HF_ENDPOINT=NOWHERE), f"{ID} was not changed, and the hub")
    require_one_sentence(mlx("push", tiny, ID, token=False), f"the hub refuses access to {ID} (status 401)")
    hub.private.add(ID)
    require_one_sentence(mlx(*run, token=False), f"the hub has no model {ID}. If it is private, run `hf auth")
    assert list(hub.repositories[ID]) == [uploaded]


@pytest.mark.parametrize("change", ["changed", "shorter", "missing", "no manifest", "a manifest of another"])
def test_a_changed_artifact_on_the_hub_is_refused(hub: HubServer, mlx: Mlx, tiny: Path, change: str) -> None:
    files = contents(tiny)
    graph = files["onnx/model.onnx"]
    expected = f"the artifact hf://{ID}@"
    if change == "changed":
        files["onnx/model.onnx"] = graph[:-1] + bytes([graph[-1] ^ 1])
        expected = "is damaged: onnx/model.onnx has SHA-256"
    elif change == "shorter":
        files["onnx/model.onnx"] = graph[:-1]
    elif change == "missing":
        del files["onnx/model.onnx"]
    elif change == "no manifest":
        del files["mlx.json"]
        expected = "is not an artifact: it has no mlx.json"
    else:
        files["mlx.json"] = files["mlx.json"].replace(b'"onnx/model.onnx"', b'"../../model.onnx"')
        expected = "../../model.onnx"
    hub.commit(ID, files)
    done = mlx("run", f"hf://{ID}", "texts.txt", "-o", "v.npy")
    require_one_sentence(done, expected)
    if change in ("shorter", "missing"):
        assert not any("resolve" in each and each.endswith(".onnx") for each in hub.asked)


def test_what_check_refuses_is_not_pushed(hub: HubServer, mlx: Mlx, tiny: Path) -> None:
    (tiny / "modeling.py").write_text("print('run')")
    require_one_sentence(mlx("push", tiny, ID), "the file modeling.py; expected only files that the manifest")
    (tiny / "modeling.py").unlink()
    require_one_sentence(mlx("push", tiny, "no-org"), "the repository 'no-org'; expected a hub id (org/name)")
    (tiny / "tokenizer.json").write_text("{}")
    require_one_sentence(mlx("push", tiny, ID), "is damaged: tokenizer.json")
    assert hub.repositories == {}


def test_a_card_that_is_a_link_is_not_pushed(hub: HubServer, mlx: Mlx, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret")
    (tiny / "README.md").unlink()
    (tiny / "README.md").symlink_to(tmp_path / "secret")
    require_one_sentence(mlx("push", tiny, ID), "README.md is a symbolic link; expected a regular file")
    assert hub.repositories == {}


def require_one_sentence(outcome: Outcome, sentence: str) -> None:
    assert outcome.code == 3, outcome
    (line,) = outcome.stderr.splitlines()[-1:]
    assert line.startswith("Error: "), outcome
    assert sentence in line
    assert "Traceback" not in outcome.stderr
    assert TOKEN not in outcome.stdout + outcome.stderr
