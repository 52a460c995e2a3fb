"""What a solver reached, in float64 NumPy, from the coefficients that it returned and nothing else.

With eta = X w, residuals r = -loss'(eta) and z = X' r / n, the duality gap at lam is P - D(s):

    P    = mean loss(eta, y) + lam * penalty(w)
    D(s) = -mean loss*(-s r, y) - (lam * penalty)*(s z)

at the best scale s of the residual for the squared loss (Massias et al. 2018, section 2), at the
largest feasible s <= 1 for others. Every figure is relative: gaps to P(0), KKT distances to the
largest entry of z at w = 0. The losses are shifted to have the minimum 0 where mean = y.
"""

from dataclasses import dataclass

import numpy as np

from path_race.problems import Problem, null_gradient


def xlogx(q: np.ndarray) -> np.ndarray:
    return q * np.log(np.where(q > 0, q, 1))


@dataclass(frozen=True)
class Figures:
    """Per lambda, (n_lams,): objective, best dual value, relative gap, relative KKT distance.

    Of a nonconvex penalty dual and gap are NaN.
    """

    objective: np.ndarray
    dual: np.ndarray
    gap: np.ndarray
    kkt: np.ndarray

    def certificate(self) -> float:
        """The worst gap; of a nonconvex penalty the worst KKT distance. Infinite for NaN."""
        worst = np.max(self.kkt if np.isnan(self.dual).all() else self.gap)
        return float(worst) if np.isfinite(worst) else float("inf")


class Evaluator:
    """Evaluates coefficients (n_lams, p[, k]) of one problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.y = problem.y
        if problem.loss == "multinomial":
            self.y = np.eye(problem.n_outputs)[problem.y.astype(int)]
        zero = np.zeros((1, *self.y.shape))
        self.null = float(self._loss(zero)[0])  # the objective at coef = 0
        self.steepest = float(np.abs(null_gradient(problem.X, problem.y, problem.loss)).max())

    def __call__(self, coefs: np.ndarray) -> Figures:
        problem = self.problem
        wanted = (problem.lams.size, problem.X.shape[1], *self.y.shape[1:])
        coefs = np.asarray(coefs, float)
        if coefs.shape != wanted:
            raise ValueError(f"coefs must have shape {wanted}; got {coefs.shape}")
        with np.errstate(all="ignore"):  # a diverged solver is found out by its figures
            eta = self._times(coefs)
            residual = self.y[None] - self._mean(eta)
            z = self._transposed_times(residual) / len(self.y)
            objective = self._loss(eta) + problem.lams * self._penalty(coefs)
            dual = self._dual(eta, residual, z)
            gap = (objective - dual) / self.null
            kkt = self._kkt_distance(coefs, z) / self.steepest
        return Figures(objective, dual, gap, kkt)

    def _times(self, coefs: np.ndarray) -> np.ndarray:
        """(n_lams, n[, k]) of (n_lams, p[, k])."""
        columns = np.moveaxis(coefs, 1, 0).reshape(coefs.shape[1], -1)
        eta = self.problem.X @ columns
        return np.moveaxis(eta.reshape(-1, coefs.shape[0], *coefs.shape[2:]), 0, 1)

    def _transposed_times(self, residual: np.ndarray) -> np.ndarray:
        columns = np.moveaxis(residual, 1, 0).reshape(residual.shape[1], -1)
        z = self.problem.X.T @ columns
        return np.moveaxis(z.reshape(-1, residual.shape[0], *residual.shape[2:]), 0, 1)

    def _mean(self, eta: np.ndarray) -> np.ndarray:
        loss = self.problem.loss
        if loss == "squared":
            return eta
        if loss == "logistic":
            return 0.5 * (1 + np.tanh(0.5 * eta))
        if loss == "poisson":
            return np.exp(eta)
        power = np.exp(eta - eta.max(axis=-1, keepdims=True))
        return power / power.sum(axis=-1, keepdims=True)

    def _loss(self, eta: np.ndarray) -> np.ndarray:
        """The mean loss of each lambda."""
        y, loss = self.y[None], self.problem.loss
        if loss == "squared":
            each = 0.5 * (eta - y) ** 2
        elif loss == "logistic":
            each = np.logaddexp(0, eta) - y * eta
        elif loss == "poisson":
            each = np.exp(eta) - y * eta + xlogx(y) - y
        else:
            top = eta.max(axis=-1)
            each = np.log(np.exp(eta - top[..., None]).sum(axis=-1)) + top - (y * eta).sum(axis=-1)
        return each.mean(axis=1)

    def _conjugate(self, u: np.ndarray) -> np.ndarray:
        """The mean of loss*(u, y) of each lambda, for u in its domain up to rounding."""
        y, loss = self.y[None], self.problem.loss
        q = u + y
        if loss == "squared":
            each = 0.5 * u**2 + u * y
        elif loss == "logistic":
            q = np.clip(q, 0, 1)
            each = xlogx(q) + xlogx(1 - q)
        elif loss == "poisson":
            q = np.maximum(q, 0)
            each = xlogx(q) - q - xlogx(y) + y
        else:
            each = xlogx(np.maximum(q, 0)).sum(axis=-1)
        return each.mean(axis=1)

    def _groups(self, w: np.ndarray) -> np.ndarray:
        """The norms of the groups, (n_lams, n_groups)."""
        return np.linalg.norm(w.reshape(len(w), -1, self.problem.group_size), axis=2)

    def _penalty(self, w: np.ndarray) -> np.ndarray:
        """The penalty over lam, (n_lams,)."""
        problem = self.problem
        axes = tuple(range(1, w.ndim))
        if problem.penalty == "group lasso":
            return np.sqrt(problem.group_size) * self._groups(w).sum(axis=1)
        if problem.penalty == "mcp":
            lam = problem.lams[:, None]
            inner = np.minimum(np.abs(w), problem.gamma * lam)
            return (inner - inner**2 / (2 * problem.gamma * lam)).sum(axis=1)
        ratio = problem.l1_ratio
        return ratio * np.abs(w).sum(axis=axes) + (1 - ratio) / 2 * (w**2).sum(axis=axes)

    def _dual(self, eta: np.ndarray, residual: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The best D(s) found; NaN for a nonconvex penalty."""
        problem, lams = self.problem, self.problem.lams
        if problem.penalty == "mcp":
            return np.full(lams.size, np.nan)
        if problem.penalty == "elastic net" and problem.l1_ratio < 1:
            return self._ridge_dual(residual, np.abs(z))
        if problem.penalty == "group lasso":
            largest = self._groups(z).max(axis=1) / np.sqrt(problem.group_size)
        else:
            largest = np.abs(z).reshape(len(z), -1).max(axis=1)
        scale = np.minimum(1, lams / np.maximum(largest, np.finfo(float).tiny))
        if problem.loss == "squared":
            top = lams / np.maximum(largest, np.finfo(float).tiny)
            scale = np.clip(self._best_scale(residual), 0, top)
        scale = scale.reshape(-1, *[1] * (residual.ndim - 1))
        return -self._conjugate(-scale * residual)

    def _best_scale(self, residual: np.ndarray) -> np.ndarray:
        """The scale that maximises `s r'y - s^2 r'r / 2`."""
        size = (residual**2).sum(axis=1)
        return residual @ self.y / np.where(size > 0, size, 1)

    def _ridge_dual(self, residual: np.ndarray, z: np.ndarray) -> np.ndarray:
        """D at its best scale, by bisection on the slope, for the squared loss and elastic net."""
        problem, n = self.problem, len(self.y)
        if problem.loss != "squared":
            raise NotImplementedError("the elastic net has a dual here for the squared loss only")
        l1 = (problem.l1_ratio * problem.lams)[:, None]
        l2 = (1 - problem.l1_ratio) * problem.lams
        linear, square = residual @ self.y / n, (residual**2).sum(axis=1) / n
        low, high = np.zeros(len(z)), np.full(len(z), 2.0)
        for _ in range(60):
            s = (low + high) / 2
            slope = linear - s * square
            slope -= (np.maximum(s[:, None] * z - l1, 0) * z).sum(axis=1) / l2
            low, high = np.where(slope > 0, s, low), np.where(slope > 0, high, s)
        s = (low + high) / 2
        excess = np.maximum(s[:, None] * z - l1, 0)
        return s * linear - s**2 * square / 2 - (excess**2).sum(axis=1) / (2 * l2)

    def _kkt_distance(self, w: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The largest distance of z to lam times the subdifferential of the penalty at w."""
        problem = self.problem
        if problem.penalty == "group lasso":
            strength = (problem.lams * np.sqrt(problem.group_size))[:, None]
            shape = (len(w), -1, problem.group_size)
            norms = self._groups(w)[..., None]
            direction = w.reshape(shape) / np.where(norms > 0, norms, 1)
            moved = np.linalg.norm(z.reshape(shape) - strength[..., None] * direction, axis=2)
            still = np.maximum(self._groups(z) - strength, 0)
            return np.where(norms[..., 0] > 0, moved, still).max(axis=1)
        lam = problem.lams.reshape(-1, *[1] * (w.ndim - 1))
        if problem.penalty == "mcp":
            slope = np.maximum(lam - np.abs(w) / problem.gamma, 0) * np.sign(w)
            kink = lam
        else:
            kink = problem.l1_ratio * lam
            slope = kink * np.sign(w) + (1 - problem.l1_ratio) * lam * w
        distance = np.where(w != 0, np.abs(z - slope), np.maximum(np.abs(z) - kink, 0))
        return distance.reshape(len(w), -1).max(axis=1)
