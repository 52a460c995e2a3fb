"""`compiled`: `jax.jit` for the programs of a path, with the compiler's quicker emitter on CPUs.

XLA's older emitter of fused loops compiles these programs a quarter faster than the one that is the
default now; how fast they run differs by less than the noise. The option is asked for once; a
version of XLA that does not know it goes without.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jreg import checks

OPTIONS: dict[str, Any] = {"xla_cpu_use_fusion_emitters": False}


def compiled(fun: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`fun`, compiled where it is called with arrays, and itself inside another program.

    options: of `jax.jit`.
    """

    @functools.cache
    def program() -> Callable[..., Any]:
        return jax.jit(fun, compiler_options=_options(), **options)

    @functools.wraps(fun)
    def call(*args: Any, **kwargs: Any) -> Any:
        inside = checks.is_traced(args, kwargs)
        return fun(*args, **kwargs) if inside else program()(*args, **kwargs)

    return call


@functools.cache
def _options() -> dict[str, Any] | None:
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x + 1, compiler_options=OPTIONS)(jnp.zeros(()))
    except jax.errors.JaxRuntimeError:
        return None
    return OPTIONS
