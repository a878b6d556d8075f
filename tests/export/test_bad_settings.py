"""Values of another kind in a model's settings: the export refuses them in one sentence, or ignores them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Mlx

WHOLE = 10**30


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"hidden_size": True}),
        ("config.json", {"hidden_size": WHOLE}),
        ("config.json", {"model_type": "roberta", "pad_token_id": [], "max_position_embeddings": 40}),
        ("config_sentence_transformers.json", {"prompts": {"a": "b"}, "default_prompt_name": []}),
        ("tokenizer_config.json", {"truncation_side": True}),
        ("tokenizer_config.json", {"truncation_side": []}),
        ("tokenizer_config.json", {"added_tokens_decoder": "../x"}),
        ("1_Pooling/config.json", {"word_embedding_dimension": True}),
        ("config_sentence_transformers.json", {"prompts": {"a": "\ud800"}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_value_of_another_kind(
    file: str, change: dict[str, Any], tiny_folder: Path, tmp_path: Path, mlx: Mlx
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    content = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps(content | change))
    words = ("--from-onnx", "--batch-size", 2, "--sequence-length", 16, "-o", tmp_path / "out")
    outcome = mlx("export", folder, *words)
    assert outcome.code in (0, 3), outcome
    assert "a fault in minilmx" not in outcome.stderr
    assert (tmp_path / "out").exists() == (outcome.code == 0)
