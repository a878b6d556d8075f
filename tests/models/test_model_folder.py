from pathlib import Path

import pytest

from minilmx.errors import ModelError
from minilmx.models.model_folder import read_json, weights_files
from minilmx.models.source import resolve_model


def test_a_source_without_config_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not a sentence-transformers model: it has no config\.json"):
        weights_files(resolve_model(str(tmp_path)))


def test_a_source_without_weights_is_refused_with_the_missing_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"has no weights; expected model\.safetensors"):
        weights_files(resolve_model(str(tmp_path)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "cannot be read as JSON"),
        (b"\xff", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"[]", "holds a JSON list; expected a dict"),
        (b"null", "holds a JSON NoneType; expected a dict"),
    ],
    ids=["cut", "not utf-8", "deep", "list", "null"],
)
def test_a_json_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        read_json(tmp_path, "config.json", dict)
    assert str(tmp_path / "config.json") in str(caught.value)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_a_pickle_is_refused_without_opening_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    opened = tmp_path / "opened"
    # A checkpoint that creates a file when it is unpickled.
    mark = f"cbuiltins\nexec\n(Vopen({str(opened)!r}, 'w')\ntR.".encode()
    (folder / name).write_bytes(mark)
    with pytest.raises(ModelError) as caught:
        weights_files(resolve_model(str(folder)))
    assert f"only as a pickle ({name}), which can run code and is never opened" in str(caught.value)
    assert "Save the model with safetensors." in str(caught.value)
    assert not opened.exists()
