"""Stability selection and bootstrap paths: which features stay when the data are drawn anew."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jreg import checks
from jreg.losses import Squared
from jreg.path import Path
from jreg.path.along import Plan
from jreg.path.drive import fits_of_weights
from jreg.path.inputs import precision
from jreg.path.progress import progress_bar
from jreg.path.reading import read_data
from jreg.penalties import L1
from jreg.problem import LinearProblem
from jreg.selection.folds import generator
from jreg.selection.study import check_path, check_rows
from jreg.typing import ArrayLike, Loss, Penalty, Progress


@dataclasses.dataclass(frozen=True, eq=False)
class Stability:
    """How often each feature is selected in halves of the data.

    Attributes:
      lams: (n_lams,). frequency: (n_lams, n_features), the share of the halves in which the feature
        is selected at that lam or a larger one.
      n_selected: (n_lams,) how many features are, in the mean over the halves.
      n_halves: two for each pair. feature_names: a tuple, or None.
    """

    lams: np.ndarray
    frequency: np.ndarray
    n_selected: np.ndarray
    n_halves: int
    feature_names: tuple[str, ...] | None = None

    def selected(self, threshold: float = 0.75, expected_false: float = 1.0) -> np.ndarray:
        """Indices of the stable features, the most frequent first: those selected in a share of the
        halves of `threshold` at least, down to the smallest lam at which `bound` promises at most
        `expected_false` wrong ones in the mean."""
        k = self.row(threshold, expected_false)
        if k is None:
            return np.zeros(0, int)
        share = self.frequency[k]
        stable = np.nonzero(share >= threshold)[0]
        return stable[np.argsort(-share[stable], kind="stable")]

    def row(self, threshold: float = 0.75, expected_false: float = 1.0) -> int | None:
        """Row of that smallest lam; None where even the largest promises less."""
        fine = self.bound(threshold) <= expected_false
        falling = np.argsort(-self.lams, kind="stable")
        broken = np.nonzero(~fine[falling])[0]
        last = (broken[0] if broken.size else fine.size) - 1
        return None if last < 0 else int(falling[last])

    def bound(self, threshold: float = 0.75) -> np.ndarray:
        """At each lam a bound of the mean number of stable features that a selection no better than
        chance would choose: `q^2 / ((2 threshold - 1) p)`, q the mean number selected.

        Meinshausen and Buehlmann (2010), theorem 1, for noise features that are exchangeable; Shah
        and Samworth (2013), theorem 1, without that, for features selected with a probability of at
        most q / p in a half. Raises ValueError for a threshold outside (0.5, 1].
        """
        if not 0.5 < threshold <= 1:
            raise ValueError(f"threshold must be within (0.5, 1]; got {threshold}")
        return self.n_selected**2 / ((2 * threshold - 1) * self.frequency.shape[1])

    def bound_unimodal(self, threshold: float = 0.75) -> np.ndarray:
        """The sharper bound if the share of pairs that select a feature in both halves has one
        mode: Shah and Samworth (2013), theorem 2; the general one where it does not apply."""
        pairs, theta = self.n_halves / 2, self.n_selected / self.frequency.shape[1]
        general = self.bound(threshold)
        if threshold <= 0.75:
            factor = 1 / (2 * (2 * threshold - 1 - 1 / (2 * pairs)))
            from_here = np.minimum(0.5 + theta**2, 0.5 + 1 / (2 * pairs) + 0.75 * theta**2)
            applies = (threshold > from_here) & (2 * threshold - 1 > 1 / (2 * pairs))
        else:
            factor = 4 * (1 - threshold + 1 / (2 * pairs)) / (1 + 1 / pairs)
            applies = theta <= 1 / np.sqrt(3)
        applies = applies & (theta <= 1 / np.sqrt(3))
        return np.where(applies, np.minimum(factor * theta * self.n_selected, general), general)

    def __repr__(self) -> str:
        """A few lines: what was drawn, and what is stable by default."""
        stable = self.selected()
        names = [self.feature_names[j] if self.feature_names else f"x{j}" for j in stable[:8]]
        more = ", ..." if stable.size > 8 else ""
        return "\n".join(
            [
                f"Stability, {self.n_halves} halves: {self.lams.size} lams x "
                f"{self.frequency.shape[1]} features",
                f"  stable (threshold 0.75, at most 1 wrong in the mean): {stable.size}"
                + (f": {', '.join(names)}{more}" if stable.size else ""),
            ]
        )


def stability_selection(
    X: ArrayLike,
    y: ArrayLike,
    penalty: Penalty = L1(),
    loss: Loss = Squared(),
    *,
    n_pairs: int = 50,
    key: Any = None,
    progress: Progress = None,
    **options: Any,
) -> Stability:
    """Paths on complementary halves of the rows, and how often each feature is in them.

    Rows are split in two halves at random, `n_pairs` times; each half is a path over the lambdas of
    all rows. Halves are weights on one X, solved as the folds of `cross_validate` are.

    Args:
      n_pairs: how many splits, two paths each. key: a whole number or a key of JAX; None is 0.
      progress: True for a bar over the paths, or a function of (paths done, paths in all).
      X, y, penalty, loss, options: as in `jreg.path`; a path of one output.

    Returns a `Stability`. Raises ValueError for a half without a solution, such as one with a
    single class. Meinshausen and Buehlmann (2010); complementary pairs: Shah and Samworth (2013),
    section 2.

    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 30))
    >>> y = X[:, 0] - X[:, 1] + rng.normal(size=100)
    >>> sorted(stability_selection(X, y, n_pairs=10, n_lams=20).selected().tolist())
    [0, 1]
    """
    checks.whole_number("n_pairs", n_pairs, low=1)
    rng = generator(key)

    def halves(weight: np.ndarray) -> Iterator[np.ndarray]:
        present = np.nonzero(weight > 0)[0]
        if present.size < 4:
            raise ValueError(f"halves need 4 rows of positive weight; got {present.size}")
        for _ in range(int(n_pairs)):
            order = rng.permutation(present)
            size = present.size // 2
            for half in (order[:size], order[size : 2 * size]):
                inside = np.zeros(weight.size, bool)
                inside[half] = True
                yield np.where(inside, weight, 0)

    def enters(path: Path) -> np.ndarray:
        falling = np.argsort(-path.lams, kind="stable")
        found = np.empty(path.coef.shape, bool)
        found[falling] = np.maximum.accumulate(path.coef[falling] != 0, axis=0)
        return found

    data = read_data(X, y, penalty, loss, **options)
    whole, entered = _resampled(*data, halves, "half", 2 * int(n_pairs), progress, enters)
    frequency = np.mean(entered, axis=0)
    return Stability(
        lams=whole.lams,
        frequency=frequency,
        n_selected=frequency.sum(axis=1),
        n_halves=len(entered),
        feature_names=whole.feature_names,
    )


def bootstrap_path(
    X: ArrayLike,
    y: ArrayLike,
    penalty: Penalty = L1(),
    loss: Loss = Squared(),
    *,
    n_draws: int = 100,
    key: Any = None,
    progress: Progress = None,
    **options: Any,
) -> tuple[Path, np.ndarray]:
    """The path, and the coefficients of paths on rows drawn with replacement.

    n_draws: how many. key and progress as in `stability_selection`, the others, and options, as in
    `jreg.path`; rows are drawn with a chance in proportion to their weight.

    Returns the `Path` of all rows and coef (n_draws, n_lams, n_features) in original units, over
    the same lambdas: give few lams where features are many, since these arrays are the memory it
    takes. Raises ValueError for a draw without a solution. Efron (1979). The spread shows how
    stable a path is; it is no confidence interval, since the bootstrap is not consistent for
    coefficients that are 0: Chatterjee and Lahiri (2011).

    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 3))
    >>> y = X[:, 0] + rng.normal(size=50)
    >>> path, coef = bootstrap_path(X, y, n_draws=20, lams=[0.1])
    >>> coef.shape, bool(coef[:, 0, 0].std() < 0.3)
    ((20, 1, 3), True)
    """
    checks.whole_number("n_draws", n_draws, low=1)
    rng = generator(key)

    def draws(weight: np.ndarray) -> Iterator[np.ndarray]:
        share = weight / weight.sum()
        present = int(np.sum(weight > 0))
        for _ in range(int(n_draws)):
            yield rng.multinomial(present, share).astype(weight.dtype)

    data = read_data(X, y, penalty, loss, **options)
    whole, coefs = _resampled(*data, draws, "draw", int(n_draws), progress, lambda path: path.coef)
    return whole, np.stack(coefs)


def _resampled(
    problem: LinearProblem,
    penalty: Any,
    plan: Plan,
    draw: Callable[[np.ndarray], Iterator[np.ndarray]],
    name: str,
    count: int,
    progress: Progress,
    kept: Callable[[Path], np.ndarray],
) -> tuple[Path, list[np.ndarray]]:
    """The path of all rows, and what is kept of those of the `count` weights that `draw(weight)`
    yields; ValueError, with the `name` of these, for one that has no solution."""
    with (
        precision(problem.X.dtype),
        progress_bar(progress, count, unit="path") as report,
    ):
        weight, y = np.asarray(problem.sample_weight), np.asarray(problem.y)
        drawn = list(draw(weight))
        for k, one in enumerate(drawn):
            check_rows(problem, y[one > 0], f"{name} {k} of the rows")
        fits = fits_of_weights(problem, penalty, plan, [weight, *drawn])
        whole = next(fits).path
        found: list[np.ndarray] = []
        for path, _ in fits:
            check_path(path, f"{name} {len(found)} of the rows")
            found.append(kept(path))
            report(len(found))
    return whole, found
