"""A model folder whose files name code: the export loads it with other libraries, which must not run it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import MakeModel, Mlx

EVIL = """
open({!r}, 'w').close()
class Evil: pass
"""


def change(file: Path, **fields: Any) -> None:
    content = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(content | fields), "utf-8")


def evil_module(folder: Path, kind: str) -> None:
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    modules[0]["type"] = kind
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")


ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "module": (lambda folder: evil_module(folder, "evil.Evil"), "modules of "),
    "module of the right name": (lambda folder: evil_module(folder, "evil.Transformer"), "modules of "),
    "config": (
        lambda folder: change(
            folder / "config.json", auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}
        ),
        "auto_map",
    ),
    "tokenizer": (
        lambda folder: change(
            folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
        ),
        "auto_map",
    ),
}


def put_evil(folder: Path, mark: Path) -> None:
    for place in (folder, folder / "1_Pooling"):
        for name in ("evil.py", "modeling_bert.py", "transformers.py", "__init__.py"):
            (place / name).write_text(EVIL.format(str(mark)), "utf-8")


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_folder_that_names_code_is_refused_and_its_code_does_not_run(
    make_model: MakeModel, mlx: Mlx, tmp_path: Path, attack: str
) -> None:
    apply, words = ATTACKS[attack]
    folder = make_model()
    put_evil(folder, tmp_path / "ran")
    apply(folder)
    outcome = mlx("export", folder, "-o", "out", "--batch-size", 2, "--sequence-length", 16)
    assert outcome.code == 3, outcome
    assert words in outcome.stderr
    assert not (tmp_path / "ran").exists()


def test_sentence_transformers_itself_runs_no_code_of_a_folder(
    make_model: MakeModel, mlx: Mlx, tmp_path: Path
) -> None:
    """A side `model:` of a comparison: transformers' own class embeds, and the settings cannot allow code."""
    folder = make_model()
    put_evil(folder, tmp_path / "ran")
    change(folder / "config.json", auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"})
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]})
    allowed = {"trust_remote_code": True}
    arguments = ("model_args", "tokenizer_args", "config_args", "model_kwargs", "processor_kwargs")
    change(folder / "sentence_bert_config.json", **dict.fromkeys(arguments, allowed))
    (tmp_path / "texts.txt").write_text("one\nanother\n", "utf-8")
    outcome = mlx("compare", f"model:{folder}", f"model:{folder}", "--texts", "texts.txt")
    assert outcome.code == 0, outcome
    assert not (tmp_path / "ran").exists()


def test_code_in_a_folder_that_names_none_does_not_run(
    make_model: MakeModel, mlx: Mlx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_model()
    put_evil(folder, tmp_path / "ran")
    outcome = mlx("export", folder, "-o", "out", "--batch-size", 2, "--sequence-length", 16)
    assert outcome.code == 0, outcome
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_never_read(make_model: MakeModel, mlx: Mlx, tmp_path: Path) -> None:
    folder = make_model()
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(
        b"cbuiltins\nexec\n(S'open(\"" + bytes(tmp_path / "ran") + b'","w")\'\ntR.'
    )
    outcome = mlx("export", folder, "-o", "out", "--batch-size", 2, "--sequence-length", 16)
    assert outcome.code == 3, outcome
    assert not (tmp_path / "ran").exists()
