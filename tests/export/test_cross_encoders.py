"""Cross-encoders: each gives the scores of sentence-transformers' CrossEncoder, or is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import Mlx, needs, write_reranker
from tests.export.model_kinds import make_cross_encoder

import minilmx
from minilmx.errors import ArtifactError, ExportError, ModelError
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.cross_encoder import HEADS
from minilmx.models.read_manifest import parse_manifest
from minilmx.models.tokenizer import open_tokenizer

pytestmark = needs("torch", "sentence_transformers")

PAIRS = [
    ("How many people live in Berlin?", "Berlin has a population of 3,520,031 registered inhabitants."),
    ("How many people live in Berlin?", "New York City is famous for its museums."),
    ("a", ""),
    ("", "an answer without a question"),
    (" two  words ", "tab\tand\nnew line"),
    ("z" * 40, "x y " * 60),  # more tokens than fit, in one and in both
    ("long " * 50, "longer " * 60),
    ("short", "long " * 50),
    ("Café, naïve?", "日本語 mixed混合 👍🏽"),
]
LIMIT = 1e-5


def reference(folder: Path, length: int) -> Any:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", local_files_only=True, max_length=length)
    return model.predict(PAIRS, batch_size=3, show_progress_bar=False)


def scores(artifact: Artifact, graph: str, runner: str = "onnxruntime", **settings: Any) -> Any:
    with minilmx.Scorer(artifact, runner, graph, **settings) as scorer:
        return scorer.score(PAIRS)


@pytest.mark.parametrize("graph", ["fixed", "dynamic"])
def test_an_artifact_gives_the_scores_of_sentence_transformers(
    reranker: Artifact, reranker_folder: Path, graph: str
) -> None:
    found, expected = scores(reranker, graph), reference(reranker_folder, 33)
    assert found.dtype == np.float32 and found.shape == expected.shape
    assert np.ptp(expected) > 0.01  # scores that differ between pairs
    assert np.abs(found - expected).max() <= LIMIT
    swapped = [(other, one) for one, other in PAIRS]
    with minilmx.Scorer(reranker, graph=graph) as scorer:
        assert np.abs(scorer.score(swapped) - found).max() > 1e-3  # which text comes first is seen


def test_the_torch_runner_gives_the_same_scores(reranker: Artifact, reranker_folder: Path) -> None:
    found = scores(reranker, "fixed", "torch", model=reranker_folder)
    assert np.abs(found - reference(reranker_folder, 33)).max() <= LIMIT


@pytest.mark.parametrize(
    ("settings", "activation"),
    [
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "identity"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "identity"),
        ({"sentence_transformers": {"activation_fn": "own.module.Activation"}}, "sigmoid"),
    ],
    ids=["sentence-transformers 4", "older", "code of the model's own"],
)
def test_the_activation_is_the_one_that_the_folder_states(
    tmp_path: Path, settings: dict[str, Any], activation: str
) -> None:
    folder = write_reranker(tmp_path / "model", **settings)
    artifact = minilmx.export_model(str(folder), tmp_path / "out", batch_size=2, sequence_length=24)
    head = json.loads((artifact.path / "mlx.json").read_text())["head"]
    assert [layer["activation"] for layer in head] == ["tanh", activation]
    assert np.abs(scores(artifact, "fixed") - reference(folder, 24)).max() <= LIMIT


def without_class(folder: Path, **settings: Any) -> Path:
    """The folder, whose config.json names no class, with settings added to it."""
    config = json.loads((folder / "config.json").read_text())
    del config["architectures"]
    (folder / "config.json").write_text(json.dumps(config | settings))
    return folder


def test_a_folder_that_does_not_name_its_class_is_a_cross_encoder_by_its_head(
    reranker_folder: Path, tmp_path: Path
) -> None:
    folder = without_class(Path(shutil.copytree(reranker_folder, tmp_path / "model")))
    artifact = minilmx.export_model(str(folder), tmp_path / "out", batch_size=2, sequence_length=24)
    assert np.abs(scores(artifact, "fixed") - reference(folder, 24)).max() <= LIMIT


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"sentence_transformers": {"version": "5.1.0"}}, "score        one per pair"),
        (
            {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
            "score        one per",
        ),
        ({}, "embedding    64 numbers, mean pooling"),
    ],
    ids=["sentence-transformers 4", "older", "none"],
)
def test_settings_of_a_cross_encoder_say_what_a_folder_without_a_class_is(
    reranker_folder: Path, tmp_path: Path, settings: dict[str, Any], shown: str, mlx: Mlx
) -> None:
    from safetensors.numpy import load_file, save_file

    folder = without_class(Path(shutil.copytree(reranker_folder, tmp_path / "model")), **settings)
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    assert shown in mlx("inspect", folder).stdout


def test_a_head_of_several_labels_without_a_class_is_refused_with_how_to_embed(
    tmp_path: Path, mlx: Mlx
) -> None:
    folder = without_class(write_reranker(tmp_path / "model", labels=3))
    outcome = mlx("export", folder)
    assert outcome.code == 3, outcome
    assert "gives 3 scores per pair of texts" in outcome.stderr
    assert 'such as "architectures": ["BertModel"]' in outcome.stderr
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))
    assert "embedding    64 numbers, mean pooling" in mlx("inspect", folder).stdout


def test_a_tokenizer_that_pads_on_the_left_is_refused(reranker_folder: Path, tmp_path: Path) -> None:
    """BERT then counts positions from the padding, and takes its embedding as the pair's."""
    folder = Path(shutil.copytree(reranker_folder, tmp_path / "model"))
    content = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(content | {"padding_side": "left"}))
    with pytest.raises(
        ExportError, match=r"one score alone and another in a batch padded on the left: "
    ) as caught:
        minilmx.export_model(str(folder), tmp_path / "out", sequence_length=24)
    assert 'set padding_side to "right"' in str(caught.value.hint)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_sentence_transformers_saved(reranker_folder: Path, tmp_path: Path) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(
        str(reranker_folder), device="cpu", local_files_only=True, activation_fn=torch.nn.Tanh()
    )
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    artifact = minilmx.export_model(str(tmp_path / "saved"), tmp_path / "out", sequence_length=24)
    assert np.abs(scores(artifact, "dynamic") - reference(tmp_path / "saved", 24)).max() <= LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("architecture", sorted(HEADS))
def test_each_architecture_gives_the_scores_of_sentence_transformers(
    architecture: str, tmp_path: Path
) -> None:
    folder = make_cross_encoder(architecture, tmp_path)
    artifact = minilmx.export_model(str(folder), tmp_path / "out", batch_size=2, sequence_length=24)
    expected = reference(folder, 24)
    for graph in ("fixed", "dynamic"):
        assert np.abs(scores(artifact, graph) - expected).max() <= LIMIT, graph


def test_the_same_model_gives_the_same_bytes_and_they_state_that_it_gives_scores(
    reranker: Artifact, reranker_folder: Path, tmp_path: Path
) -> None:
    again = minilmx.export_model(str(reranker_folder), tmp_path / "out", batch_size=4, sequence_length=33)
    assert again.digest == reranker.digest
    assert again.manifest.output == "score"
    assert [str(each) for each in again.manifest.fixed.outputs] == ["score float32 [4, 1]"]
    assert (
        again.report.text_parity is not None and "sentence-transformers" in again.report.text_parity.reference
    )
    reused = minilmx.export_model(str(reranker_folder), again.path, batch_size=4, sequence_length=33)
    assert reused.report.parity is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"output": "logits"}, "output: 'logits'; expected"),
        ({"output": None}, "output: "),
        ({"embedding_dimension": 2}, r"score float32 \[4, 1\]; expected score float32 \[4, 2\]"),
        ({"head": [], "token_dimension": 1}, "output: score without a head"),
    ],
    ids=["unknown", "null", "two numbers", "no head"],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    reranker: Artifact, change: dict[str, Any], words: str
) -> None:
    content = json.loads((reranker.path / "mlx.json").read_text()) | change
    with pytest.raises(ArtifactError, match=words):
        parse_manifest(json.dumps(content).encode())


def test_without_the_output_the_graphs_contradict_the_manifest(reranker: Artifact) -> None:
    content = json.loads((reranker.path / "mlx.json").read_text())
    del content["output"]
    with pytest.raises(ArtifactError, match=r"graphs.fixed.outputs: score float32"):
        parse_manifest(json.dumps(content).encode())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pack": 4}, "a packed graph"),
        ({"fixed_consumers": True}, "a fixed graph for other libraries"),
        ({"dimension": 16}, "dimension 16"),
        ({"precision": "int8"}, "precision int8"),
        ({"pooling": "mean"}, "pooling 'mean'"),
        ({"from_onnx": True}, "an ONNX file"),
    ],
    ids=["packed", "fixed consumers", "dimension", "int8", "pooling", "ONNX"],
)
def test_a_setting_for_embeddings_is_refused(
    reranker_folder: Path, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ExportError, match="is a cross-encoder, which scores pairs") as caught:
        minilmx.export_model(str(reranker_folder), tmp_path / "out", **settings)
    assert caught.value.message.startswith(words)
    assert caught.value.unused
    assert not (tmp_path / "out").exists()


def test_several_labels_are_refused(tmp_path: Path, mlx: Mlx) -> None:
    folder = write_reranker(tmp_path / "model", labels=3)
    outcome = mlx("export", folder)
    assert outcome.code == 3, outcome
    assert "model gives 3 scores per pair of texts, one per label; expected 1. Choose" in outcome.stderr
    assert mlx("inspect", folder).code == 3


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("config.json", {"model_type": "xlnet"}, "a cross-encoder of the architecture 'xlnet'"),
        ("config.json", {"id2label": None}, "gives 2 scores per pair"),
        (
            "config.json",
            {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Softplus"}},
            "activation_fn 'torch.nn.modules.activation.Softplus'",
        ),
    ],
    ids=["architecture", "labels", "activation"],
)
def test_a_cross_encoder_that_minilmx_does_not_know(
    reranker_folder: Path, tmp_path: Path, file: str, change: dict[str, Any], words: str
) -> None:
    folder = Path(shutil.copytree(reranker_folder, tmp_path / "model"))
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(content | change))
    with pytest.raises(ModelError, match=words):
        minilmx.export_model(str(folder), tmp_path / "out")


def test_weights_without_the_head_are_refused(reranker_folder: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = Path(shutil.copytree(reranker_folder, tmp_path / "model"))
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ModelError, match=r"no tensor classifier.weight; expected the head of a cross-encoder"
    ):
        minilmx.export_model(str(folder), tmp_path / "out")


def test_a_damaged_head_is_not_exported(reranker_folder: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = Path(shutil.copytree(reranker_folder, tmp_path / "model"))
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.bias"] = np.full_like(tensors["classifier.bias"], np.nan)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ExportError, match="score differs from the model's"):
        minilmx.export_model(str(folder), tmp_path / "out", sequence_length=24)
    assert not (tmp_path / "out").exists()


def test_pairs_are_truncated_as_transformers_truncates_them(
    reranker: Artifact, reranker_folder: Path
) -> None:
    from transformers import AutoTokenizer

    auto = AutoTokenizer.from_pretrained(reranker_folder, local_files_only=True)
    tokenized = open_tokenizer(reranker).encode_pairs(PAIRS)
    firsts, seconds = map(list, zip(*PAIRS, strict=True))
    expected = auto(
        firsts, seconds, truncation=True, max_length=33, padding="max_length", return_tensors="np"
    )
    for name, array in tokenized.tokens.feeds().items():
        assert np.array_equal(array, expected[name]), name
    whole = auto(firsts, seconds)["input_ids"]
    assert tokenized.truncated.tolist() == [len(ids) > 33 for ids in whole]


def test_the_model_card_shows_a_pair_and_its_code_runs(
    reranker: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reranker.path)
    card = (reranker.path / "README.md").read_text()
    assert "pipeline_tag: text-ranking" in card and "activation sigmoid" in card
    names: dict[str, Any] = {}
    exec(card.split("```python\n")[1].split("```")[0], names)
    with minilmx.Scorer(open_artifact(reranker.path)) as scorer:
        expected = scorer.score([("One sentence.", "Another one.")])
    assert np.allclose(names["scores"][:, 0], expected, atol=1e-6)


def test_openvino_gives_the_same_scores(reranker: Artifact, reranker_folder: Path) -> None:
    pytest.importorskip("openvino", reason="needs OpenVINO")
    found = scores(reranker, "dynamic", "openvino")
    assert np.abs(found - reference(reranker_folder, 33)).max() <= LIMIT


def test_a_sequence_length_without_room_for_both_texts_is_refused(
    reranker_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ExportError, match=r"sequence length: 4; expected at least 5, .* one more of each text"
    ):
        minilmx.export_model(str(reranker_folder), tmp_path / "out", sequence_length=4)
    made = minilmx.export_model(str(reranker_folder), tmp_path / "out", sequence_length=5, mask="bool")
    assert np.abs(scores(made, "fixed") - reference(reranker_folder, 5)).max() <= LIMIT


def test_without_sentence_transformers_there_is_no_proof_and_no_export(
    reranker_folder: Path, tmp_path: Path
) -> None:
    code = (
        "import sys; sys.modules['sentence_transformers'] = None; import minilmx; "
        f"minilmx.export_model({str(reranker_folder)!r}, {str(tmp_path / 'out')!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "with those of sentence-transformers, which is not installed. Run pip install" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_limit_of_parity_grows_with_the_largest_score(reranker_folder: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = Path(shutil.copytree(reranker_folder, tmp_path / "model"))
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"] *= 3000
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    content = json.loads((folder / "config.json").read_text())
    content["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    (folder / "config.json").write_text(json.dumps(content))
    tensors["classifier.bias"] -= np.median(reference(folder, 24))  # so that some scores are near 0
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    artifact = minilmx.export_model(str(folder), tmp_path / "out", batch_size=2, sequence_length=24)
    expected = reference(folder, 24)
    assert np.abs(expected).max() > 100
    assert np.abs(scores(artifact, "fixed") - expected).max() <= LIMIT * np.abs(expected).max()
