"""The real MiniLM through the real GroqFlow with the stand-in SDK, against onnxruntime."""

import json
import re
from pathlib import Path

import pytest

STSB = Path(__file__).parents[4] / "shared" / "stsb" / "stsb-en-test.csv"


def evaluate(machine, artifact, *words):
    if not STSB.exists():
        pytest.skip(f"needs the data set {STSB}")
    output = machine.folder / "result.json"
    code, stdout, stderr = machine.run(
        *("eval", artifact.path, "--dataset", STSB, "--runner", "onnxruntime", "--runner", "groq"),
        *("-o", output, "--force", *words),
    )
    assert code == 0, stderr
    assert machine.is_quiet()
    return json.loads(output.read_text())["evaluations"][0], stdout


def is_as_good(document):
    cpu, groq = document["runners"]
    spearman = [100 * runner["scores"]["spearman"] for runner in (cpu, groq)]
    drift = groq["comparison"]["drift"]
    assert 0 < drift["max_abs"] <= 1e-3
    assert drift["min_cosine"] > 0.99999
    assert abs(spearman[0] - spearman[1]) <= 0.02
    return spearman[0]


@pytest.mark.timeout(300)
def test_minilm_on_the_first_40_pairs_of_stsb_is_as_good_as_onnxruntime(built_minilm, artifact):
    document, stdout = evaluate(built_minilm, artifact, "--limit", 40)
    assert is_as_good(document) > 80
    assert document["pairs"] == 40
    assert "its numbers are not from a GroqCard" in stdout


@pytest.mark.slow
def test_minilm_on_all_1379_pairs_of_stsb_is_as_good_as_onnxruntime(built_packed, complete):
    """On the packed graph, which takes a quarter of the tokens that the fixed one does."""
    document, _ = evaluate(built_packed, complete, "--graph", "packed")
    assert is_as_good(document) == pytest.approx(82.03, abs=0.01)
    assert document["pairs"] == 1379


def test_the_build_of_minilm_warns_of_low_headroom_and_checks_the_conversion(built_minilm):
    found = re.search(r"preflight: values reach ([\d,]+), 1\.3\d times below", built_minilm.stderr)
    assert 47_000 < int(found.group(1).replace(",", "")) < 51_000
    error = re.search(r"FP16 conversion checked on the CPU: relative error (\S+)", built_minilm.stderr)
    assert 1e-4 < float(error.group(1)) < 3e-3
    assert re.search(r"^chips +1$", built_minilm.stdout, re.MULTILINE)
    program = re.search(r"output\.iop ([\d,]+) bytes", built_minilm.stdout).group(1)
    assert 44_000_000 < int(program.replace(",", "")) < 47_000_000  # two bytes per parameter
