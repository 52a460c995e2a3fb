"""`compiled`: `jax.jit` for the programs of a path, with the compiler's quicker ways on CPUs.

XLA's older emitter of fused loops, a lower level of optimisation and fewer parts of the code each
save a part of the time that these programs take to compile, together two fifths; how fast they run
differs by less than the noise. The options are asked for once; a version of XLA that does not know
them goes without.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jreg import checks

OPTIONS: dict[str, Any] = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_backend_optimization_level": 1,
    "xla_cpu_parallel_codegen_split_count": 4,
}


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
