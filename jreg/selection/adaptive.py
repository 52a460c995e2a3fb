"""The adaptive lasso: weights from a first fit, so that what is large is shrunk less."""

import dataclasses
from typing import Any

import numpy as np

from jreg.losses import Squared
from jreg.path import Path
from jreg.path.drive import checked
from jreg.path.inputs import precision
from jreg.penalties import L1
from jreg.selection.cross_validation import best_of, read_study
from jreg.selection.cv_path import CVPath
from jreg.selection.study import as_it_is, run
from jreg.typing import ArrayLike, Loss, Penalty


def adaptive_weights(coef: ArrayLike, power: float = 1.0) -> np.ndarray:
    """`1 / |coef_j|^power`, inf where coef_j is 0: such a feature is left out.

    coef: (n_features,) of a first fit, in the units in which the penalty sees coefficients, that is
    times `Path.scale` under standardisation. power: > 0. Raises ValueError for other values and
    where all of coef is 0. Zou (2006), equation 4.

    >>> adaptive_weights([2.0, 0.0, -0.5]).tolist()
    [0.5, inf, 2.0]
    """
    size = np.abs(np.asarray(coef, float))
    if size.ndim != 1 or not np.isfinite(size).all():
        raise ValueError(f"coef must be a finite vector (n_features,); got shape {size.shape}")
    if not (np.isfinite(power) and power > 0):
        raise ValueError(f"power must be positive; got {power}")
    if not size.any():
        raise ValueError("every coefficient of the first fit is 0: there is nothing to weigh")
    with np.errstate(divide="ignore"):
        return size**-power


def adaptive_lasso(
    X: ArrayLike,
    y: ArrayLike,
    penalty: Penalty = L1(),
    loss: Loss = Squared(),
    *,
    power: float = 1.0,
    first: str = "min",
    **options: Any,
) -> CVPath:
    """Cross-validated paths in two stages: a first, whose coefficients weigh the second's penalty.

        stage 1: the path of `penalty`, and its lam by cross-validation
        stage 2: the path of `penalty` with weights `1 / |scale * coef of stage 1|^power`

    In each fold both stages are fitted to the rows of that fold; only the first stage's lam is that
    of all folds. Features that the first stage leaves out stay out.

    Args:
      X, y, loss, options: as in `cross_validate` (but l1_ratios, gammas, relax and progress).
      penalty: separable with a field `weights`, such as `L1` or `ElasticNet`, which multiply the
        new ones.
      power: > 0. first: "min" or "1se", the choice of the first stage's lam.

    Returns the `CVPath` of the second stage; `path.penalty.weights` are those of all rows. Raises
    ValueError where a first stage is 0 everywhere. Zou (2006); Buehlmann and van de Geer (2011),
    section 2.8, for the lasso as the first stage.

    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(80, 10))
    >>> y = X[:, 0] + 0.3 * rng.normal(size=80)
    >>> np.nonzero(adaptive_lasso(X, y, folds=5).params("1se").coef)[0].tolist()
    [0]
    """
    unknown = {"l1_ratios", "gammas", "relax", "progress"} & set(options)
    if unknown:
        raise TypeError(f"adaptive_lasso does not take {', '.join(sorted(unknown))}")
    if first not in ("min", "1se"):
        raise ValueError(f'first must be "min" or "1se"; got {first!r}')
    if not (hasattr(penalty, "weights") and penalty.separable):
        raise TypeError(
            f"penalty must have weights of single features, as L1 has; got {type(penalty).__name__}"
        )
    study, penalty = read_study(X, y, penalty, loss, **options)
    with precision(study.problem.X.dtype):
        paths: list[Path] = []

        def keep(weight: np.ndarray, path: Path) -> list:
            del weight
            paths.append(path)
            return [({}, path)]

        (pilot,) = run(study, penalty, keep, _silent)
        k = pilot.index(first)
        weighed = [_weighed(penalty, path.coef[k] * path.scale, power) for path in paths]
        weighed = [checked(study.problem, one)[1] for one in weighed]
        lams = options.get("lams")
        plan = dataclasses.replace(study.plan, lams=None if lams is None else study.plan.lams)
        return best_of(run(study._replace(plan=plan), weighed, as_it_is({}), _silent))


def _silent(done: int) -> None:
    del done


def _weighed(penalty: Any, coef: np.ndarray, power: float) -> Any:
    """The penalty with adaptive weights on top of its own."""
    own = np.ones(coef.shape) if penalty.weights is None else np.asarray(penalty.weights)
    new = own * np.where(own == 0, 1, adaptive_weights(coef, power))
    return dataclasses.replace(penalty, weights=new.astype(coef.dtype))
