"""How a solver stopped: one enumeration, shared by every solver, sweep and path."""

from enum import IntEnum
from typing import Any


class Status(IntEnum):
    """Why an iteration ended.

    The numbers are what compiled code stores; `describe` turns them into sentences.

    >>> Status(0).describe()
    'converged: the certificate is within tol'
    """

    CONVERGED = 0
    MAX_STEPS = 1
    NOT_FINITE = 2
    NO_DESCENT = 3
    AT_PRECISION = 4
    NOT_RUN = 5
    STOPPED = 6

    def describe(self) -> str:
        """One sentence for a person."""
        return _SENTENCES[self]


def is_solved(status: Any) -> Any:
    """Whether a status (or each of an array) says that the solution is an optimum.

    >>> is_solved(Status.AT_PRECISION), is_solved(Status.MAX_STEPS)
    (True, False)
    """
    return (status == Status.CONVERGED) | (status == Status.AT_PRECISION)


_SENTENCES = {
    Status.CONVERGED: "converged: the certificate is within tol",
    Status.MAX_STEPS: "stopped at max_steps before the certificate was within tol",
    Status.NOT_FINITE: "a value, gradient or input is NaN or infinite, or lies outside its domain",
    Status.NO_DESCENT: "no step makes progress although the certificate is far from tol",
    Status.AT_PRECISION: "the iterates no longer change in this dtype; tol is below its reach here",
    Status.NOT_RUN: "not computed: the run was interrupted before this value",
    Status.STOPPED: "stopped early: params are the best by the measure, not an optimum",
}
