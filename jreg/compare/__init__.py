"""A race between optimisers on one regularised problem, and problems to learn from.

`compare` runs solvers and optax transforms through the one outer loop and returns a `Race`.
`landscapes` has small functions with a saddle, a valley or many minima.
"""

from jreg.compare import landscapes
from jreg.compare.race import Entry, Race
from jreg.compare.run import compare

__all__ = ["Entry", "Race", "compare", "landscapes"]
