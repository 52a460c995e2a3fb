"""`compiled`: `jax.jit` for the programs of a path, with the compiler's quicker ways on CPUs.

XLA's older emitter of fused loops, a lower level of optimisation and fewer parts of the code each
save a part of the time that these programs take to compile, together two fifths; how fast they run
differs by less than the noise. A version of XLA that does not know them goes without.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax

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
    def program(*, quick: bool) -> Callable[..., Any]:
        return jax.jit(fun, compiler_options=OPTIONS if quick else None, **options)

    @functools.wraps(fun)
    def call(*args: Any, **kwargs: Any) -> Any:
        if checks.is_traced(args, kwargs):
            return fun(*args, **kwargs)
        if OPTIONS and _on_cpu():
            try:
                return program(quick=True)(*args, **kwargs)
            except jax.errors.JaxRuntimeError as error:
                if "No such compile option" not in str(error):
                    raise
                OPTIONS.clear()
        return program(quick=False)(*args, **kwargs)

    return call


@functools.cache
def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"
