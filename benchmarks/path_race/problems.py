"""The problems of the race: seeded generators and real data, each with its grid of lambdas.

    minimise over coef:  mean_i loss(x_i coef, y_i) + lam * penalty(coef)

No intercept; columns standardised (sparse ones scaled to root mean square 1), so that every solver
is given the same numbers and none has to standardise.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Matrix = Any  # an array in Fortran order or a SciPy matrix in compressed columns


@dataclass(frozen=True)
class Problem:
    """Data, loss, penalty and grid.

    loss: "squared" (half), "logistic" (y in {0, 1}), "poisson" or "multinomial" (y in 0 .. k - 1).
    penalty: "l1"; "elastic net" `l1_ratio |w|_1 + (1 - l1_ratio)/2 |w|^2`; "group lasso"
    `sqrt(group_size) sum_g |w_g|` over consecutive columns; "mcp" with `gamma`.
    """

    name: str
    X: Matrix
    y: np.ndarray
    lams: np.ndarray
    loss: str = "squared"
    penalty: str = "l1"
    l1_ratio: float = 1.0
    gamma: float = 3.0
    group_size: int = 1

    @property
    def sparse(self) -> bool:
        return not isinstance(self.X, np.ndarray)

    @property
    def n_outputs(self) -> int:
        return int(self.y.max()) + 1 if self.loss == "multinomial" else 1

    def kind(self) -> tuple[str, str]:
        return self.loss, self.penalty


def null_gradient(X: Matrix, y: np.ndarray, loss: str) -> np.ndarray:
    """`X' (y - mean at coef 0) / n`, (p,) or (p, k)."""
    if loss == "multinomial":
        k = int(y.max()) + 1
        residual = np.eye(k)[y.astype(int)] - 1 / k
    else:
        residual = y - {"squared": 0.0, "logistic": 0.5, "poisson": 1.0}[loss]
    return X.T @ residual / len(y)


def lam_max(gradient: np.ndarray, penalty: str, l1_ratio: float, group_size: int) -> float:
    """The smallest lam at which all coefficients are 0."""
    if penalty == "group lasso":
        norms = np.linalg.norm(gradient.reshape(-1, group_size), axis=1)
        return float(norms.max() / np.sqrt(group_size))
    return float(np.abs(gradient).max() / l1_ratio)


def posed(name: str, X: Matrix, y: np.ndarray, ratio: float, n_lams: int, **kind: Any) -> Problem:
    """The problem with a geometric grid from lam_max to `ratio` times that."""
    problem = Problem(name, X, y, np.ones(1), **kind)
    first = lam_max(
        null_gradient(X, y, problem.loss), problem.penalty, problem.l1_ratio, problem.group_size
    )
    return dataclasses.replace(problem, lams=first * np.geomspace(1, ratio, n_lams))


def standardized(X: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and 1/n variance 1 in Fortran order; constant ones are 0."""
    X = np.asfortranarray(X, dtype=float)
    X = X - X.mean(axis=0)
    scale = X.std(axis=0)
    X /= np.where(scale > 1e-12 * np.abs(X).max(), scale, np.inf)
    return X


def linear_signal(n: int, p: int, rho: float, group_size: int, rng: Any) -> tuple:
    """AR(1) columns and `X w` for a sparse w of max(10, min(n, p) // 20) nonzeros."""
    X, noise = np.empty((n, p), order="F"), rng.standard_normal((n, p))
    X[:, 0] = noise[:, 0]
    for j in range(1, p):
        X[:, j] = rho * X[:, j - 1] + np.sqrt(1 - rho**2) * noise[:, j]
    k = max(10, min(n, p) // 20)
    w = np.zeros(p)
    if group_size == 1:
        chosen = rng.choice(p, min(k, p), replace=False)
    else:
        groups = rng.choice(p // group_size, min(10, p // group_size), replace=False)
        chosen = (groups[:, None] * group_size + np.arange(group_size)[None]).ravel()
    w[chosen] = rng.choice([-1, 1], chosen.size) * rng.uniform(0.5, 1.5, chosen.size)
    return X, X @ w


def noisy(signal: np.ndarray, snr: float, rng: Any) -> np.ndarray:
    """Signal plus Gaussian noise, of mean 0 and variance 1."""
    n = len(signal)
    size = np.linalg.norm(signal) / np.sqrt(n * snr)
    y = signal + size * rng.standard_normal(n)
    return (y - y.mean()) / y.std()


def simulated(
    name: str,
    n: int,
    p: int,
    ratio: float = 0.01,
    n_lams: int = 100,
    rho: float = 0.5,
    loss: str = "squared",
    **kind: Any,
) -> Problem:
    """AR(1) design, signal to noise 5, seed 0; for a GLM the response has that linear predictor."""
    rng = np.random.default_rng(0)
    X, signal = linear_signal(n, p, rho, kind.get("group_size", 1), rng)
    y = noisy(signal, 5.0, rng)
    draw = np.random.default_rng(1)
    if loss == "logistic":
        y = (draw.random(n) < 1 / (1 + np.exp(-3 * y))).astype(float)
    elif loss == "poisson":
        y = draw.poisson(np.exp(y)).astype(float)
    return posed(name, standardized(X), y, ratio, n_lams, loss=loss, **kind)


def sparse_design(name: str, n: int, p: int, density: float, n_lams: int = 100) -> Problem:
    """A random sparse design, columns scaled to root mean square 1 and not centred."""
    from scipy import sparse

    rng = np.random.default_rng(0)
    count = rng.binomial(n, density, size=p)
    indptr = np.concatenate([[0], np.cumsum(count)])
    rows = [np.sort(rng.choice(n, size, replace=False)) for size in count]
    indices = np.concatenate(rows).astype(np.int32)
    data = rng.standard_normal(indices.size)
    size = np.sqrt(np.add.reduceat(np.append(data**2, 0), indptr[:-1]) / n)
    data /= np.repeat(np.where(count > 0, size, 1), count)
    X = sparse.csc_matrix((data, indices, indptr.astype(np.int32)), shape=(n, p))
    w = np.zeros(p)
    k = max(10, min(n, p) // 20)
    w[rng.choice(p, k, replace=False)] = rng.choice([-1, 1], k) * rng.uniform(0.5, 1.5, k)
    return posed(name, X, noisy(X @ w, 5.0, rng), 0.01, n_lams)


def diabetes(name: str, degree: int, n_lams: int = 100) -> Problem:
    """scikit-learn's diabetes data with all monomials up to a degree; degree 4 makes 1000."""
    import itertools

    from sklearn.datasets import load_diabetes

    raw, y = load_diabetes(return_X_y=True)
    raw = standardized(raw)
    powers = itertools.chain.from_iterable(
        itertools.combinations_with_replacement(range(raw.shape[1]), d)
        for d in range(1, degree + 1)
    )
    X = np.stack([raw[:, list(power)].prod(axis=1) for power in powers], axis=1)
    return posed(name, standardized(X), (y - y.mean()) / y.std(), 0.01, n_lams)


def digits(name: str, n: int | None = None, n_lams: int = 100) -> Problem:
    """scikit-learn's digits, 1797 x 64 in ten classes."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    X, y = standardized(X[:n]), y[:n].astype(float)
    return posed(name, X, y, 0.01, n_lams, loss="multinomial")


def race() -> dict[str, Callable[[str], Problem]]:
    """The problems by name, each made when it is asked for."""

    def make(n: int, p: int, **options: Any) -> Callable[[str], Problem]:
        return lambda name: simulated(name, n, p, **options)

    net = {"penalty": "elastic net", "l1_ratio": 0.5}
    return {
        "lasso 200 x 5000": make(200, 5000),
        "lasso 1000 x 10000": make(1000, 10000),
        "lasso 10000 x 500": make(10000, 500),
        "lasso 100000 x 200": make(100000, 200),
        "lasso 5000 x 5000": make(5000, 5000),
        "lasso AR 0.9 1000 x 10000": make(1000, 10000, rho=0.9),
        "lasso diabetes 442 x 1000": lambda name: diabetes(name, 4),
        "lasso sparse 20000 x 50000": lambda name: sparse_design(name, 20000, 50000, 0.001),
        "lasso deep 200 x 5000": make(200, 5000, ratio=1e-4),
        "elastic net 1000 x 10000": make(1000, 10000, **net),
        "logistic 200 x 5000": make(200, 5000, loss="logistic"),
        "logistic 1000 x 10000": make(1000, 10000, loss="logistic", ratio=0.05),
        "logistic 10000 x 1000": make(10000, 1000, loss="logistic"),
        "poisson 2000 x 2000": make(2000, 2000, loss="poisson"),
        "multinomial digits 1797 x 64": digits,
        "group lasso 1000 x 10000": make(1000, 10000, penalty="group lasso", group_size=10),
        "MCP 10000 x 1000": make(10000, 1000, penalty="mcp"),
    }


def smoke() -> dict[str, Callable[[str], Problem]]:
    """One small problem of every kind."""

    def make(n: int, p: int, **options: Any) -> Callable[[str], Problem]:
        return lambda name: simulated(name, n, p, n_lams=8, ratio=0.1, **options)

    net = {"penalty": "elastic net", "l1_ratio": 0.5}
    return {
        "lasso 30 x 60": make(30, 60),
        "lasso 80 x 20": make(80, 20),
        "lasso sparse 200 x 300": lambda name: sparse_design(name, 200, 300, 0.02, n_lams=8),
        "elastic net 30 x 60": make(30, 60, **net),
        "logistic 40 x 60": make(40, 60, loss="logistic"),
        "poisson 60 x 40": make(60, 40, loss="poisson"),
        "multinomial digits 200 x 64": lambda name: digits(name, 200, n_lams=8),
        "group lasso 40 x 60": make(40, 60, penalty="group lasso", group_size=10),
        "MCP 80 x 20": make(80, 20, penalty="mcp"),
    }


def save(problem: Problem, folder: Path) -> None:
    """Write the problem as .npy files and problem.json."""
    arrays = {"y": problem.y, "lams": problem.lams}
    if problem.sparse:
        arrays |= {part: getattr(problem.X, part) for part in ("data", "indices", "indptr")}
    else:
        arrays["X"] = np.asfortranarray(problem.X)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    words = {
        field.name: getattr(problem, field.name)
        for field in dataclasses.fields(problem)
        if field.name not in ("X", "y", "lams")
    }
    words |= {"shape": problem.X.shape, "sparse": problem.sparse, "n_outputs": problem.n_outputs}
    (folder / "problem.json").write_text(json.dumps(words))


def load(folder: Path) -> Problem:
    """What `save` wrote."""
    words = json.loads((folder / "problem.json").read_text())
    shape, is_sparse, _ = words.pop("shape"), words.pop("sparse"), words.pop("n_outputs")
    if is_sparse:
        from scipy import sparse

        parts = [np.load(folder / f"{name}.npy") for name in ("data", "indices", "indptr")]
        X = sparse.csc_matrix(tuple(parts), shape=tuple(shape))
    else:
        X = np.load(folder / "X.npy")
    return Problem(X=X, y=np.load(folder / "y.npy"), lams=np.load(folder / "lams.npy"), **words)
