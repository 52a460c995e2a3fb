"""`p + q` for penalties, and whether a penalty has a prox at all."""

from collections.abc import Callable
from typing import Any, ClassVar


class Addable:
    """Gives a penalty the sign `+`; the sum always exists, its prox only by a proved rule."""

    # `sum.py` puts `add` here: its rules name members, which are built on this class
    join: ClassVar[Callable[[Any, Any], Any]]

    def __add__(self, other: Any) -> Any:
        return Addable.join(self, other)


def has_prox(penalty: Any) -> bool:
    """Whether `penalty.prox` may be called; False for a sum without a rule and what wraps one."""
    return getattr(penalty, "has_prox", True)
