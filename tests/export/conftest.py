"""Small models of the BERT family with random weights, saved as sentence-transformers saves them."""

import contextlib
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

MakeModel = Callable[..., Path]


@pytest.fixture(scope="session")
def make_model(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Make a model folder of a given architecture, pooling and normalisation, and return it."""
    torch = pytest.importorskip("torch", reason="needs torch to make models")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    made = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions have moved them
        from sentence_transformers.models import Normalize, Pooling, Transformer

    def make(
        kind: str = "Bert", pooling: str = "mean", normalized: bool = True, vocabulary: int = 140
    ) -> Path:
        folder = tmp_path_factory.mktemp("model")
        positions_before = 2 if "Roberta" in kind else 0  # the first is padding_idx + 1
        config = getattr(transformers, f"{kind}Config")(
            vocab_size=vocabulary,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=40 + positions_before,
            pad_token_id=positions_before // 2,
        )
        torch.manual_seed(11)
        encoder = getattr(transformers, f"{kind}Model")(config)
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.normal_(std=0.3)
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(tiny_folder / "tokenizer.json"),
            # A Roberta's padding id is 1, which this vocabulary calls [UNK].
            pad_token="[UNK]" if positions_before else "[PAD]",
            unk_token="[UNK]",
        )
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            encoder.save_pretrained(folder / "encoder")
            tokenizer.save_pretrained(folder / "encoder")
            transformer = Transformer(str(folder / "encoder"), max_seq_length=24)
            modules: list[Any] = [transformer, Pooling(32, pooling)] + [Normalize()] * normalized
            model = made.SentenceTransformer(modules=modules, device="cpu")
            model.save_pretrained(str(folder / "model"), create_model_card=False)
        return folder / "model"

    return make


@pytest.fixture(scope="session")
def bert_original(make_model: MakeModel) -> Path:
    """A small BERT for all tests of the session: copy it before changing it."""
    return make_model()
