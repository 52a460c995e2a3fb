"""Other people's scalings of the regularisation strength, in one table.

jreg minimises `1/(2n) |y - Xw|^2 + lam |w|_1`, the weighted *mean* loss plus the penalty, as glmnet
and scikit-learn's Lasso do.
"""

from collections.abc import Callable

from jreg.typing import Scalar

_TO_LAM: dict[str, tuple[Callable[[Scalar, int], Scalar], str]] = {
    "rss_l1": (lambda lam, n: lam / (2 * n), "|y - Xw|^2 + lam |w|_1, for L1 and Squared"),
    "half_rss_l1": (lambda lam, n: lam / n, "1/2 |y - Xw|^2 + lam |w|_1, for L1 and Squared"),
    "rss_l2": (lambda lam, n: lam / n, "|y - Xw|^2 + lam |w|^2, for Ridge and Squared"),
    "mean_l2_over_2m": (lambda lam, m: lam / m, "1/m L + lam/(2m) |W|_F^2, for Ridge"),
    "mean_l1_over_2m": (lambda lam, m: lam / (2 * m), "1/m L + lam/(2m) |W|_1, for L1"),
    "sklearn_C": (lambda C, n: 1 / (n * C), "scikit-learn's C: C L + |w|_1 or 1/2 |w|^2"),
    "torch_weight_decay": (lambda decay, n: decay, "torch SGD's weight_decay (coupled), for Ridge"),
}


def convert_lam(lam: Scalar, from_: str, n_samples: int) -> Scalar:
    """The strength in jreg's convention that gives the same coefficients.

    Args:
      lam: the strength in the other convention, in its own units.
      from_: one of the rows below; `L` is the sum of the losses over the samples.
      n_samples: n (or the batch size m) of the data the other objective sums over.

    ===================== ====================================== ===========
    from_                 the other objective                    jreg's lam
    ===================== ====================================== ===========
    rss_l1                |y - Xw|^2 + lam |w|_1                 lam / (2n)
    half_rss_l1           1/2 |y - Xw|^2 + lam |w|_1             lam / n
    rss_l2                |y - Xw|^2 + lam |w|^2                 lam / n
    mean_l2_over_2m       1/m L + lam/(2m) |W|_F^2               lam / m
    mean_l1_over_2m       1/m L + lam/(2m) |W|_1                 lam / (2m)
    sklearn_C             C L + penalty                          1 / (n C)
    torch_weight_decay    L/n, then w -= lr (grad + decay w)     decay
    ===================== ====================================== ===========

    Raises ValueError for an unknown row or n_samples < 1.

    >>> convert_lam(8.0, "rss_l1", n_samples=4)
    1.0
    """
    if from_ not in _TO_LAM:
        rows = "; ".join(f"{name!r}: {text}" for name, (_, text) in _TO_LAM.items())
        raise ValueError(f"unknown convention {from_!r}; jreg knows {rows}")
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1; got {n_samples}")
    return _TO_LAM[from_][0](lam, n_samples)
