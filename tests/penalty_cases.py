"""The penalties: one row adds a member and every law of tests/laws.py to its tests.

A row says how to make the member and, independently of jreg, what it is: its value and (if it is
convex) its Fenchel conjugate by the textbook, in plain NumPy and float64, of one point. A law that
does not hold for a member is named in `exempt` with one of the reasons of `Exempt`.
"""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import numpy as np

import jreg

SIZE = 5  # entries of most penalties of the table


class Exempt(enum.Enum):
    """Why a law does not apply."""

    NONCONVEX = "nonconvex: its subdifferential is not monotone and it has no dual"
    NOT_A_NORM = "value(c w) is not |c| value(w) for every c, so there is no dual norm"
    NO_ZEROS = "smooth at 0: no finite strength sets an entry to exactly 0"
    CONSTRAINT = "a constraint has no strength"
    ZERO_ALWAYS_STATIONARY = "0 is stationary at every positive strength, so lam_max is 0"
    NEEDS_ONE_STEP = "couples entries: its prox in a diagonal metric has no closed form"
    COUPLED = "couples entries, so it has no restriction to some of them"
    NOT_ZERO_BUT_CONSTANT = "a strong one makes the entries equal, not 0"
    FEASIBLE_SET = "0 or the identity is not what it tends to at strength 0 or inf"


@dataclasses.dataclass(frozen=True)
class PenaltyCase:
    """A penalty of an array of `shape`; its numbers are exact in float32.

    value(w), conjugate(u): independent formulas. counted: entries that are penalised and not
    excluded (those that decide lam_max). excluded: entries of infinite weight. cost: C closed form
    for each entry, R a reduction and then closed, S a sort, F a few iterations, W a data-dependent
    loop, D a matrix decomposition. kinks: magnitudes of v or w where formulas change.
    """

    make: Callable[[], Any]
    value: Callable[[np.ndarray], float]
    conjugate: Callable[[np.ndarray], float] | None
    cost: str
    exempt: Mapping[str, Exempt] = dataclasses.field(default_factory=dict)
    counted: tuple[bool, ...] = (True,) * SIZE
    excluded: tuple[bool, ...] = (False,) * SIZE
    shape: tuple[int, ...] = (SIZE,)
    kinks: tuple[float, ...] = (0.375, 0.75, 1.5)
    blocks: tuple[tuple[int, ...], ...] = tuple((j,) for j in range(SIZE))
    one_for_all_leaves: bool = False  # its arrays belong to every leaf of a tree


NONCONVEX = {
    law: Exempt.NONCONVEX
    for law in (
        "three_point",
        "firmly_nonexpansive",
        "moreau",
        "fenchel_young",
        "conjugate",
        "polar",
        "dual_norm",
    )
}
NOT_A_NORM = {"dual_norm": Exempt.NOT_A_NORM}
SMOOTH = {"dual_norm": Exempt.NOT_A_NORM, "lam_max": Exempt.NO_ZEROS}
STATIONARY = {"lam_max": Exempt.ZERO_ALWAYS_STATIONARY}
ONE_STEP = {"metric": Exempt.NEEDS_ONE_STEP, "restrict": Exempt.COUPLED}
COUPLED = {"restrict": Exempt.COUPLED}
CONSTRAINT = {
    law: Exempt.CONSTRAINT
    for law in (
        "dual_norm",
        "polar",
        "lam_max",
        "strength",
        "strength_limits",
        "traced_bad_strength",
    )
}

CONSTANT = {
    law: Exempt.NOT_ZERO_BUT_CONSTANT for law in ("dual_norm", "lam_max", "strength_limits")
}

WEIGHTS = (1.0, 0.5, 2.0, 0.0, inf)
LAM = 0.75


def weights():
    return np.array(WEIGHTS)


def entries(value, conjugate, cost="C", exempt=None, **more):
    """Fields of a row for a penalty of entries, from formulas of (number, strength > 0)."""

    def total(formula, at_free, at_excluded, s):
        def function(x):
            if formula is None:
                return None
            each = [
                at_free(x) if s == 0 else at_excluded(x) if s == inf else formula(x, s)
                for x, s in zip(map(float, x), s, strict=True)
            ]
            return float(np.sum(each))

        return None if formula is None else function

    only_zero = lambda x: 0.0 if x == 0 else inf  # noqa: E731
    free_value, free_conjugate = more.pop("free", (lambda w: 0.0, only_zero))

    def row(make, strengths, **other):
        s = np.array(strengths)
        return PenaltyCase(
            make=make,
            value=total(value, free_value, only_zero, s),
            conjugate=total(conjugate, free_conjugate, lambda u: 0.0, s),
            cost=cost,
            exempt=exempt or {},
            counted=tuple((s > 0) & (s < inf)),
            excluded=tuple(s == inf),
            **{**more, **other},
        )

    return row


def both(name, make, row, **more):
    """Two rows of a member: equal strengths, and weights with 0 and inf."""
    return {
        name: row(lambda: make(None), (LAM,) * SIZE, **more),
        f"{name}_weighted": row(
            lambda: make(weights()), [w if w == inf else LAM * w for w in WEIGHTS], **more
        ),
    }


def at_most(x, bound):
    return 0.0 if x <= bound * (1 + 1e-12) + 1e-300 else inf


l1 = entries(lambda w, s: s * abs(w), lambda u, s: at_most(abs(u), s))
ridge = entries(lambda w, s: s * w * w / 2, lambda u, s: u * u / (2 * s), exempt=SMOOTH)


def elastic_net(ratio):
    return entries(
        lambda w, s: s * (ratio * abs(w) + (1 - ratio) / 2 * w * w),
        lambda u, s: max(abs(u) - ratio * s, 0) ** 2 / (2 * (1 - ratio) * s),
        exempt=NOT_A_NORM,
    )


def scad_value(w, s, gamma):
    w = abs(w)
    if w <= s:
        return s * w
    if w <= gamma * s:
        return (2 * gamma * s * w - w * w - s * s) / (2 * (gamma - 1))
    return s * s * (gamma + 1) / 2


def mcp_value(w, s, gamma):
    w = abs(w)
    return s * w - w * w / (2 * gamma) if w < gamma * s else gamma * s * s / 2


def groups(ids=(0, 0, 1, 2, 2)):
    return jreg.Groups(list(ids))


BLOCKS = ((0, 1), (2,), (3, 4))


def by_block(f, combine=sum):
    return lambda x: float(combine(f(x[list(b)], np.sqrt(len(b)), g) for g, b in enumerate(BLOCKS)))


def norm(x):
    return float(np.sqrt(np.sum(np.square(x))))


def sparse_group_dual(u, weight):
    """0 where |soft(u, s1)| <= s2 in the group, else inf."""
    rest = np.maximum(np.abs(u) - LAM * 0.25, 0)
    return at_most(norm(rest), LAM * 0.75 * weight)


GROUP_WEIGHTS = (2.0, 0.0, inf)


def weighted_group_value(x, _, g):
    w = GROUP_WEIGHTS[g]
    return LAM * w * norm(x) if w < inf else at_most(norm(x), 0)


def weighted_group_conjugate(u, _, g):
    w = GROUP_WEIGHTS[g]
    return at_most(norm(u), LAM * w) if w < inf else 0.0


SLOPE_WEIGHTS = (2.0, 1.5, 1.0, 1.0, 0.5)


def decreasing(x):
    return np.sort(np.abs(x).ravel())[::-1]


def slope_conjugate(u):
    return at_most(np.max(np.cumsum(decreasing(u)) / np.cumsum(SLOPE_WEIGHTS)), LAM)


def nearly_zero_sum(u):
    """0 or inf; only entries that sum to 0 are dual to a constant vector."""
    return 0.0 if abs(np.sum(u)) <= 1e-3 * np.abs(u).max() else inf


def total_variation(w):
    return float(np.abs(np.diff(w)).sum())


def total_variation_conjugate(u):
    return nearly_zero_sum(u) + at_most(np.abs(np.cumsum(u - np.mean(u))).max(), LAM)


def fused_conjugate(u, l1=0.25 * LAM, tv=0.75 * LAM):
    """0 if u = a + D'z with |a| <= l1, |z| <= tv: the intervals that hold each z_i in turn."""
    low = high = 0.0
    for x in u[:-1]:
        low, high = max(low - x - l1, -tv), min(high - x + l1, tv)
        if low > high + 1e-12:
            return inf
    slack = 1e-12
    return 0.0 if low - u[-1] - l1 <= slack and high - u[-1] + l1 >= -slack else inf


def isotonic_conjugate(u):
    return nearly_zero_sum(u) + at_most(-np.cumsum(u - np.mean(u)).min(), 1e-3 * np.abs(u).max())


def singular_values(w):
    return np.linalg.svd(w, compute_uv=False)


MATRIX = {
    "shape": (3, 2),
    "counted": (True,) * 6,
    "excluded": (False,) * 6,
    "blocks": (tuple(range(6)),),
}

PENALTIES = {
    **both("l1", lambda w: jreg.L1(LAM, w), l1),
    **both(
        "nonnegative_l1",
        lambda w: jreg.penalties.NonNegativeL1(LAM, w),
        entries(
            lambda w, s: s * w if w >= 0 else inf,
            lambda u, s: at_most(u, s),
            exempt=NOT_A_NORM,
            free=(lambda w: 0.0 if w >= 0 else inf, lambda u: at_most(u, 0)),
        ),
    ),
    **both(
        "asymmetric_l1",
        lambda w: jreg.penalties.AsymmetricL1(LAM, above=2.0, below=0.5, weights=w),
        entries(
            lambda w, s: s * max(2 * w, -0.5 * w),
            lambda u, s: max(at_most(u, 2 * s), at_most(-u, 0.5 * s)),
            exempt=NOT_A_NORM,
        ),
    ),
    **both("elastic_net", lambda w: jreg.ElasticNet(LAM, 0.25, w), elastic_net(0.25)),
    "elastic_net_as_l1": dataclasses.replace(
        l1(lambda: jreg.ElasticNet(LAM, 1.0), (LAM,) * SIZE), exempt=NOT_A_NORM
    ),
    "elastic_net_as_ridge": ridge(lambda: jreg.ElasticNet(LAM, 0.0), (LAM,) * SIZE),
    **both("ridge", lambda w: jreg.Ridge(LAM, w), ridge),
    **both(
        "huber",
        lambda w: jreg.penalties.Huber(LAM, 0.5, w),
        entries(
            lambda w, s: s * (w * w / 2 if abs(w) <= 0.5 else 0.5 * (abs(w) - 0.25)),
            lambda u, s: u * u / (2 * s) + at_most(abs(u), 0.5 * s),
            exempt=SMOOTH,
        ),
    ),
    "box": entries(
        lambda w, s: 0.0 if -0.5 <= w <= 1 else inf,
        lambda u, s: u if u > 0 else -0.5 * u,
        exempt=CONSTRAINT,
    )(lambda: jreg.penalties.Box(-0.5, 1.0), (1.0,) * SIZE),
    "box_of_arrays": PenaltyCase(
        make=lambda: jreg.penalties.Box(
            np.array([-inf, 0.0, -1.0, 0.5, 0.0]), np.array([inf, inf, 1.0, 2.0, 0.0])
        ),
        value=lambda w: (
            0.0 if w[1] >= 0 and abs(w[2]) <= 1 and 0.5 <= w[3] <= 2 and w[4] == 0 else inf
        ),
        conjugate=lambda u: (
            at_most(abs(u[0]), 0) + at_most(u[1], 0) + abs(u[2]) + max(0.5 * u[3], 2 * u[3])
        ),
        cost="C",
        exempt=CONSTRAINT,
        counted=(False, True, True, True, True),
    ),
    "nonnegative": entries(
        lambda w, s: 0.0 if w >= 0 else inf, lambda u, s: at_most(u, 0), exempt=CONSTRAINT
    )(lambda: jreg.penalties.NonNegative(), (1.0,) * SIZE),
    **both(
        "l0",
        lambda w: jreg.penalties.L0(LAM, w),
        entries(lambda w, s: s * (w != 0), None, exempt=NONCONVEX | STATIONARY),
    ),
    **both(
        "l_half",
        lambda w: jreg.penalties.LHalf(LAM, w),
        entries(lambda w, s: s * np.sqrt(abs(w)), None, exempt=NONCONVEX | STATIONARY),
    ),
    **both(
        "mcp",
        lambda w: jreg.penalties.MCP(LAM, 2.0, w),
        entries(lambda w, s: mcp_value(w, s, 2.0), None, exempt=NONCONVEX),
    ),
    **both(
        "scad",
        lambda w: jreg.penalties.SCAD(LAM, 2.5, w),
        entries(lambda w, s: scad_value(w, s, 2.5), None, exempt=NONCONVEX),
    ),
    **both(
        "log_sum",
        lambda w: jreg.penalties.LogSum(LAM, 0.5, w),
        entries(lambda w, s: s * np.log1p(abs(w) / 0.5), None, exempt=NONCONVEX),
    ),
    **both(
        "capped_l1",
        lambda w: jreg.penalties.CappedL1(LAM, 1.25, w),
        entries(lambda w, s: s * min(abs(w), 1.25), None, exempt=NONCONVEX),
    ),
    "group_lasso": PenaltyCase(
        make=lambda: jreg.GroupLasso(LAM, groups=groups()),
        value=by_block(lambda x, weight, g: LAM * weight * norm(x)),
        conjugate=by_block(lambda u, weight, g: at_most(norm(u), LAM * weight), max),
        cost="R",
        exempt=COUPLED,
    ),
    "group_lasso_weighted": PenaltyCase(
        make=lambda: jreg.GroupLasso(LAM, np.array(GROUP_WEIGHTS), groups=groups()),
        value=by_block(weighted_group_value),
        conjugate=by_block(weighted_group_conjugate, max),
        cost="R",
        exempt=COUPLED,
        counted=(True, True, False, False, False),
        excluded=(False, False, False, True, True),
    ),
    "group_lasso_empty_group": PenaltyCase(
        make=lambda: jreg.GroupLasso(LAM, groups=groups((4, 4, 0, 2, 2))),
        value=by_block(lambda x, weight, g: LAM * weight * norm(x)),
        conjugate=by_block(lambda u, weight, g: at_most(norm(u), LAM * weight), max),
        cost="R",
        exempt=COUPLED,
    ),
    "group_lasso_rows": PenaltyCase(
        make=lambda: jreg.GroupLasso(LAM, axis=0),
        value=lambda w: LAM * sum(np.sqrt(2) * norm(row) for row in w),
        conjugate=lambda u: max(at_most(norm(row), LAM * np.sqrt(2)) for row in u),
        cost="R",
        exempt=COUPLED,
        shape=(3, 2),
        counted=(True,) * 6,
        excluded=(False,) * 6,
    ),
    "group_lasso_columns": PenaltyCase(
        make=lambda: jreg.GroupLasso(LAM, np.ones(2), axis=-1),
        value=lambda w: LAM * sum(norm(column) for column in w.T),
        conjugate=lambda u: max(at_most(norm(column), LAM) for column in u.T),
        cost="R",
        exempt=COUPLED,
        shape=(3, 2),
        counted=(True,) * 6,
        excluded=(False,) * 6,
    ),
    "l2_norm": PenaltyCase(
        make=lambda: jreg.GroupLasso(LAM, np.ones(1)),
        value=lambda w: LAM * norm(w),
        conjugate=lambda u: at_most(norm(u), LAM),
        cost="R",
        exempt=COUPLED,
    ),
    "sparse_group_lasso": PenaltyCase(
        make=lambda: jreg.penalties.SparseGroupLasso(LAM, 0.25, groups=groups()),
        value=lambda w: (
            0.25 * LAM * float(np.sum(np.abs(w)))
            + by_block(lambda x, weight, g: 0.75 * LAM * weight * norm(x))(w)
        ),
        conjugate=by_block(lambda u, weight, g: sparse_group_dual(u, weight), max),
        cost="R",
        exempt=ONE_STEP,
    ),
    "nonnegative_group_lasso": PenaltyCase(
        make=lambda: jreg.penalties.NonNegativeGroupLasso(LAM, groups=groups()),
        value=by_block(lambda x, weight, g: LAM * weight * norm(x) if x.min() >= 0 else inf),
        conjugate=by_block(lambda u, weight, g: at_most(norm(np.maximum(u, 0)), LAM * weight), max),
        cost="R",
        exempt=NOT_A_NORM | COUPLED,
    ),
    "group_mcp": PenaltyCase(
        make=lambda: jreg.penalties.GroupMCP(LAM, 2.0, groups=groups()),
        value=by_block(lambda x, weight, g: mcp_value(norm(x), LAM * weight, 2.0)),
        conjugate=None,
        cost="R",
        exempt=NONCONVEX | ONE_STEP,
        blocks=BLOCKS,
    ),
    "group_l0": PenaltyCase(
        make=lambda: jreg.penalties.GroupL0(LAM, groups=groups()),
        value=by_block(lambda x, weight, g: LAM * (norm(x) > 0)),
        conjugate=None,
        cost="R",
        exempt=NONCONVEX | STATIONARY | ONE_STEP,
        blocks=BLOCKS,
    ),
    "slope": PenaltyCase(
        make=lambda: jreg.penalties.SLOPE(LAM, np.array(SLOPE_WEIGHTS)),
        value=lambda w: LAM * float(np.dot(SLOPE_WEIGHTS, decreasing(w))),
        conjugate=slope_conjugate,
        cost="W",
        one_for_all_leaves=True,
        exempt=ONE_STEP,
    ),
    "linf": PenaltyCase(
        make=lambda: jreg.penalties.Linf(LAM),
        value=lambda w: LAM * float(np.abs(w).max()),
        conjugate=lambda u: at_most(np.abs(u).sum(), LAM),
        cost="S",
        exempt=ONE_STEP,
    ),
    "total_variation": PenaltyCase(
        make=lambda: jreg.penalties.TotalVariation(LAM),
        value=lambda w: LAM * total_variation(w),
        conjugate=total_variation_conjugate,
        cost="W",
        exempt=ONE_STEP | CONSTANT,
    ),
    "fused_lasso": PenaltyCase(
        make=lambda: jreg.penalties.FusedLasso(LAM, 0.25),
        value=lambda w: LAM * (0.25 * float(np.abs(w).sum()) + 0.75 * total_variation(w)),
        conjugate=fused_conjugate,
        cost="W",
        exempt=ONE_STEP,
    ),
    "isotonic": PenaltyCase(
        make=lambda: jreg.penalties.Isotonic(),
        value=lambda w: 0.0 if np.diff(w).min() >= 0 else inf,
        conjugate=isotonic_conjugate,
        cost="W",
        exempt=ONE_STEP | CONSTRAINT,
    ),
    "nuclear": PenaltyCase(
        make=lambda: jreg.penalties.Nuclear(LAM),
        value=lambda w: LAM * float(singular_values(w).sum()),
        conjugate=lambda u: at_most(singular_values(u).max(), LAM),
        cost="D",
        exempt=ONE_STEP,
        **MATRIX,
    ),
    "rank": PenaltyCase(
        make=lambda: jreg.penalties.Rank(LAM),
        value=lambda w: LAM * int(np.sum(singular_values(w) > 1e-6 * np.abs(w).max())),
        conjugate=None,
        cost="D",
        exempt=NONCONVEX | STATIONARY | ONE_STEP,
        **MATRIX,
    ),
}
