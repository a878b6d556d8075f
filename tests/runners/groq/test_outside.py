"""Commands for a GroqCard, over the stand-ins: no network, and no files but in the machine's own folders."""

import sys

import pytest
from tests.cli.test_outside import STRACE, require_inside, strace


@pytest.mark.skipif(STRACE is None, reason="needs strace, to see every file and socket")
@pytest.mark.parametrize("words", [("build", "TINY"), ("selftest",)], ids=lambda words: words[0])
def test_a_command_opens_no_socket_and_writes_nowhere_else(machine, tiny, tmp_path, words):
    log = tmp_path / "strace.log"
    words = [tiny if word == "TINY" else word for word in words]
    traced = (*strace(log), sys.executable, "-m", "minilmx")
    outcome = machine.run("groq", *words, command=traced, PYTHONDONTWRITEBYTECODE="1")
    assert outcome[0] == 0, outcome
    require_inside(log, machine.folder, str(machine.folder))
