"""The cards that a run uses: one worker process per card, each with the program loaded."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from minilmx.errors import RunnerFailed, boundary
from minilmx.progress import Progress
from minilmx.runners.groq.bridge import Event, Tensors, Worker
from minilmx.wording import counted


@dataclass(frozen=True, slots=True, eq=False)
class Card:
    """A card, numbered from 1 in the order of loading, and the worker that holds the program on it.

    Groq's runtime chooses the card: which one of the machine's a worker has is not known here.
    """

    number: int
    worker: Worker


class CardPool:
    """Workers with the program loaded. A call's batches run on the card that has been free for longest.

    A card that fails (its worker ends, the SDK raises, or a call takes too long) is given up: its batches run
    on another, and a message names the card. If they fail there too, they are at fault, and no third card
    is tried. Threads may call at once; each has a card to itself.
    """

    def __init__(
        self,
        start: Callable[[Path], Worker],
        logs: Sequence[Path],
        limit_seconds: float,
        progress: Progress,
    ) -> None:
        """`start` starts a worker that writes to a log; there are as many cards as `logs`."""
        self._start = start
        self._logs = logs
        self._limit_seconds = limit_seconds
        self._progress = progress
        self._cards: list[Card] = []
        self._free: deque[Card] = deque()
        self._left = len(logs)
        self._failed: list[Path] = []
        self._last_error: RunnerFailed | None = None
        self._closed = False
        self._changed = threading.Condition()

    @property
    def left(self) -> int:
        """How many cards have not failed."""
        return self._left

    @property
    def python(self) -> Path:
        """The Python of the workers."""
        return self._cards[0].worker.python

    @property
    def logs(self) -> list[Path]:
        """The logs of the cards that have not failed."""
        return [log for log in self._logs if log not in self._failed]

    def load(self) -> list[Event]:
        """Load the program on every card, and return each one's facts. Raises RunnerFailed if none is left.

        One after another, so that no two workers find the same card free. If one waits until its time limit,
        no further card is free, and the others are not tried.
        """
        facts = []
        for number, log in enumerate(self._logs, 1):
            card = Card(number, self._start(log))
            self._cards.append(card)
            try:
                facts.append(card.worker.ready())
            except RunnerFailed as error:
                untried = len(self._logs) - number if card.worker.timed_out else 0
                self._give_up(card, error, untried)
                if untried:
                    break
            else:
                self._free.append(card)
        return facts

    def call(self, batches: Sequence[Mapping[str, NDArray[Any]]]) -> tuple[float, list[Tensors]]:
        """Run batches on any one card: the seconds within the program, and the outputs of each batch.

        Raises RunnerFailed if two cards fail, or none is left.
        """
        failed = 0
        while True:
            card = self._take()
            try:
                with boundary(RunnerFailed, "the Groq worker failed", named=True):
                    answer = card.worker.call(batches, self._limit_seconds)
            except RunnerFailed as error:
                self._give_up(card, error)
                failed += 1
                if failed == 2:
                    raise RunnerFailed(
                        f"two cards failed on the same batches: {error.message}", error.hint
                    ) from error
                continue
            with self._changed:
                self._free.append(card)
                self._changed.notify()
            return answer

    def close(self) -> None:
        """End all workers; what runs on another thread raises RunnerFailed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for card in self._cards:
            card.worker.close_input()  # all programs are closed at the same time
        for card in self._cards:
            card.worker.close()

    def __enter__(self) -> "CardPool":
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.close()

    def _take(self) -> Card:
        with self._changed:
            while not self._free:
                if self._closed:
                    raise RunnerFailed("the runner groq is closed", "Open it again.")
                if self._last_error is not None:
                    raise self._last_error
                self._changed.wait()
            return self._free.popleft()

    def _give_up(self, card: Card, error: RunnerFailed, untried: int = 0) -> None:
        """Continue without a card, and without `untried` others. Raises RunnerFailed if none is left."""
        card.worker.close()
        several = len(self._logs) > 1
        failed = f"card {card.number} of {len(self._logs)} failed"
        with self._changed:
            self._failed.append(card.worker.log)
            self._left -= 1 + untried
            left = self._left
            if not left and several:
                error = RunnerFailed(f"{failed}, and no other is left: {error.message}", error.hint)
            if not left or self._closed:
                self._last_error = error
                self._changed.notify_all()
                raise error
        rest = f"the run continues on {counted(left, 'card')}"
        self._progress.message(f"{failed}: {error.message}; {rest}. {error.hint or ''}".rstrip())
