"""GroqFlow's own checks of the SDK and the cards, with the stand-ins for apt-cache and lspci."""

import subprocess

import pytest


@pytest.fixture
def groqflow_says(groqflow_python, groqware_environment):
    """The output of an expression of GroqFlow's sdk_helpers, with the error if it fails."""

    def ask(expression, **switches):
        code = f"import groqflow.common.sdk_helpers as sdk; print({expression})"
        command = [groqflow_python, "-W", "ignore", "-c", code]
        done = subprocess.run(command, env=groqware_environment(**switches), capture_output=True, text=True)
        return (done.stdout + done.stderr).strip()

    return ask


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
