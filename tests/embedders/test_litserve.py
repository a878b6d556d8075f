"""A real server of OpenAI's protocol, LitServe, with the weights of all-MiniLM-L6-v2."""

import os
import socket
import subprocess
import time
import urllib.request
from importlib import resources
from pathlib import Path

import pytest
from tests.conftest import Mlx

from minilmx.models.artifact import Artifact
from minilmx.models.model_folder import ModelSource

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("MINILMX_SERVERS_PYTHON", ROOT / ".venv-servers" / "bin" / "python"))
START_SECONDS = 300

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs LitServe: tests/environments.sh installs it"),
]


ANSWERS = {
    "same": ("SAME", "differs by no more than rounding"),
    "unnormalised": ("DRIFTED", "; it is not normalised (norms "),
    "float16": ("DRIFTED", "; its numbers are float16, and the reference's are float32"),
    "other": ("DIFFERENT", "does not return the same"),
}


def test_the_models_of_a_real_server_are_compared(
    artifact: Artifact, real_source: ModelSource, tmp_path: Path, mlx: Mlx
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).with_name("litserve_server.py")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    server = subprocess.Popen(
        [PYTHON, script, str(port), str(real_source.folder)],
        env=environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    lines = (resources.files("minilmx.eval.datasets") / "pairs.csv").read_text("utf-8").splitlines()
    (tmp_path / "few.csv").write_text("\n".join(lines[:41]))
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        for name, (answer, reason) in ANSWERS.items():
            url = f"openai:http://127.0.0.1:{port}/v1?model={name}"
            words = (url, f"{url}&encoding_format=base64", "--dataset", "few.csv")
            outcome = mlx("compare", artifact.path, *words)
            first, *rest = outcome.stdout.splitlines()
            assert first.startswith(f"{answer}: "), outcome
            assert reason in first
            assert "2 of 2 comparisons" in first
            assert any("the same texts" in line for line in rest)
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def wait_for(url: str) -> None:
    """Wait until the server has loaded its model."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server does not start")
