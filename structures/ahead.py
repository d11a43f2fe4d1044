"""Work done ahead of who asks for it: by threads, in order, a few items at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from inception_rcnn.structures.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_groups(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Yield so many items at a time, the last time perhaps fewer (`itertools.batched` of Python 3.12).

    >>> list(in_groups("abcde", 2))
    [('a', 'b'), ('c', 'd'), ('e',)]
    """
    rest = iter(items)
    while group := tuple(islice(rest, size)):
        yield group


def run_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, most: int | None = None
) -> Generator[Future[Result], None, None]:
    """Yield a finished future for each item, in order, while threads already work on the next items.

    What the function raises is in the future, at the item's place, and the rest goes on. What `items` raises comes
    after the items before it. The items are asked for by the thread that iterates. However the iteration ends (close
    the generator, or leave it with an error), no item is begun any more, and no thread is left.

    Args:
        function: Item -> result; called from several threads at once.
        items: May be without end.
        workers: Threads; 0: none, each item's turn comes when it is asked for.
        most: At most so many items are in work or wait to be asked for; None: one more than threads.

    Raises:
        InputError: Fewer than 0 workers, or `most` is below 1.

    >>> [done.result() for done in run_ahead(abs, [3, -4, 5], workers=2)]
    [3, 4, 5]
    """
    most = workers + 1 if most is None else most
    if workers < 0 or most < 1:
        raise InputError(f"workers should be at least 0 and most at least 1, got {workers} and {most}")
    return _run_in_turn(function, items) if workers == 0 else _run_ahead(function, items, workers, most)


def _run_in_turn(function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Future[Result], None, None]:
    for item in items:
        done: Future[Result] = Future()
        try:
            done.set_result(function(item))
        except Exception as error:
            done.set_exception(error)
        yield done


def _run_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, most: int
) -> Generator[Future[Result], None, None]:
    source, waiting = iter(items), deque[Future[Result]]()
    ended, failure = False, None
    pool = ThreadPoolExecutor(workers)
    try:
        while True:
            while not ended and len(waiting) < most:
                try:
                    waiting.append(pool.submit(function, next(source)))
                except StopIteration:
                    ended = True
                except Exception as error:
                    ended, failure = True, error
            if not waiting:
                break
            first = waiting.popleft()
            first.exception()  # waits
            yield first
            del first  # what it holds is not kept while the next one is waited for
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
