"""An artifact whose files name code: `mlx check` hands it to other libraries, which must not run it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Mlx, reseal

EVIL = "open({!r}, 'w').close()\nclass Evil: pass\n"


def change(file: Path, **fields: Any) -> None:
    content = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(content | fields), "utf-8")


def evil_module(tiny: Path) -> None:
    modules = json.loads((tiny / "modules.json").read_text("utf-8"))
    modules[0]["type"] = "evil.Evil"
    (tiny / "modules.json").write_text(json.dumps(modules), "utf-8")


ATTACKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "module": (evil_module, "modules.json: "),
    "config": (
        lambda tiny: change(tiny / "config.json", auto_map={"AutoModel": "evil.Evil"}),
        "config.json: the setting auto_map, which names code",
    ),
    "nested": (
        lambda tiny: change(tiny / "config.json", text_config={"auto_map": {"AutoConfig": "evil.Evil"}}),
        "config.json: the setting auto_map, which names code",
    ),
    "tokenizer": (
        lambda tiny: change(tiny / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]}),
        "tokenizer_config.json: the setting auto_map, which names code",
    ),
    "tokenizer class": (
        lambda tiny: change(tiny / "tokenizer_config.json", tokenizer_class="Evil"),
        "tokenizer_config.json: tokenizer_class 'Evil'; expected 'PreTrainedTokenizerFast'",
    ),
    "tokenizer setting": (
        lambda tiny: change(tiny / "tokenizer_config.json", vocab_file="/etc/passwd"),
        "tokenizer_config.json: the setting 'vocab_file'",
    ),
    "pooling": (
        lambda tiny: change(tiny / "1_Pooling" / "config.json", include_prompt=False),
        "1_Pooling/config.json: ",
    ),
    "arguments": (
        lambda tiny: change(tiny / "sentence_bert_config.json", model_args={"trust_remote_code": True}),
        "sentence_bert_config.json: ",
    ),
    "code alone": (lambda tiny: None, "evil.py: a file that the export does not write"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_check_hands_no_artifact_on_whose_files_name_code(
    tiny: Path, mlx: Mlx, tmp_path: Path, attack: str
) -> None:
    apply, words = ATTACKS[attack]
    apply(tiny)
    if attack == "code alone":
        (tiny / "evil.py").write_text(EVIL.format(str(tmp_path / "ran")), "utf-8")
    reseal(tiny)
    outcome = mlx("check", tiny, "--consumer", "onnxruntime")
    assert outcome.code == 3, outcome
    assert words in outcome.stderr
    assert not (tmp_path / "ran").exists()


def test_check_refuses_files_that_the_manifest_does_not_list(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tiny / "evil.py").write_text(EVIL.format(str(tmp_path / "ran")), "utf-8")
    outcome = mlx("check", tiny, "--consumer", "onnxruntime")
    assert outcome.code == 3, outcome
    assert "the file evil.py; expected only files that the manifest lists" in outcome.stderr


def test_a_pooling_of_mathematical_letters_is_refused(tiny: Path, mlx: Mlx) -> None:
    manifest = json.loads((tiny / "mlx.json").read_text("utf-8"))
    manifest["pooling"] = "MEAN\n\U0001d41e\U0001d431\U0001d41e\U0001d41c('1')"  # NFKC makes it exec
    (tiny / "mlx.json").write_text(json.dumps(manifest), "utf-8")
    for words in (("check", tiny, "--consumer", "onnxruntime"), ("inspect", tiny, "--snippet", "fastembed")):
        outcome = mlx(*words)
        assert outcome.code == 3, outcome
        assert "pooling" in outcome.stderr


def test_a_consumers_process_gets_no_secret_of_the_environment(
    tiny: Path, mlx: Mlx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    mark = str(tmp_path / "seen")
    seen = f"os.environ.get('HF_TOKEN', 'none'), site.ENABLE_USER_SITE, file=open({mark!r}, 'w')"
    (tmp_path / "site" / "sitecustomize.py").write_text(f"import os, site\nprint({seen})\n", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    mlx("check", tiny, "--consumer", "onnxruntime")
    assert (tmp_path / "seen").read_text("utf-8") == "none False\n"
