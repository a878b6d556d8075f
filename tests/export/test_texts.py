"""From text to embedding: tiny models with one odd setting each give what sentence-transformers gives."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import MakeModel, Mlx
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

import minilmx
from minilmx.errors import ExportError, MinilmxError, ModelError
from minilmx.export.exporter import ExportedArtifact, export_model
from minilmx.export.options import ExportOptions
from minilmx.models.manifest import Shape
from minilmx.models.source import resolve_model

Change = Callable[[Path], object]
Vectors = NDArray[np.float32]

TEXTS = [
    "",
    "a",
    " a",
    "Hello World",
    "HELLO world",
    "cafe café cafe\u0301",
    "abc 日本語 def",
    "x日本y",
    "tab\tnew\nline\r\u00a0\u3000end  ",
    "nul\x00 bell\x07 soft\u00adhyphen\u200b",
    "go 👍🏽!",
    "one [ENTITY] two[ENTITY]three [entity]",
    "a [SEP] b [MASK] c",
    "z" * 130,
    "a b c d e f g h i j k l m n o p q r s t u v w x y z 0 1 2 3 4 5 6 7 8 9",
]


@pytest.fixture(scope="module")
def originals(make_model: MakeModel) -> dict[str, Path]:
    """One model of each kind, with 20 more token embeddings than the tokenizer has tokens."""
    made = {kind: make_model(kind, vocabulary=160) for kind in ("Bert", "Electra", "Roberta", "XLMRoberta")}
    made["unscaled"] = make_model("Bert", "mean", False, vocabulary=160)
    for folder in made.values():  # as a real tokenizer.json, which lists its special tokens
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
        tokenizer.save(str(folder / "tokenizer.json"))
    return made


def settings(folder: Path, **values: object) -> None:
    path = folder / "tokenizer_config.json"
    content = {"tokenizer_class": "BertTokenizer", "model_max_length": 24}
    path.write_text(json.dumps(content | {"pad_token": "[PAD]", "mask_token": "[UNK]"} | values))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change tokenizer.json, which another class than PreTrainedTokenizerFast then does not take as it is."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cased_file(folder: Path) -> None:
    settings(folder)
    rewrite(folder, lambda content: content["normalizer"].update(lowercase=False))


def cased_file_kept(folder: Path) -> None:
    settings(folder, tokenizer_class="PreTrainedTokenizerFast", do_lower_case=True)
    rewrite(folder, lambda content: content["normalizer"].update(lowercase=False))


def no_class(folder: Path) -> None:
    settings(folder)
    content = json.loads((folder / "tokenizer_config.json").read_text())
    del content["tokenizer_class"]
    (folder / "tokenizer_config.json").write_text(json.dumps(content | {"do_lower_case": False}))


def left_in_file(folder: Path) -> None:
    settings(folder, tokenizer_class="PreTrainedTokenizerFast")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(9, direction="left")
    tokenizer.enable_padding(length=12)
    tokenizer.save(str(folder / "tokenizer.json"))


def left_in_file_only(folder: Path) -> None:
    left_in_file(folder)
    settings(folder, truncation_side="right")


ENTITY = {"content": "[ENTITY]", "lstrip": True, "rstrip": True, "single_word": False, "normalized": False}


def added_in_settings(folder: Path) -> None:
    settings(folder, added_tokens_decoder={"140": ENTITY | {"special": False}})


def added_in_file(folder: Path) -> None:
    settings(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken("[ENTITY]", single_word=True)])
    tokenizer.save(str(folder / "tokenizer.json"))


def added_twice(folder: Path) -> None:
    added_in_file(folder)
    added_in_settings(folder)


def bytes_file(folder: Path, **values: object) -> None:
    """A byte-level BPE tokenizer as RoBERTa has."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())[:140]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *alphabet, "Ġa", "Ġb"]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ġ", "a"), ("Ġ", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    tokens |= {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
    settings(folder, **{"tokenizer_class": "RobertaTokenizer", **tokens, **values})
    for name in ("special_tokens_map.json", "added_tokens.json"):
        (folder / name).unlink(missing_ok=True)


def pieces_file(folder: Path, **values: object) -> None:
    """A Unigram tokenizer as XLM-RoBERTa has."""
    letters = [chr(code) for code in range(33, 127)]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *letters, "▁a", "▁b", "<mask>"]
    scores = [0.0] * 4 + [-2.0] + [-3.0] * len(letters) + [-2.5, -2.5, 0.0]
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), 3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    tokens |= {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
    settings(folder, **{"tokenizer_class": "XLMRobertaTokenizer", **tokens, **values})
    for name in ("special_tokens_map.json", "added_tokens.json"):
        (folder / name).unlink(missing_ok=True)


def large_numbers(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    settings(folder)
    tensors = load_file(folder / "model.safetensors")
    for name in ("weight", "bias"):
        tensors[f"encoder.layer.1.output.LayerNorm.{name}"] *= np.float32(3000)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def setting(**values: object) -> Change:
    return lambda folder: settings(folder, **values)


# The model, the change, and whether tokenizer_config.json overrides tokenizer.json.
ODD: dict[str, tuple[str, Change, bool]] = {
    "nothing odd": ("Bert", setting(), False),
    "do_lower_case": ("Bert", setting(do_lower_case=False), True),
    "strip_accents": ("Bert", setting(strip_accents=False), True),
    "tokenize_chinese_chars": ("Bert", setting(tokenize_chinese_chars=False), True),
    "do_lower_case of ELECTRA": ("Electra", setting(do_lower_case=False), True),
    "truncation_side": ("Bert", setting(truncation_side="left"), True),
    "truncation in the file": ("Bert", left_in_file, False),
    "truncation in the file only": ("Bert", left_in_file_only, True),
    "padding_side": ("Bert", setting(padding_side="left"), False),
    "cased file": ("Bert", cased_file, True),
    "cased file that is kept": ("Bert", cased_file_kept, False),
    "no class": ("Bert", no_class, True),
    "added token in the settings": ("Bert", added_in_settings, True),
    "added token in the file": ("Bert", added_in_file, False),
    "added token with other settings": ("Bert", added_twice, True),
    "input names": ("Bert", setting(model_input_names=["input_ids", "attention_mask"]), False),
    "another padding token": ("Bert", setting(pad_token="[UNK]"), False),
    "byte-level": ("Roberta", bytes_file, False),
    "add_prefix_space": ("Roberta", lambda folder: bytes_file(folder, add_prefix_space=True), True),
    "pieces": ("XLMRoberta", pieces_file, True),  # AutoTokenizer drops the file's NFKC
    "pieces without a prefix": (
        "XLMRoberta",
        lambda folder: pieces_file(folder, add_prefix_space=False),
        True,
    ),
    "large numbers": ("unscaled", large_numbers, False),
}


def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "models" / "odd"))


def export(folder: Path) -> ExportedArtifact:
    output = folder.parents[1] / "out"
    return export_model(resolve_model(str(folder)), output, ExportOptions(Shape(3, 24)))


def expected(folder: Path) -> Vectors:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    assert model.max_seq_length == 24
    return np.asarray(model.encode(TEXTS, batch_size=1))


def check_ids(folder: Path, artifact: Path) -> None:
    """AutoTokenizer gives the same token ids for the model and for the artifact."""
    from transformers import AutoTokenizer

    model, consumer = (
        AutoTokenizer.from_pretrained(path, local_files_only=True) for path in (folder, artifact)
    )
    assert consumer.model_max_length == 24
    for text in TEXTS:
        ids = model(text, truncation=True, max_length=24)["input_ids"]
        assert consumer(text, truncation=True)["input_ids"] == ids, text


@pytest.mark.parametrize("name", ODD)
def test_texts_have_the_embeddings_of_sentence_transformers(
    originals: dict[str, Path], tmp_path: Path, name: str
) -> None:
    kind, change, overridden = ODD[name]
    folder = copy(originals[kind], tmp_path)
    change(folder)
    artifact = export(folder)
    wanted = expected(folder)
    for graph in ("fixed", "dynamic"):
        with minilmx.load(artifact, graph=graph, threads=1) as model:
            difference = np.abs(model.encode(TEXTS) - wanted)
        assert (difference / np.maximum(1, np.abs(wanted).max(axis=1, keepdims=True))).max() <= 1e-5
    report = artifact.report.text_parity
    assert report is not None
    assert report.reference.startswith("sentence-transformers ")
    assert report.texts >= 15
    assert report.max_abs <= 1e-5 * max(1, np.abs(wanted).max())
    assert report.overridden == overridden
    check_ids(folder, artifact.path)


def cased(folder: Path) -> None:
    settings(folder, do_lower_case=False)


def lowered_already(folder: Path) -> None:
    """A tokenizer whose own normalizer lowers the case, after another step."""
    settings(folder, tokenizer_class="PreTrainedTokenizerFast")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.save(str(folder / "tokenizer.json"))


def left_alone(folder: Path) -> None:
    """A tokenizer with several steps, none of which lowers the case."""
    lowered_already(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
    tokenizer.save(str(folder / "tokenizer.json"))


LOWERED: dict[str, tuple[str, Change]] = {
    "cased BERT": ("Bert", cased),
    "uncased BERT": ("Bert", setting()),
    "no normalizer": ("Roberta", bytes_file),
    "pieces": ("XLMRoberta", pieces_file),
    "several steps": ("Bert", left_alone),
    "lowered already": ("Bert", lowered_already),
}


def lower_texts(folder: Path) -> None:
    path = folder / "sentence_bert_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_lower_case": True}))


@pytest.mark.parametrize("name", LOWERED)
def test_texts_are_lowered_as_sentence_transformers_lowers_them(
    originals: dict[str, Path], tmp_path: Path, name: str
) -> None:
    kind, change = LOWERED[name]
    folder = copy(originals[kind], tmp_path)
    change(folder)
    lower_texts(folder)
    artifact = export(folder)
    with minilmx.load(artifact, threads=1) as model:
        found = model.encode(TEXTS)
        assert np.array_equal(model.encode(["Hello WORLD"]), model.encode(["hello world"]))
    assert np.abs(found - expected(folder)).max() <= 1e-5


def test_an_onnx_file_gets_texts_in_lower_case_too(tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "models" / "odd"))
    rewrite(folder, lambda content: content["normalizer"].update(lowercase=False))
    settings(folder, do_lower_case=False)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"do_lower_case": True}))
    options = ExportOptions(Shape(3, 24), from_onnx=True)
    artifact = export_model(resolve_model(str(folder)), tmp_path / "out", options)
    with minilmx.load(artifact, threads=1) as model:
        lower, upper, unknown = model.encode(["hello", "HELLO", "日"])
    assert np.array_equal(lower, upper)
    assert not np.array_equal(lower, unknown)


def refusal(folder: Path, kind: type[MinilmxError] = ModelError) -> str:
    with pytest.raises(kind) as caught:
        export(folder)
    assert not (folder.parents[1] / "out").exists()
    return str(caught.value)


def test_a_class_of_another_kind_of_model_is_refused(originals: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(originals["Bert"], tmp_path)
    pieces_file(folder, tokenizer_class="BertTokenizer")
    message = refusal(folder)
    assert "tokenizer.json contains a Unigram model, but AutoTokenizer of transformers " in message
    assert "makes a WordPiece model; expected the same" in message
    assert "Name the tokenizer_class in tokenizer_config.json" in message


def test_a_setting_that_tokenizer_json_cannot_hold_is_refused(
    originals: dict[str, Path], tmp_path: Path
) -> None:
    folder = copy(originals["Bert"], tmp_path)
    settings(folder, split_special_tokens=True)
    message = refusal(folder, ExportError)
    assert "the tokenizer of odd: token ids " in message
    assert "[SEP]" in message
    assert "as AutoTokenizer of transformers " in message


def test_a_token_without_an_embedding_is_refused(originals: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(originals["Bert"], tmp_path)
    settings(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([f"[ENTITY{number}]" for number in range(21)])
    tokenizer.save(str(folder / "tokenizer.json"))
    message = refusal(folder)
    assert "the token '[ENTITY20]' has the id 160, and the model has 160 token embeddings" in message


def test_without_sentence_transformers_the_pytorch_model_is_the_reference(
    originals: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy(originals["Bert"], tmp_path)
    settings(folder, do_lower_case=False)
    wanted = expected(folder)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    artifact = export(folder)
    report = artifact.report.text_parity
    assert report is not None
    assert report.reference.startswith("transformers ")
    assert report.max_abs <= 1e-5
    with minilmx.load(artifact, threads=1) as model:
        assert np.abs(model.encode(TEXTS) - wanted).max() <= 1e-5


def test_the_command_says_what_was_compared(originals: dict[str, Path], tmp_path: Path, mlx: Mlx) -> None:
    folder = copy(originals["Bert"], tmp_path)
    settings(folder, do_lower_case=False)
    outcome = mlx("export", folder, "--sequence-length", "24", "-o", "out")
    assert outcome.code == 0, outcome
    assert re.search(
        r"^text        max abs \S+ from text to embedding against sentence-transformers \S+; \d+ texts$",
        outcome.stdout,
        re.M,
    )
    assert "tokenizer   as AutoTokenizer makes it" in outcome.stdout
