"""Calls that take turns at being timed, and the machine they run on."""

import contextlib
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SHORTEST = 2e-3  # seconds in a round; shorter calls are repeated


@dataclass
class Contender:
    """One way to compute a result, with its times in seconds."""

    name: str
    call: Callable[[], Any]
    repeats: int = 1
    rounds: list[float] = field(default_factory=list)

    def round(self) -> None:
        start = time.perf_counter()
        for _ in range(self.repeats):
            jax.block_until_ready(self.call())
        self.rounds.append((time.perf_counter() - start) / self.repeats)

    def warm(self) -> float:
        return statistics.median(self.rounds)


def jitted(f: Callable, v: np.ndarray, parameters: tuple, batch: bool) -> Callable[[], Any]:
    if batch:
        f = jax.vmap(f, in_axes=(0, *[None] * len(parameters)))
    run = jax.jit(lambda *args: f(*args))  # a new function: nothing is cached
    args = jax.block_until_ready(jax.tree.map(jnp.asarray, (v, *parameters)))
    return lambda: run(*args)


def on_host(f: Callable, v: np.ndarray, parameters: tuple, loop: bool) -> Callable[[], Any]:
    if loop:
        return lambda: np.stack([f(row, *parameters) for row in v])
    return lambda: f(v, *parameters)


def timed(call: Callable[[], Any]) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    result = call()
    return np.asarray(result), time.perf_counter() - start


def take_turns(contenders: Iterable[Contender], rounds: int) -> None:
    """Time each contender once a round; short calls are repeated within it."""
    contenders = list(contenders)
    for contender in contenders:
        _, once = timed(contender.call)
        contender.repeats = max(1, min(100, int(SHORTEST / once)))
    for _ in range(rounds):
        for contender in contenders:
            contender.round()


def duration(seconds: float) -> str:
    scales = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
    unit = next((unit for unit, scale in scales.items() if seconds >= scale), "µs")
    value = seconds / scales[unit]
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:.0f} {unit}"


def machine(versions: Iterable[str], threads: Iterable[str] = ()) -> str:
    """The processor, the versions of JAX, NumPy and others, the threads of each, and the load."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = [f"jax {jax.__version__}", f"numpy {np.__version__}", *versions]
    pools = [f"XLA {usable}", *threads]
    with contextlib.suppress(ImportError):
        import threadpoolctl

        info = threadpoolctl.threadpool_info()
        pools += [f"{p['user_api']} ({p['internal_api']}) {p['num_threads']}" for p in info]
    return (
        f"{platform.machine()}, {usable} of {os.cpu_count()} cores, {jax.default_backend()}, "
        f"Python {platform.python_version()}, {', '.join(versions)}. "
        f"Threads: {', '.join(dict.fromkeys(pools))}. Load: {os.getloadavg()[0]:.1f}."
    )
