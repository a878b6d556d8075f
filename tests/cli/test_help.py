"""What a new user sees: help for every command and option, the version, and the lists."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import click
import pytest
from tests.conftest import Mlx

from minilmx.cli import cli
from minilmx.runners.registry import runner_names


def commands(group: click.Group = cli, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*words, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))


def find(words: tuple[str, ...]) -> click.Command:
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    return command


ALL = list(commands())


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_and_every_option_has_help(words: tuple[str, ...], mlx: Mlx) -> None:
    command = find(words)
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.opts
            assert parameter.help.endswith((".", "]")), parameter.opts
    outcome = mlx(*words, "--help")
    assert outcome.code == 0
    assert outcome.stdout.startswith(f"Usage: mlx {' '.join(words)}")
    assert outcome.stderr == ""


def test_help_lists_every_command_and_the_exit_codes(mlx: Mlx) -> None:
    outcome = mlx("--help")
    assert outcome.code == 0
    for name in ("export", "run", "eval", "inspect", "models", "runners"):
        assert f"\n  {name} " in outcome.stdout
    codes = (
        "0 success, 1 embeddings that are not SAME, a broken limit, or a number that is not finite, 2 wrong"
    )
    assert codes in " ".join(outcome.stdout.split())
    assert mlx("-h").stdout == outcome.stdout


@pytest.mark.parametrize("words", [(), ("golden",), ("groq",)], ids=["mlx", "golden", "groq"])
def test_no_line_of_a_list_of_commands_is_cut_off(words: tuple[str, ...], mlx: Mlx) -> None:
    assert "..." not in mlx(*words, "--help").stdout.replace("[ARGS]...", "")


def test_mlx_without_a_command_shows_the_help(mlx: Mlx) -> None:
    outcome = mlx()
    assert outcome.code == 2
    assert "Commands:" in outcome.stdout + outcome.stderr


@pytest.mark.parametrize("command", [["-m", "minilmx"], ["mlx"]])
def test_mlx_and_python_m_minilmx_are_the_same(command: list[str]) -> None:
    start = [sys.executable, *command]
    if command == ["mlx"]:
        script = Path(sys.executable).parent / "mlx"
        if not script.exists():
            pytest.skip("mlx is not installed beside this Python")
        start = [str(script)]
    done = subprocess.run([*start, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"mlx, version {metadata.version('minilmx')}\n"


def test_models_lists_what_is_known(mlx: Mlx) -> None:
    outcome = mlx("models")
    assert outcome.code == 0
    assert "all-MiniLM-L6-v2 " in outcome.stdout
    assert "8b3219a92973" in outcome.stdout
    assert "82.03" in outcome.stdout
    listed = json.loads(mlx("models", "--json").stdout)
    assert listed[0]["name"] == "all-MiniLM-L6-v2"
    assert len(listed) == 5


def test_runners_lists_what_can_run_here(mlx: Mlx) -> None:
    outcome = mlx("runners")
    assert outcome.code == 0
    listed = {entry["name"]: entry for entry in json.loads(mlx("runners", "--json").stdout)}
    assert list(listed) == runner_names()
    assert listed["onnxruntime"]["missing"] is None
    assert "emulated" in listed["groq-emulator"]["about"]
    for name, entry in listed.items():
        assert name in outcome.stdout
        assert entry["missing"] is None or entry["missing"] in outcome.stdout


def test_inspect_shows_what_an_artifact_is(tiny: Path, mlx: Mlx) -> None:
    text = mlx("inspect", tiny).stdout
    assert "batch size 4, sequence length 16" in text
    assert "input_ids int64 [4, 16]" in text
    assert "sentence_embedding float32 [4, 8]" in text
    document = json.loads(mlx("inspect", tiny, "--json").stdout)
    assert document["verified"] is True
    assert document["shape"] == {"batch_size": 4, "sequence_length": 16}
    assert document["ops"]["Tanh"] == 1


def test_a_shell_completes_the_commands(mlx: Mlx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MLX_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "mlx ev")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert mlx().stdout == "plain,eval\n"
