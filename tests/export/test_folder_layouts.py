"""Folders that sentence-transformers loads, in each form that its files can have: the same embeddings."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import MakeModel, Mlx

import minilmx
from minilmx.errors import ModelError

TEXTS = ["a", "", "Hello World", "the quick brown fox", "1, 2; 3!", "café", "zz top"]
LENGTH = 24
SPECIAL_PIECES = ("<s>", "<pad>", "</s>", "<unk>")

Change = Callable[[Path], object]


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), "utf-8")


def without(path: Path, *keys: str) -> None:
    write(path, {key: value for key, value in read(path).items() if key not in keys})


def make_shards(folder: Path) -> None:
    """The same weights in several files, as transformers saves large models."""
    import transformers

    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="10KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    assert not (folder / "model.safetensors").exists()


def make_plain(folder: Path) -> None:
    """What transformers saves: an encoder and its tokenizer, without a word about pooling."""
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "1_Pooling")


def make_old(folder: Path) -> None:
    """The layout of sentence-transformers 0.x and 1.x: the encoder in a folder of its own."""
    names = [path for path in folder.iterdir() if path.is_file()]
    (folder / "0_Transformer").mkdir()
    for path in names:
        if path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(folder / "0_Transformer" / path.name)
    modules = read(folder / "modules.json")
    modules[0]["path"] = "0_Transformer"
    write(folder / "modules.json", modules)


def make_slow_tokenizer(folder: Path) -> None:
    """A BERT tokenizer as older versions of transformers saved it: only its vocabulary."""
    vocabulary = read(folder / "tokenizer.json")["model"]["vocab"]
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    words[-1] = "[MASK]"  # as every BERT has it: transformers adds it otherwise, beyond the embeddings
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(words), "utf-8")
    write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True})


def make_cased_tokenizer(folder: Path) -> None:
    make_slow_tokenizer(folder)
    write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": False})


def make_old_and_slow(folder: Path) -> None:
    make_slow_tokenizer(folder)
    make_old(folder)


def make_plain_shards_and_slow(folder: Path) -> None:
    make_shards(folder)
    make_slow_tokenizer(folder)
    make_plain(folder)


def make_byte_pairs(folder: Path) -> None:
    """RoBERTa's own files, vocab.json and merges.txt, with a few letters and one merge."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdefghijklmnopqrstuvwxyz0123456789,;!Ġ", "th"]
    (folder / "tokenizer.json").unlink()
    write(folder / "vocab.json", {piece: index for index, piece in enumerate(pieces)})
    (folder / "merges.txt").write_text("#version: 0.2\nt h\n", "utf-8")
    write(folder / "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer"})


def name_padding_in_special_tokens_map(folder: Path) -> None:
    content = read(folder / "tokenizer.json") | {"padding": None}
    vocabulary = content["model"]["vocab"]
    vocabulary["[BLANK]"] = vocabulary.pop("[PAD]")
    content["added_tokens"] = []
    write(folder / "tokenizer.json", content)
    without(folder / "tokenizer_config.json", "pad_token")
    write(folder / "special_tokens_map.json", {"pad_token": {"content": "[BLANK]"}, "unk_token": "[UNK]"})


def make_pieces_without_a_padding_token(folder: Path) -> None:
    """XLM-RoBERTa's tokenizer.json of a few letters. Only pad_token_id in config.json says which one pads."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = [*SPECIAL_PIECES, "\N{LOWER ONE EIGHTH BLOCK}", *"abcdefghijklmnopqrstuvwxyzHW0123456789,;!"]
    scores = [(piece, 0.0 if piece in SPECIAL_PIECES else -2.0) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").unlink()
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    assert read(folder / "config.json")["pad_token_id"] == 1


def embeddings(folder: Path, output: Path, **options: Any) -> np.ndarray[Any, Any]:
    artifact = minilmx.export_model(str(folder), output, sequence_length=LENGTH, **options)
    with minilmx.load(artifact) as model:
        return model.encode(TEXTS)


def expected(folder: Path) -> np.ndarray[Any, Any]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return np.asarray(model.encode(TEXTS))


@pytest.fixture
def folder(bert_original: Path, tmp_path: Path) -> Path:
    """A small BERT of this test's own, to change."""
    return Path(shutil.copytree(bert_original, tmp_path / "models" / "bert"))


@pytest.mark.parametrize(
    "change",
    [
        make_shards,
        make_plain,
        make_old,
        make_slow_tokenizer,
        make_cased_tokenizer,
        make_old_and_slow,
        make_plain_shards_and_slow,
        name_padding_in_special_tokens_map,
    ],
    ids=lambda change: change.__name__,
)
def test_the_embeddings_are_those_of_sentence_transformers(
    folder: Path, tmp_path: Path, change: Change
) -> None:
    change(folder)
    found = embeddings(folder, tmp_path / "out")
    assert np.abs(found - expected(folder)).max() <= 1e-5
    with minilmx.load(tmp_path / "out", "torch", model=folder) as model:  # reads the folder again
        assert np.abs(model.encode(TEXTS) - found).max() <= 1e-5


def test_a_roberta_tokenizer_is_made_from_its_vocabulary_and_merges(
    make_model: MakeModel, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(make_model("Roberta"), tmp_path / "roberta"))
    make_byte_pairs(folder)
    found = embeddings(folder, tmp_path / "out")
    assert np.abs(found - expected(folder)).max() <= 1e-5


def test_a_padding_token_that_only_the_config_names(make_model: MakeModel, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(make_model("XLMRoberta"), tmp_path / "xlmr"))
    make_pieces_without_a_padding_token(folder)
    found = embeddings(folder, tmp_path / "out")
    assert np.abs(found - expected(folder)).max() <= 1e-5
    written = read(tmp_path / "out" / "tokenizer_config.json")
    assert written["pad_token"] == "<pad>"
    assert read(tmp_path / "out" / "tokenizer.json")["padding"]["pad_id"] == 1


def test_a_tokenizer_is_made_from_a_sentencepiece_model(make_model: MakeModel, tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece", reason="needs sentencepiece")
    folder = Path(shutil.copytree(make_model("XLMRoberta"), tmp_path / "xlmr"))
    (folder / "tokenizer.json").unlink()
    (tmp_path / "corpus.txt").write_text("hello world the quick brown fox zz top\n" * 50)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus.txt"),
        model_prefix=str(tmp_path / "piece"),
        vocab_size=40,
        minloglevel=9,
        hard_vocab_limit=False,
    )
    (tmp_path / "piece.model").rename(folder / "sentencepiece.bpe.model")
    write(folder / "tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer"})
    found = embeddings(folder, tmp_path / "out")
    assert np.abs(found - expected(folder)).max() <= 1e-5


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", None])
def test_the_pooling_of_a_plain_folder_is_the_one_asked_for(
    folder: Path, tmp_path: Path, pooling: str | None
) -> None:
    from sentence_transformers import SentenceTransformer

    original = SentenceTransformer(str(folder), device="cpu")
    make_plain(folder)
    said: list[str] = []

    class Messages(minilmx.Progress):
        def message(self, text: str) -> None:
            said.append(text)

    found = embeddings(folder, tmp_path / "out", pooling=pooling, progress=Messages())
    module = original[1]
    module.pooling_mode = pooling or "mean"
    plain = SentenceTransformer(modules=[original[0], module], device="cpu")
    assert np.abs(found - plain.encode(TEXTS)).max() <= 1e-5
    manifest = read(tmp_path / "out" / "mlx.json")
    assert (manifest["pooling"], manifest["normalized"]) == (pooling or "mean", False)
    words = f"{pooling or 'mean'} pooling, without normalisation"
    assert [line for line in said if words in line]


def test_the_command_line_takes_the_pooling(folder: Path, mlx: Mlx) -> None:
    make_plain(folder)
    outcome = mlx("export", folder, "-o", "out", "--pooling", "cls", "--sequence-length", LENGTH)
    assert outcome.code == 0, outcome
    assert "cls pooling" in outcome.stderr
    assert read(Path("out/mlx.json"))["pooling"] == "cls"


def test_a_pooling_for_a_model_that_states_its_own_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"pooling 'cls': .*bert has a modules\.json, which states mean"
    ) as it:
        embeddings(folder, tmp_path / "out", pooling="cls")
    assert it.value.unused  # the command line exits with 2


def test_an_unknown_pooling_is_refused(folder: Path, tmp_path: Path) -> None:
    make_plain(folder)
    with pytest.raises(ModelError, match=r"pooling 'last'; expected mean, cls, max, .* or lasttoken"):
        embeddings(folder, tmp_path / "out", pooling="last")


@pytest.mark.parametrize(
    ("shard", "words"),
    [
        ("../elsewhere.safetensors", "expected names of safetensors files in the same folder"),
        ("/elsewhere.safetensors", "expected names of safetensors files in the same folder"),
        ("pytorch_model-1.bin", "expected names of safetensors files in the same folder"),
        (7, "expected names of safetensors files in the same folder"),
        ("model-00009-of-00009.safetensors", "the shard model-00009-of-00009.safetensors is missing"),
    ],
)
def test_an_index_that_names_other_files_is_refused(
    folder: Path, tmp_path: Path, shard: object, words: str
) -> None:
    make_shards(folder)
    shutil.copy(next(folder.glob("*.safetensors")), folder.parent / "elsewhere.safetensors")
    index = read(folder / "model.safetensors.index.json")
    index["weight_map"]["embeddings.word_embeddings.weight"] = shard
    write(folder / "model.safetensors.index.json", index)
    with pytest.raises(ModelError, match=words):
        embeddings(folder, tmp_path / "out")


def test_the_digest_of_shards_covers_each_of_them(folder: Path, tmp_path: Path) -> None:
    make_shards(folder)
    first = minilmx.export_model(str(folder), tmp_path / "out", sequence_length=LENGTH)
    assert first.report.parity is not None
    again = minilmx.export_model(str(folder), tmp_path / "out", sequence_length=LENGTH)
    assert again.report.parity is None  # reused
    from safetensors.numpy import load_file, save_file

    shard = sorted(folder.glob("model-*.safetensors"))[-1]
    tensors = load_file(shard)
    save_file({name: tensor * 2 for name, tensor in tensors.items()}, shard, {"format": "pt"})
    with pytest.raises(minilmx.MinilmxError, match="exists, made from another model"):
        minilmx.export_model(str(folder), tmp_path / "out", sequence_length=LENGTH)


def test_a_folder_without_any_vocabulary_is_refused(folder: Path, tmp_path: Path) -> None:
    # transformers itself would make a tokenizer of five special tokens, which knows no word.
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer\.json, and no vocabulary to create one from"):
        embeddings(folder, tmp_path / "out")


def test_a_sentencepiece_model_that_cannot_be_read_says_why(make_model: MakeModel, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(make_model("XLMRoberta"), tmp_path / "xlmr"))
    (folder / "tokenizer.json").unlink()
    (folder / "sentencepiece.bpe.model").write_bytes(b"junk")
    write(folder / "tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer"})
    with pytest.raises(ModelError, match=r"from sentencepiece\.bpe\.model"):
        embeddings(folder, tmp_path / "out")


def test_a_module_path_outside_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    modules = read(folder / "modules.json")
    modules[0]["path"] = "../elsewhere"
    write(folder / "modules.json", modules)
    with pytest.raises(ModelError, match=r"modules\.json: the path '\.\./elsewhere'; expected one inside"):
        embeddings(folder, tmp_path / "out")


@pytest.mark.parametrize("kind", ["Roberta", "XLMRoberta"])
def test_an_onnx_file_without_token_types_is_frozen(make_model: MakeModel, tmp_path: Path, kind: str) -> None:
    """A RoBERTa as optimum exports it: two inputs, and last_hidden_state."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = Path(shutil.copytree(make_model(kind), tmp_path / "model"))
    encoder = transformers.AutoModel.from_pretrained(
        folder, add_pooling_layer=False, attn_implementation="eager"
    )

    class TwoInputs(torch.nn.Module):  # type: ignore[name-defined,misc] # imported above
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder.eval()

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            added = (1.0 - attention_mask.float())[:, None, None, :] * -10000.0
            return self.encoder(input_ids=input_ids, attention_mask=added).last_hidden_state

    names, example = ("input_ids", "attention_mask"), torch.ones(2, 8).long()
    (folder / "onnx").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            TwoInputs(),
            (example + 1, example),
            str(folder / "onnx" / "model.onnx"),
            dynamo=False,
            opset_version=16,
            input_names=list(names),
            output_names=["last_hidden_state"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in (*names, "last_hidden_state")},
        )
    found = embeddings(folder, tmp_path / "out", from_onnx=True)
    assert np.abs(found - expected(folder)).max() <= 1e-5
    inputs = read(tmp_path / "out" / "mlx.json")["graphs"]["fixed"]["inputs"]
    assert [each["name"] for each in inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    for runner, graph in (("onnxruntime", "fixed"), ("openvino", "fixed"), ("openvino", "dynamic")):
        if runner == "openvino":
            pytest.importorskip("openvino", reason="needs openvino")
        with minilmx.load(tmp_path / "out", runner, graph) as model:
            assert np.abs(model.encode(TEXTS) - found).max() <= 1e-5
