"""The names that others build on: to change one is to break them."""

import inspect
from dataclasses import fields

import pytest

from minilmx import __version__, errors
from minilmx.eval.metrics.correlation import Scores
from minilmx.eval.metrics.drift import Drift
from minilmx.models.tokenizer import TokenBatch
from minilmx.runners.base import Runner, RunnerEntry
from minilmx.runners.registry import ENTRY_POINT_GROUP, runner_names


def test_the_errors_are_one_tree_and_their_module_shows_it() -> None:
    found = {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__
    }
    assert set(found) == {
        "MinilmxError",
        "ModelError",
        "ExportError",
        "ArtifactError",
        "RunnerError",
        "RunnerUnavailable",
        "RunnerFailed",
        "DatasetError",
        "EvalError",
        "OutputError",
    }
    for name, kind in found.items():
        assert issubclass(kind, errors.MinilmxError)
        assert name in (errors.__doc__ or "")
    assert issubclass(errors.RunnerFailed, errors.RunnerError)
    assert issubclass(errors.RunnerUnavailable, errors.RunnerError)


def test_the_interface_of_plug_ins_keeps_its_names() -> None:
    assert ENTRY_POINT_GROUP == "minilmx.runners"
    assert [field.name for field in fields(RunnerEntry)] == [
        "name",
        "about",
        "missing",
        "open",
        "options",
        "graphs",
        "verifies",
        "scores",
        "versions",
    ]
    assert {"details", "versions", "run", "close", "concurrency", "__enter__", "__exit__"} <= set(dir(Runner))
    assert [field.name for field in fields(TokenBatch)] == [
        "input_ids",
        "attention_mask",
        "token_type_ids",
    ]


def test_the_built_in_runners_keep_their_names() -> None:
    assert {"onnxruntime", "torch", "groq-emulator"} <= set(runner_names())


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (Scores, ["spearman", "pearson"]),
        (
            Drift,
            ["finite", "max_abs", "mean_abs", "rms_abs", "p99_abs", "min_cosine", "mean_cosine"],
        ),
    ],
)
def test_results_keep_their_fields(record: type, names: list[str]) -> None:
    assert set(names) <= {field.name for field in fields(record)}


def test_there_is_a_version() -> None:
    assert __version__.count(".") == 2
