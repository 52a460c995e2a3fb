"""Degrees of freedom: how much a fit follows its response, from the curvature at the solution.

Around a solution theta the support stays as it is for almost every response, and the fit moves as
that of weighted least squares with the penalty's curvature D there,

    d eta = Z (Z' H Z + D)^-1 Z' H dy,      df = trace of the matrix = tr((Z' H Z + D)^-1 Z' H Z),

Z the columns of the support, H the weights s_i loss''_i. D is 0 for the lasso, hence the rank of Z;
lam (1 - l1_ratio) for the elastic net; lam v_g (I - u u') / |theta_g|, u = theta_g / |theta_g|, for
the group lasso. Zou, Hastie and Tibshirani (2007); Tibshirani and Taylor (2012), theorem 2; Vaiter,
Deledalle, Fadili, Peyre and Dossal (2017), section 4.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jreg.path.compiled import compiled
from jreg.typing import Array, has

DEPENDENT = 1e-9  # an eigenvalue of scaled columns, below which they count as dependent


def suits(penalty: Any, n_features: int) -> bool:
    """Whether the curvature of a penalty of (n_features,) coefficients is known here."""
    if penalty.separable:
        return True
    return has(penalty, "block") and penalty.blocks((n_features,)) is not None


def units(penalty: Any, n_features: int) -> np.ndarray:
    """The features of each group, (n_groups, size), filled up with their number; one in each for a
    separable penalty."""
    rows = np.arange(n_features) if penalty.separable else penalty.blocks((n_features,))
    return np.reshape(rows, (len(rows), -1))


@compiled
def local(penalty: Any, lam: Array, theta: Array, eps: Array) -> tuple[Array, Array]:
    """The support (p,) at theta, known to a relative eps, and the second derivatives of
    `penalty.at(lam)` within each unit: (p,) if it is separable, else (n_groups, size, size)."""
    penalty = penalty.at(lam)
    # an entry at a bound is not free, even if rounding has put it just within
    support = penalty.support(theta * (1 + 4 * eps)) & penalty.support(theta * (1 - 4 * eps))
    if penalty.separable:
        _, second = jax.jvp(jax.grad(penalty.value), (theta,), (jnp.ones_like(theta),))
        return support, second
    rows = units(penalty, theta.size)

    def hessian(g: Array, w: Array) -> Array:
        return jax.hessian(penalty.block(g).value)(w)

    within = theta.at[rows].get(mode="fill", fill_value=0)
    return support, jax.vmap(hessian)(jnp.arange(len(rows)), within)


def curvature(second: np.ndarray, rows: np.ndarray, index: np.ndarray, p: int) -> np.ndarray:
    """D over the features `index`, (k,) where it is diagonal, else (k, k); second of `local`, rows
    of `units`."""
    if second.ndim == 1:
        return second[index]
    place = np.full(p + 1, -1)
    place[index] = np.arange(index.size)
    D = np.zeros((index.size, index.size))
    for entries, inner in zip(place[rows], second, strict=True):
        here = entries >= 0
        if here.any():
            D[np.ix_(entries[here], entries[here])] = inner[np.ix_(here, here)]
    return D


def influence(
    Z: np.ndarray, h: np.ndarray, D: np.ndarray, gram: np.ndarray, *, each: bool
) -> tuple[float, np.ndarray]:
    """(df, z_i' (Z' H Z + D)^-1 z_i for each row; empty unless `each`).

    Z: (n, k), centred by h under an intercept, which is not counted. h: (n,). D: (k,) or (k, k).
    gram: Z' H Z. Dependent columns count once.
    """
    R = root(gram + (np.diag(D) if D.ndim == 1 else D))
    df = np.sum(R * (gram @ R)) if D.any() else R.shape[1]
    return float(df), np.sum((Z @ R) ** 2, axis=1) if each else np.empty(0)


def wide_influence(Z: np.ndarray, h: np.ndarray, D: np.ndarray) -> tuple[float, np.ndarray]:
    """The same for more columns than rows and diagonal D >= 0, from matrices (n, n).

    The columns without curvature, projected out, count whole; the others give m / (1 + m) for each
    eigenvalue m of Z D^-1 Z' in the metric H.
    """
    scaled = np.sqrt(h)[:, None] * Z
    free = D == 0
    Q, size, _ = np.linalg.svd(scaled[:, free], full_matrices=False)
    Q = Q[:, size**2 > DEPENDENT * np.max(size**2, initial=0)]
    rest = scaled[:, ~free] / np.sqrt(D[~free])[None, :]
    rest = rest - Q @ (Q.T @ rest)
    values, U = np.linalg.eigh(rest @ rest.T)
    share = np.maximum(values, 0) / (1 + np.maximum(values, 0))
    own = U**2 @ share + np.sum(Q**2, axis=1)
    leverage = np.divide(own, h, out=np.zeros_like(own), where=h > 0)
    return float(Q.shape[1] + share.sum()), leverage


def root(A: np.ndarray) -> np.ndarray:
    """R (k, r) such that R R' is a generalised inverse of A, positive semidefinite of rank r."""
    from scipy.linalg import lapack

    if not A.size:
        return A
    size = np.sqrt(np.maximum(np.diag(A), 0))
    unit = np.divide(1, size, out=np.zeros_like(size), where=size > 0)
    scaled = A * unit[:, None] * unit[None, :]
    lower, failed = lapack.dpotrf(scaled, lower=1, clean=1)
    if not failed and np.min(np.diag(lower)) ** 2 > DEPENDENT:
        return unit[:, None] * lapack.dtrtri(lower, lower=1)[0].T
    values, vectors = np.linalg.eigh(scaled)
    kept = values > DEPENDENT * max(values[-1], 1)
    return unit[:, None] * vectors[:, kept] / np.sqrt(values[kept])[None, :]
