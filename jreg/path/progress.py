"""Progress of host loops: a bar, a callback, or nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jreg.typing import Progress


@contextmanager
def progress_bar(
    progress: Progress, total: int, unit: str = "lam"
) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of items done.

    progress: True draws a bar with tqdm (and is silent if tqdm is not installed), a function is
    called with (done, total), None or False does nothing.
    """
    if progress is not None and not isinstance(progress, bool):
        callback = progress
        yield lambda done: callback(done, total)
        return
    if not progress:
        yield lambda done: None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield lambda done: None
        return
    with tqdm(total=total, unit=unit) as bar:
        yield lambda done: bar.update(done - bar.n) and None
