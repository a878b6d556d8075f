"""The worker's verbs execute and groqflow-run, and every switch of the stand-in runner."""

import shutil
import sys

import numpy as np
import pytest


@pytest.mark.parametrize("verb", ["execute", "groqflow-run"])
def test_each_batch_is_answered_in_order(start, built, verb):
    worker = start(built.job(verb))
    ready, _ = worker.receive()
    assert ready["event"] == "ready"
    assert ready["load_seconds"] > 0
    for seed in range(3):
        result, outputs = worker.call(built.batch(seed))
        assert result["event"] == "result"
        assert result["seconds"] > 0
        assert list(outputs) == ["sentence_embedding"]
        assert outputs["sentence_embedding"].dtype == np.float32
        np.testing.assert_allclose(
            outputs["sentence_embedding"], built.expected(built.batch(seed)), atol=1e-2
        )
    worker.close()


@pytest.mark.parametrize("verb", ["execute", "groqflow-run"])
def test_the_batches_of_a_message_are_answered_in_one(start, built, verb):
    """The stand-in, as a runtime may, returns the same buffers in each call."""
    alone, together = start(built.job(verb)), start(built.job(verb))
    alone.receive(), together.receive()
    expected = [alone.call(built.batch(seed))[1]["sentence_embedding"] for seed in range(3)]
    event, outputs = together.call(*map(built.batch, range(3)))
    assert event["seconds"] > 0
    np.testing.assert_array_equal(outputs["sentence_embedding"], expected)
    assert len(np.unique(expected, axis=0)) == 3
    together.close()


def test_of_the_batches_of_a_message_the_one_that_fails_is_named(start, built):
    worker = start(built.job("execute"), GROQWARE_RUNNER="call:5")
    worker.receive()
    assert worker.call(*map(built.batch, range(3)))[0]["event"] == "result"
    error, _ = worker.call(*map(built.batch, range(3)))
    assert error["message"].startswith("batch 5 failed: RuntimeError: injected failure of call 5")


def test_the_ready_event_names_the_runtime(start, built):
    ready, _ = start(built.job("execute")).receive()
    assert "not.a.card" in ready["sdk"]


def test_execute_needs_no_groqflow(start, built, tmp_path):
    (tmp_path / "groqflow.py").write_text("raise ImportError('it is not to be imported')")
    worker = start(built.job("execute"), PYTHONPATH=str(tmp_path))
    assert worker.receive()[0]["event"] == "ready"
    _, outputs = worker.call(built.batch())
    np.testing.assert_allclose(outputs["sentence_embedding"], built.expected(built.batch()), atol=1e-2)
    worker.close()


def test_a_python_that_the_runtime_is_not_for_is_named(start, built):
    error = start(built.job("execute"), python=sys.executable).finish()
    assert error["kind"] == "environment"
    assert sys.executable in error["message"]


def test_a_single_output_which_groqflow_returns_bare(start, project):
    project.write(outputs=["sentence_embedding"])
    start(project.build).finish()
    worker = start(project.job("groqflow-run"))
    worker.receive()
    _, outputs = worker.call(project.batch())
    assert outputs["sentence_embedding"].shape == (1, 4)


@pytest.mark.parametrize("verb", ["execute", "groqflow-run"])
@pytest.mark.parametrize("declared", ["", "float32"])
def test_outputs_of_either_type_come_back_as_float32(start, built, verb, declared):
    worker = start(built.job(verb), GROQWARE_RUNNER=declared)
    worker.receive()
    _, outputs = worker.call(built.batch())
    assert outputs["sentence_embedding"].dtype == np.float32
    np.testing.assert_allclose(outputs["sentence_embedding"], built.expected(built.batch()), atol=1e-2)


def test_wrong_numbers_and_shapes_are_passed_on_to_the_parent(start, built):
    """The parent checks the shapes and numbers of every runner alike."""
    worker = start(built.job("execute"), GROQWARE_RUNNER="nan")
    worker.receive()
    assert np.isnan(worker.call(built.batch())[1]["sentence_embedding"]).all()
    worker = start(built.job("execute"), GROQWARE_RUNNER="shape")
    worker.receive()
    assert worker.call(built.batch())[1]["sentence_embedding"].shape == (1, 3)


LOADING = {
    "import": ("environment", ["cannot import groq.runner.tsp", "injected failure of the import"]),
    "load": ("program", ["output.iop cannot be loaded", "injected failure of loading"]),
}
CALLS = {
    "call:2": ("program", ["batch 2 failed", "injected failure of call 2"]),
    "missing": ("program", ["batch 1 gave ['last_hidden_state']", "expected ['sentence_embedding']"]),
}
GROQFLOW_CALLS = {
    "import": "injected failure of the import",
    "load": "injected failure of loading",
    "missing": "sentence_embedding",
}


@pytest.mark.parametrize("switch", LOADING)
def test_a_program_that_cannot_be_loaded(start, built, switch):
    kind, fragments = LOADING[switch]
    error = start(built.job("execute"), GROQWARE_RUNNER=switch).finish()
    assert error["kind"] == kind
    assert all(fragment in error["message"] for fragment in fragments), error


@pytest.mark.parametrize("switch", CALLS)
def test_a_call_that_fails(start, built, switch):
    kind, fragments = CALLS[switch]
    worker = start(built.job("execute"), GROQWARE_RUNNER=switch)
    event = worker.receive()[0]
    while event["event"] != "error":
        event = worker.call(built.batch())[0]
    assert event["kind"] == kind
    assert all(fragment in event["message"] for fragment in fragments), event
    assert worker.process.wait(10) == 1


def test_a_runner_that_dies_ends_the_stream(start, built):
    worker = start(built.job("execute"), GROQWARE_RUNNER="die:2")
    worker.receive()
    assert worker.call(built.batch())[0]["event"] == "result"
    assert worker.call(built.batch()) == (None, None)
    assert worker.process.wait(10) < 0


@pytest.mark.parametrize("switch", GROQFLOW_CALLS)
def test_groqflows_own_run_says_why_it_failed(start, built, switch):
    worker = start(built.job("groqflow-run"), GROQWARE_RUNNER=switch)
    assert worker.receive()[0]["event"] == "ready"
    error, _ = worker.call(built.batch())
    assert error["kind"] == "program"
    assert GROQFLOW_CALLS[switch] in error["message"], error
    assert worker.process.wait(10) == 1


@pytest.mark.parametrize("backend", ["auto", "cloud", "remote"])
def test_no_input_ever_leaves_this_machine(start, built, backend):
    worker = start(built.job("groqflow-run"), GROQMODEL_BACKEND=backend, GROQWARE_CARDS="0")
    worker.receive()
    assert "only has 0 GroqChip" in worker.call(built.batch())[0]["message"]  # the local backend says that


def test_a_batch_that_does_not_fit_the_program(start, built):
    for verb in ("execute", "groqflow-run"):
        worker = start(built.job(verb))
        worker.receive()
        error, _ = worker.call(built.batch(sequence=9))
        assert error["kind"] == "program"
        assert "9" in error["message"]


def test_an_input_of_another_type_is_the_runtimes_own_error(start, built):
    worker = start(built.job("execute"))
    worker.receive()
    batch = built.batch()
    error, _ = worker.call({**batch, "attention_mask": batch["attention_mask"].astype(bool)})
    assert error["kind"] == "program"
    assert "BufferMismatchException: attention_mask is int8, expected int32" in error["message"]


def test_a_moved_build_runs_at_its_new_place_and_its_state_is_not_changed(start, built, tmp_path):
    shutil.copytree(built.cache, tmp_path / "moved")
    state = tmp_path / "moved/tiny/tiny_state.yaml"
    nowhere = state.read_text().replace(str(built.cache), "/nowhere")
    state.write_text(nowhere)
    worker = start(built.job("groqflow-run", cache_dir=str(tmp_path / "moved")))
    worker.receive()
    assert worker.call(built.batch())[0]["event"] == "result"
    assert state.read_text() == nowhere
    worker.close()


def test_a_build_of_another_model_is_refused(start, built):
    error = start(built.job("groqflow-run", onnx_sha256="0" * 64)).finish()
    assert f"; expected '{'0' * 64}'" in error["message"]
    assert ": model_hash is '" in error["message"]


@pytest.mark.parametrize("text", ["{garbled", "", "config: 1"])
def test_a_garbled_state_is_refused(start, built, tmp_path, text):
    shutil.copytree(built.cache, tmp_path / "moved")
    (tmp_path / "moved/tiny/tiny_state.yaml").write_text(text)
    error = start(built.job("groqflow-run", cache_dir=str(tmp_path / "moved"))).finish()
    assert error["kind"] == "program"
    assert "cannot be loaded" in error["message"]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("build_name: tiny", "build_name: other", "build_name is 'other'; expected 'tiny'"),
        ("build_name: tiny", "build_name: ../other", "build_name is '../other'; expected 'tiny'"),
        ("config:", "build_name: tiny\nconfig:", "unknown field 'build_name'"),
        ("monitor:", "save_when_setting_attribute: true\nmonitor:", "unknown field 'save_when_setting"),
        ("model_type: onnx_file", "model_type: pytorch", "model_type is 'pytorch'; expected 'onnx_file'"),
        ("monitor: false", "monitor: !!python/name:os.getcwd", "cannot be loaded"),
        ("- sentence_embedding", "- last_hidden_state", "expected_output_names is ["),
    ],
)
def test_a_state_that_names_another_program_is_refused_and_nothing_is_written(
    start, built, tmp_path, before, after, words
):
    shutil.copytree(built.cache, tmp_path / "moved")
    shutil.copytree(built.cache / "tiny", tmp_path / "moved/other")
    (tmp_path / "moved/other/tiny_state.yaml").rename(tmp_path / "moved/other/other_state.yaml")
    state = tmp_path / "moved/tiny/tiny_state.yaml"
    text = state.read_text().replace(str(built.cache), str(tmp_path / "outside"))
    assert text.count(before) >= 1
    state.write_text(text.replace(before, after, 1))
    held = sorted((tmp_path / "moved").rglob("*"))
    names = ["last_hidden_state", "sentence_embedding"]
    job = built.job("groqflow-run", cache_dir=str(tmp_path / "moved"), output_names=names)
    error = start(job).finish()
    assert error["kind"] == "program"
    assert words in error["message"]
    assert sorted((tmp_path / "moved").rglob("*")) == held
    assert not (tmp_path / "outside").exists()


def test_a_damaged_program_is_refused(start, built, tmp_path):
    job = built.job("execute")
    damaged = tmp_path / "damaged"
    with open(job["iop"], "rb") as file:
        damaged.write_bytes(file.read()[:-100])
    error = start({**job, "iop": str(damaged)}).finish()
    assert error["kind"] == "program"
    assert "damaged" in error["message"]


def test_a_frame_that_is_cut_off_or_asks_for_objects_is_refused(start, built):
    cut_off = b'{"tensors": [["input_ids", "<i8", [1, 8]]]}\nxx'
    objects = b'{"tensors": [["input_ids", "|O", [1]]]}\n' + b"x" * 8
    for line in (cut_off, objects):
        worker = start(built.job("execute"))
        worker.receive()
        worker.process.stdin.write(line)
        worker.process.stdin.close()
        assert worker.receive()[0]["event"] == "error"
