"""A card that is held: time limits with advice, and a program that is closed before any signal."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest

from minilmx.errors import RunnerFailed
from minilmx.progress import Progress
from minilmx.runners.groq.bridge import Worker
from minilmx.runners.groq.cards import CardPool


@pytest.fixture
def card(tmp_path):
    """The file that stands for a card in use."""
    return tmp_path / "card"


@pytest.fixture
def hold(built, tmp_path, card, groqflow_python, groqware_environment):
    """Start a worker that loads the program on the card."""

    def hold(log=tmp_path / "worker.log", **switches):
        variables = groqware_environment(GROQWARE_CARD_LOCK=str(card), **switches)
        return Worker(groqflow_python, built.job("execute"), log, variables)

    return hold


def test_a_card_that_another_process_holds_ends_loading_after_a_time_limit(hold, card, groqware):
    card.touch()
    with hold() as worker, pytest.raises(RunnerFailed) as raised:
        worker.ready(limit_seconds=2)
    assert "the program was not loaded within 2 seconds" in raised.value.message
    assert "`tsp-ctl status`" in raised.value.hint
    status = [groqware / "bin" / "tsp-ctl", "status"]
    shown = subprocess.run(status, env={"GROQWARE_CARD_LOCK": str(card)}, capture_output=True, text=True)
    assert "Device Locked: yes" in shown.stdout


def test_a_call_that_does_not_return_ends_after_a_time_limit_and_frees_the_card(hold, card, built):
    with hold(GROQWARE_RUNNER="hang:2") as worker:
        worker.ready()
        assert worker.call([built.batch()])[0] > 0
        assert card.exists()
        with pytest.raises(RunnerFailed) as raised:
            worker.call([built.batch()], limit_seconds=0.5)
    assert "the program did not return within 0.5 seconds" in raised.value.message
    assert "`tsp-ctl status`" in raised.value.hint
    assert not card.exists()


def test_a_call_that_takes_too_long_costs_its_card_and_not_its_batch(hold, card, built, tmp_path):
    class Messages(Progress):
        def message(self, text):
            said.append(text)

    said = []
    switches = {"GROQWARE_CARDS": "2", "GROQWARE_RUNNER": "hang:2", "GROQWARE_FAILING_CARD": "1"}
    logs = (tmp_path / "1.log", tmp_path / "2.log")
    with CardPool(lambda log: hold(log, **switches), logs, 0.5, Messages()) as cards:
        assert len(cards.load()) == 2
        answers = [cards.call([built.batch()])[1][0]["sentence_embedding"] for _ in range(4)]
        assert not card.exists()
        assert cards.left == 1
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])
    assert [text.partition(";")[0] for text in said] == [
        "card 1 of 2 failed: the program did not return within 0.5 seconds"
    ]


def test_an_error_in_the_parent_closes_the_program_without_a_signal(hold, card, monkeypatch):
    sent, killpg = [], os.killpg

    def record(group, number):
        sent.append(card.exists())
        killpg(group, number)

    monkeypatch.setattr(os, "killpg", record)
    with pytest.raises(KeyboardInterrupt), hold() as worker:
        worker.ready()
        assert card.exists()
        raise KeyboardInterrupt
    assert not any(sent)  # no signal while the card was held
    assert not card.exists()


def test_a_batch_systems_signal_to_the_worker_itself_frees_the_card(hold, card):
    with hold() as worker:
        worker.ready()
        os.kill(worker._process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while card.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
