"""`p + q` for penalties, and two traits that a penalty need not declare: `has_prox`, `smooth`."""

from collections.abc import Callable
from typing import Any, ClassVar


class Addable:
    """Gives a penalty the sign `+`; the sum always exists, its prox only by a proved rule."""

    smooth: ClassVar[bool] = False  # differentiable everywhere, with a Lipschitz gradient

    # `sum.py` puts `add` here: its rules name members, which are built on this class
    join: ClassVar[Callable[[Any, Any], Any]]

    def __add__(self, other: Any) -> Any:
        return Addable.join(self, other)


def has_prox(penalty: Any) -> bool:
    """Whether `penalty.prox` may be called; False for a sum without a rule and what wraps one."""
    return getattr(penalty, "has_prox", True)


def is_smooth(penalty: Any) -> bool:
    """Whether a penalty is differentiable everywhere; False where it does not say so."""
    return getattr(penalty, "smooth", False)
