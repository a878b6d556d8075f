"""A real server of KServe's protocol, MLServer, with the graphs of all-MiniLM-L6-v2."""

import json
import os
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.conftest import Mlx
from tests.embedders.test_litserve import wait_for

from minilmx.models.artifact import Artifact

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("MINILMX_MLSERVER_PYTHON", ROOT / ".venv-mlserver" / "bin" / "python"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="needs MLServer: tests/environments.sh installs it"),
]


def test_a_real_server_is_compared_by_tokens_and_by_texts(
    artifact: Artifact, tmp_path: Path, mlx: Mlx
) -> None:
    with ExitStack() as free:
        ports = [free.enter_context(socket.socket()) for _ in range(3)]
        for port in ports:
            port.bind(("127.0.0.1", 0))
        names = ("http_port", "grpc_port", "metrics_port")
        settings = {name: port.getsockname()[1] for name, port in zip(names, ports, strict=True)}
    models = tmp_path / "models"
    write(models / "settings.json", {"host": "127.0.0.1", "parallel_workers": 0, **settings})
    tokens = [{"name": "input_ids", "datatype": "INT64", "shape": [8, 48]}]
    texts = [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    for name, uri, inputs in (
        ("Tokens", artifact.fixed_graph, tokens),
        ("Texts", artifact.path, texts),
    ):
        implementation = f"mlserver_model.{name}"
        parameters = {"uri": str(uri)}
        document = {
            "name": name,
            "implementation": implementation,
            "inputs": inputs,
            "parameters": parameters,
        }
        write(models / name / "model-settings.json", document)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [PYTHON, "-m", "mlserver.cli.main", "start", models],
        env=environment | {"PYTHONPATH": str(Path(__file__).parent)},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"kserve:http://127.0.0.1:{settings['http_port']}?model="
    try:
        wait_for(f"http://127.0.0.1:{settings['http_port']}/v2/health/ready")
        (tmp_path / "few.txt").write_text("A man is playing a guitar.\nOne.\nThe weather is good today.\n")
        spelled = (f"{url}Tokens&artifact={artifact.path}", f"{url}Texts")
        outcome = mlx("compare", artifact.path, *spelled, "--texts", tmp_path / "few.txt", "--json")
        alone = mlx("compare", artifact.path, f"{url}Tokens", "--texts", tmp_path / "few.txt")
        unknown = mlx("compare", artifact.path, f"{url}Nothing", "--texts", tmp_path / "few.txt")
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)
    assert outcome.code == 0, outcome
    _, *runs = json.loads(outcome.stdout)["evaluations"][0]["runners"]
    assert [run["details"]["inputs"] for run in runs] == ["the same token batches", "the same texts"]
    assert all(run["comparison"]["drift"]["max_abs"] < 1e-5 for run in runs)
    assert alone.code == 3
    assert "the inputs input_ids INT64; expected one of texts (BYTES)" in alone.stderr
    assert unknown.code == 3
    assert "HTTP 404: Model Nothing not found; expected HTTP 200" in unknown.stderr


def write(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
