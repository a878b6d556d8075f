"""GroqFlow's own checks of the SDK and the cards, with the stand-ins for apt-cache and lspci."""

import json
import subprocess

import pytest

ANSWER = """
import contextlib, io, json, os, sys
import groqflow.common.sdk_helpers as sdk
for line in sys.stdin:
    expression, variables = json.loads(line)
    os.environ.clear()
    os.environ.update(variables)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            print(eval(expression))
        except BaseException as error:
            print(error)
    print(json.dumps(said.getvalue().strip()), flush=True)
"""


@pytest.fixture(scope="module")
def groqflow_says(groqflow_python, groqware_environment):
    """The output of an expression of GroqFlow's sdk_helpers, with the error if it fails, from one process."""
    command = [groqflow_python, "-W", "ignore", "-c", ANSWER]
    options = {"env": groqware_environment(), "text": True}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options) as process:

        def ask(expression, **switches):
            print(json.dumps([expression, groqware_environment(**switches)]), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


@pytest.mark.parametrize("cards", [0, 1, 8])
def test_groqflow_counts_the_cards(groqflow_says, cards):
    assert groqflow_says("sdk.get_num_chips_available()", GROQWARE_CARDS=str(cards)) == str(cards)


@pytest.mark.parametrize(
    ("switches", "answer"),
    [
        ({}, "None"),
        ({"GROQWARE_RUNTIME": "0.9.2"}, "0.9.2 is installed"),
        ({"GROQWARE_RUNTIME": "unknown"}, "groq-runtime was not found"),
        ({"GROQWARE_RUNTIME": "none"}, "(none)"),
        ({"GROQWARE_RUNTIME": "crash"}, "apt-cache policy command failed"),
    ],
)
def test_groqflow_checks_the_version_of_the_runtime(groqflow_says, switches, answer):
    assert answer in groqflow_says("sdk.validate_runtime(sdk.OS.UBUNTU, required=True)", **switches)
