"""Several things at the same time, their results one after another."""

import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from queue import SimpleQueue
from typing import Any

from jreg.path.inputs import precision
from jreg.path.meeting import Meeting

THREADS = min(8, os.cpu_count() or 1)  # that compute at the same time on CPUs
_blas = threading.Lock()


@contextmanager
def one_core_each() -> Iterator[int]:
    """Keep the products of NumPy in the thread that asks for them, and yield how many threads to
    use: BLAS scales less well over cores, and its threads look out for more work for a while after
    a product, which takes the cores away from everybody else.

    Without threadpoolctl, which comes with scikit-learn, BLAS has the cores: one thread.
    """
    control = _control()
    if control is None:
        yield 1
        return
    with _blas, control.limit(limits=1, user_api="blas"):
        yield THREADS


@functools.cache
def _control() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()


def in_threads(
    items: Iterator[Any],
    of: Callable[[Any], Any],
    dtype: Any,
    threads: int,
    meeting: Meeting | None = None,
) -> Iterator[Any]:
    """`of(item)` of each item in turn, computed in threads, which are the members of the meeting.

    Each takes the next item as long as there is one, and leaves when there is none: who meets does
    not depend on who is quicker. Nobody waits for results to be taken; they pile up until then.
    """
    order: SimpleQueue[Future | None] = SimpleQueue()  # of the results; None is the end
    door, over = threading.Lock(), threading.Event()

    def take() -> tuple[Any, Future] | None:
        with door:
            if over.is_set():
                return None
            future: Future = Future()
            try:
                item = next(items)
            except BaseException as error:
                over.set()
                if not isinstance(error, StopIteration):
                    future.set_exception(error)
                    order.put(future)
                order.put(None)
                return None
            order.put(future)
            return item, future

    def work() -> None:
        with precision(dtype), meeting.member() if meeting else nullcontext():
            while taken := take():
                item, future = taken
                try:
                    future.set_result(of(item))
                except BaseException as error:
                    future.set_exception(error)

    if meeting:
        meeting.expect(threads)
    with ThreadPoolExecutor(threads) as pool:
        try:
            for _ in range(threads):
                pool.submit(work)
            while (future := order.get()) is not None:
                yield future.result()
        finally:
            over.set()
            if meeting:
                meeting.close()
