"""The worker's verb build with the real GroqFlow, and every switch of the stand-in tools."""

import ast
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from minilmx.runners.groq import worker

WORKER = Path(worker.__file__)
STAGES = ["receive_onnx", "optimize_onnx", "check_compatibility", "fp16_conversion", "compile", "assemble"]


def test_the_worker_is_valid_python_3_8():
    ast.parse(WORKER.read_text(), feature_version=(3, 8))


def test_a_python_without_groqflow_is_named(start, project):
    error = start(project.build, python=sys.executable).finish()
    assert error["kind"] == "environment"
    assert sys.executable in error["message"]
    assert "3.8 to 3.10" in error["message"]


@pytest.mark.parametrize("job", [b"not JSON", b'{"verb": "dance"}', b""])
def test_an_invalid_job_is_an_error(start, job):
    assert start(job).finish()["kind"] == "job"


def test_build_reports_stages_and_facts(start, project):
    worker = start(project.build)
    events = []
    while not events or events[-1]["event"] == "stage":
        events.append(worker.receive()[0])
    result = events.pop()
    assert [event["stage"] for event in events if event["status"] == "done"] == STAGES
    assert all(event["seconds"] > 0 for event in events if event["status"] == "done")
    assert result["event"] == "result"
    assert result["output_names"] == ["last_hidden_state", "sentence_embedding"]
    assert sorted(result["program_bytes"].values())[0] > project.onnx.stat().st_size / 2
    assert result["chips"] == 1
    assert result["info"]["opt_onnx_unsupported_ops"] == []
    assert "MatMul" in result["info"]["opt_onnx_ops"]
    assert result["versions"]["groqflow"] == "4.3.1"
    assert result["versions"]["onnxconverter-common"] == "1.13.0"
    assert result["versions"]["numpy"].startswith("1.")
    # GroqFlow's formula: cycles at 900 MHz, and 10 us + bytes / 24 GB/s each way. 3 x 8 int32 in; 32 + 4
    # float16 out.
    pcie_seconds = 2e-5 + (3 * 8 * 4 + (32 + 4) * 2) / 24e9
    assert result["info"]["estimated_latency"] == pytest.approx(result["total_cycles"] / 900e6 + pcie_seconds)


def external(project):
    path = project.onnx
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights", size_threshold=0)


def symbolic(project):
    model = onnx.load(project.onnx)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "sequence"
    onnx.save(model, project.onnx)


GRAPHS = {
    "IR version": (lambda project: project.write(ir=10), "receive_onnx", "ir_version 10 is higher"),
    "opset too old": (lambda project: project.write(opset=12), "receive_onnx", "opset 12"),
    "symbolic dims": (symbolic, "receive_onnx", "dynamic input dimensions"),
    "external data": (external, "receive_onnx", "weights"),
    "not ONNX": (lambda project: project.onnx.write_bytes(b"no graph"), None, "DecodeError"),
    "no file": (lambda project: project.onnx.unlink(), None, "tiny.onnx"),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_a_graph_that_groqflow_refuses(start, project, case):
    spoil, stage, fragment = GRAPHS[case]
    spoil(project)
    error = start(project.build).finish()
    assert error["kind"] == "build"
    assert error["stage"] == stage
    assert fragment in error["message"]


def test_a_folder_that_holds_a_build_is_refused(start, project):
    project.cache.joinpath("tiny").mkdir(parents=True)
    project.cache.joinpath("tiny", "tiny_state.yaml").write_text("{")
    error = start(project.build).finish()
    assert error["kind"] == "job"
    assert "another build" in error["message"]


def test_a_folder_named_like_a_program_is_refused(start, project):
    error = start({**project.build, "cache_dir": str(project.cache / "output.d")}).finish()
    assert error["kind"] == "job"
    assert "output." in error["message"]


def test_pickled_inputs_are_refused(start, project):
    np.savez(project.inputs, input_ids=np.array([{"a": 1}], dtype=object))
    error = start(project.build).finish()
    assert error["kind"] == "job"
    assert "allow_pickle" in error["message"]


def test_a_tool_that_reads_stdin_gets_nothing(start, project):
    assert start(project.build, GROQWARE_COMPILER="ask").finish()["event"] == "result"


def test_a_users_environment_does_not_change_the_build(start, project, tmp_path):
    home = tmp_path / "c++(home"  # GroqFlow uses it as a regular expression
    home.mkdir()
    settings = {"GROQMODEL_BACKEND": "remote", "GROQIT_REBUILD_POLICY": "wrong", "GROQFLOW_BAKE_SDK": "True"}
    assert start(project.build, HOME=str(home), LC_ALL="C", **settings).finish()["event"] == "result"
