"""mlx check with the tiny model, and with consumers that are installed or imitated."""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.conftest import Mlx, reseal

from minilmx.eval.consumers.check import Finding, answer
from minilmx.eval.consumers.registry import CONSUMERS
from minilmx.eval.consumers.texts import varied_texts
from minilmx.models.artifact import open_artifact
from minilmx.models.tokenizer import Tokenizer


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Install an imitation of txtai, with this source, in this Python."""

    def install(source: str) -> None:
        packages = tmp_path / "packages"
        _put_txtai(packages, source)
        path = os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")])
        monkeypatch.setenv("PYTHONPATH", path)

    return install


def _put_txtai(packages: Path, source: str) -> None:
    packages.mkdir(exist_ok=True)
    (packages / "txtai.py").write_text(source, encoding="utf-8")
    for name in CONSUMERS["txtai"].packages:
        info = packages / f"{name.replace('-', '_')}-9.9.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n", "utf-8")


def test_onnxruntime_agrees_with_the_artifact(tiny: Path, mlx: Mlx) -> None:
    outcome = mlx("check", tiny, "--consumer", "onnxruntime", "--json")
    assert outcome.code == 0, outcome
    [finding] = json.loads(outcome.stdout)
    assert finding["state"] == "agrees"
    assert finding["place"] == sys.executable
    assert 0 <= finding["max_abs"] <= 1e-5
    assert finding["min_cosine"] > 0.999999
    assert finding["same_ids"] is True


def test_other_token_ids_are_found_though_no_embedding_differs(
    tiny: Path, mlx: Mlx, pretend: Callable[[str], None]
) -> None:
    # txtai's snippet has no tokenizer; this imitation lends it one that loses all capitals.
    pretend(
        """
import pathlib, runpy, sys
import numpy, onnxruntime, tokenizers
folder = pathlib.Path(sys.argv[0]).parent
class Embeddings:
    def __init__(self, path, **settings):
        tokenizer = tokenizers.Tokenizer.from_file(path + "/tokenizer.json")
        session = onnxruntime.InferenceSession(path + "/onnx/model.onnx")
        def transform(texts):
            encoded = tokenizer.encode_batch(texts)
            names = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
            feeds = {n: numpy.array([getattr(e, a) for e in encoded]) for n, a in names.items()}
            return session.run(["sentence_embedding"], feeds)[0]
        self.batchtransform = transform
        other = tokenizers.Tokenizer.from_file(path + "/tokenizer.json")
        other.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=False)
        sys._getframe(1).f_globals["tokenizer"] = other
    index = search = lambda *a, **k: None
"""
    )
    outcome = mlx("check", tiny, "--consumer", "txtai", "--json")
    assert outcome.code == 1, outcome
    [finding] = json.loads(outcome.stdout)
    assert (finding["state"], finding["same_ids"]) == ("disagrees", False)
    assert finding["max_abs"] <= 1e-5
    assert "gives other token ids for the text 'The CAT sat" in finding["reason"]


def test_what_is_not_installed_is_listed_with_its_install_command(tiny: Path, mlx: Mlx) -> None:
    outcome = mlx("check", tiny)
    assert outcome.code == 0, outcome
    lines = outcome.stdout.splitlines()
    assert re.fullmatch(r"SAME: the embeddings agree in onnxruntime.*: max abs \S+", lines[0])
    assert lines[1].split() == ["consumer", "version", "result", "max", "abs", "min", "cosine", "ids"]
    for name, consumer in CONSUMERS.items():
        shown = any(line.startswith(f"{name} ") for line in lines)
        assert shown == (consumer.graph == "dynamic"), name  # tiny has no settings for its fixed graph
    assert "missing: @huggingface/transformers" in outcome.stdout
    assert CONSUMERS["transformers-js"].install in outcome.stdout


def test_a_requested_consumer_that_is_not_installed_is_an_error(tiny: Path, mlx: Mlx) -> None:
    outcome = mlx("check", tiny, "--consumer", "transformers-js")
    assert outcome.code == 3, outcome
    assert "transformers-js is not installed" in outcome.stderr
    assert "npm install" in outcome.stderr
    assert outcome.stdout == ""


def test_packages_in_the_working_directory_do_not_count_as_installed(
    tiny: Path, mlx: Mlx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put_txtai(tmp_path / "here", "")
    (tmp_path / "here" / "json.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path / "here")
    outcome = mlx("check", tiny, "--consumer", "txtai")
    assert outcome.code == 3, outcome
    assert "txtai is not installed" in outcome.stderr


def test_a_dynamic_shape_graph_with_other_weights_is_found(tiny: Path, mlx: Mlx) -> None:
    artifact = open_artifact(tiny)
    model = onnx.load(artifact.dynamic_graph)
    [weights] = [tensor for tensor in model.graph.initializer if tensor.name == "mix"]
    altered = numpy_helper.to_array(weights).copy()
    altered[0, 0] += np.float32(1e-3)
    weights.CopyFrom(numpy_helper.from_array(altered, "mix"))
    onnx.save(model, artifact.dynamic_graph)
    reseal(tiny)
    assert mlx("inspect", tiny).code == 0
    outcome = mlx("check", tiny, "--consumer", "onnxruntime")
    assert outcome.code == 1, outcome
    reason = r"onnxruntime differs by \S+ at batch size 1, on the text .*"
    assert re.match(rf"DIFFERENT: {reason} \(disagrees: 1 of 1\)\n", outcome.stdout)
    assert "disagrees" in outcome.stdout
    assert "differs by" in outcome.stdout
    assert "on the text" in outcome.stdout
    assert "export the model again" in outcome.stdout


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise OSError('no such\\n  file')", "OSError: no such file"),
        ("import os, sys; print('out of paper', file=sys.stderr); sys.stderr.flush(); os._exit(7)",
         "ended with exit code 7: out of paper"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was ended by signal 9"),
        ("import time; time.sleep(600)", "was stopped after 5 seconds"),
        ("class Embeddings:\n    __init__ = index = search = lambda *a, **k: None\n"
         "    batchtransform = lambda self, texts: [[0.0] for text in texts]",
         "expected"),
        ("class Embeddings:\n    __init__ = index = search = lambda *a, **k: None\n"
         "    batchtransform = lambda self, texts: [[float('nan')] * 8 for text in texts]",
         "not finite at batch size 1"),
    ],
    ids=["error", "exit", "killed", "hangs", "another shape", "not finite"],
)  # fmt: skip
def test_a_consumer_that_fails_is_reported_in_one_clear_line(
    tiny: Path, mlx: Mlx, pretend: Callable[[str], None], source: str, reason: str
) -> None:
    pretend(source)
    limit = "5" if "sleep" in source else "60"
    outcome = mlx("check", tiny, "--consumer", "txtai", "--json", "--time-limit", limit)
    assert outcome.code == 1, outcome
    [finding] = json.loads(outcome.stdout)
    assert finding["state"] == "fails"
    assert finding["version"] == "9.9"
    assert reason in finding["reason"]
    assert "\n" not in finding["reason"]
    assert "pip install" in finding["remedy"]


def test_a_library_that_fails_and_none_at_all_are_not_called_the_same() -> None:
    missing = Finding("fastembed", "dynamic", "not installed", 1e-5)
    agrees = Finding("onnxruntime", "dynamic", "agrees", 1e-5, max_abs=2e-7)
    fails = Finding("txtai", "dynamic", "fails", 1e-5, reason="was ended by signal 9")
    assert answer([missing]) == "nothing to compare: none of the libraries is installed"
    assert answer([missing, agrees]) == "SAME: the embeddings agree in onnxruntime: max abs 2.0e-07"
    assert answer([agrees, fails, missing]) == "FAIL: txtai was ended by signal 9 (fails: 1 of 2)"


def test_bad_arguments_are_refused(tiny: Path, tmp_path: Path, mlx: Mlx) -> None:
    unknown = mlx("check", tiny, "--consumer", "numpy")
    assert unknown.code == 2
    assert "expected one of onnxruntime, " in unknown.stderr
    no_python = tmp_path / "no-python"
    no_python.write_text("#!/bin/sh\nexit 1\n")
    no_python.chmod(0o755)
    refused = mlx("check", tiny, "--python", no_python)
    assert refused.code == 3
    assert refused.stderr.splitlines()[-1].endswith("does not run as a Python: exit code 1")
    assert mlx("check", tiny, "--python", tmp_path / "nowhere").code == 2
    fixed = mlx("check", tiny, "--consumer", "fastembed-fixed")
    assert fixed.code == 3
    assert "for fixed consumers" in fixed.stderr or "is not installed" in fixed.stderr


def test_a_damaged_artifact_is_not_checked(tiny: Path, mlx: Mlx) -> None:
    (tiny / "tokenizer.json").unlink()
    outcome = mlx("check", tiny)
    assert outcome.code == 3
    assert "damaged" in outcome.stderr


def test_the_texts_range_from_one_token_to_truncated(tiny: Path) -> None:
    artifact = open_artifact(tiny)
    texts = varied_texts(artifact)
    tokenized = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(texts)
    special = 2
    lengths = tokenized.token_counts[~tokenized.truncated] - special
    assert sorted(lengths) == list(range(1, artifact.shape.sequence_length - special + 1))
    assert tokenized.truncated.sum() == 3
    assert texts == varied_texts(artifact)
