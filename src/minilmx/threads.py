"""Work in several threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Output = TypeVar("Output")


def map_in_threads(
    work: Callable[[Item], Output], items: Iterable[Item], threads: int, interrupt: Callable[[], None]
) -> Iterator[Output]:
    """`map`, with so many items at once, in order, and never many items ahead.

    After Ctrl-C or a signal, `interrupt` ends what runs: a thread whose work hangs would be waited for.
    """
    if threads == 1:
        yield from map(work, items)
        return
    pending: deque[Future[Output]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > 4 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except (KeyboardInterrupt, SystemExit):
            interrupt()
            raise
        finally:
            for future in pending:
                future.cancel()
