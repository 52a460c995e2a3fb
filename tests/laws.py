"""The laws of penalties: functions of one member's `Probe`, each an AssertionError where it fails.

A `Probe` holds what jreg computes for a member in one dtype on a fixed bank of points, in a few
compiled calls; the laws compare it, in NumPy and float64, with the independent formulas of the row.
`tests/test_mutants.py` runs the same laws on proxes that were made wrong.
"""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from penalty_cases import PENALTIES

TOL = {"float32": 2e-6, "float64": 4e-15}  # some ulps, relative to the size of the input
STEPS = (1.0, 0.5, 2.0, 0.03125, 8.0, 1.0, 3.0)
H = 2.0**-20  # a short step


def precision(dtype):
    """The context in which JAX computes in `dtype`."""
    return jax.enable_x64(dtype == "float64")


def bank(case):
    """Points of one shape: random ones of several scales, ties, zeros, kinks, few different."""
    rng = np.random.default_rng(7)
    n = int(np.prod(case.shape))
    signs = rng.choice([-1.0, 1.0], (8, n))
    points = [
        rng.normal(size=(16, n)),
        3 * rng.normal(size=(12, n)),
        0.1 * rng.normal(size=(4, n)),
        np.round(2 * rng.normal(size=(8, n))),
        signs * rng.choice(case.kinks, (8, n)),
        rng.choice([0.0, 1.0, -3.0, 0.375], (6, n)),
        np.full((1, n), 1.5),
        np.full((1, n), -0.75),
        np.zeros((1, n)),
        np.full((1, n), -0.0),
        np.arange(n)[None, :] - 2.0,
    ]
    flat = np.concatenate(points).astype("float32").astype(float)  # the same numbers in both dtypes
    return flat.reshape(-1, *case.shape)


# One compiled function a method; every penalty type has its own program.
jit_value = jax.jit(jax.vmap(lambda penalty, w: penalty.value(w), (None, 0)))
jit_gradient = jax.jit(jax.vmap(jax.grad(lambda w, penalty: penalty.value(w)), (0, None)))
jit_conjugate = jax.jit(jax.vmap(lambda penalty, u: penalty.conjugate(u), (None, 0)))
jit_polar = jax.jit(jax.vmap(lambda penalty, u: penalty.polar(u), (None, 0)))
jit_distance = jax.jit(jax.vmap(lambda penalty, w, g: penalty.kkt_distance(w, g), (None, 0, 0)))
jit_lam_max = jax.jit(jax.vmap(lambda penalty, g: penalty.lam_max(g), (None, 0)))
jit_prox = jax.jit(jax.vmap(lambda penalty, v, step: penalty.prox(v, step), (None, 0, 0)))


@dataclasses.dataclass(frozen=True)
class Probe:
    """A member in one dtype. prox: `(penalty, V, steps) -> Z`, so that a wrong one can be tried."""

    name: str
    dtype: str
    prox: object = jit_prox

    @functools.cached_property
    def case(self):
        return PENALTIES[self.name]

    @functools.cached_property
    def penalty(self):
        return self.case.make()

    @functools.cached_property
    def V(self):
        return bank(self.case)

    @functools.cached_property
    def steps(self):
        return np.resize(STEPS, len(self.V))

    @functools.cached_property
    def Z(self):
        """The prox at the bank."""
        return self.prox_at(self.V, self.steps)

    @functools.cached_property
    def Z_values(self):
        """Their independent values."""
        return self.naive_value(self.Z)

    def prox_at(self, V, steps, penalty=None):
        with precision(self.dtype):
            penalty = self.penalty if penalty is None else penalty
            Z = self.prox(penalty, np.asarray(V, self.dtype), np.asarray(steps, self.dtype))
            assert Z.dtype == self.dtype
            assert Z.shape == V.shape
        return np.asarray(Z, float)

    def call(self, function, *arrays, penalty=None):
        with precision(self.dtype):
            penalty = self.penalty if penalty is None else penalty
            result = function(penalty, *(np.asarray(a, self.dtype) for a in arrays))
            assert result.dtype == self.dtype
        return np.asarray(result, float)

    def naive_value(self, points):
        return np.array([self.case.value(w) for w in points])

    def naive_conjugate(self, points):
        return np.array([self.case.conjugate(u) for u in points])

    @functools.cached_property
    def tol(self):
        return TOL[self.dtype]

    @functools.cached_property
    def feasible(self):
        """Points of the domain with zeros, ties and other structure."""
        return self.Z[np.isfinite(self.Z_values)]


def each(points):
    """One row a point."""
    return points.reshape(len(points), -1)


def inner(a, b):
    return np.sum(each(a) * each(b), axis=1)


def size(*arrays):
    """1 + the largest finite magnitude of each point: the scale of rounding."""
    return 1 + np.maximum.reduce([np.abs(each(a)).max(axis=1, initial=0) for a in arrays])


def at_most(a, b, slack):
    """a <= b + slack, where infinite equals infinite."""
    with np.errstate(invalid="ignore"):
        fine = (a <= b + slack) | (a == b)
    assert fine.all(), f"{(~fine).sum()} of {fine.size} fail: {a[~fine][:3]} > {b[~fine][:3]}"


# --- the prox ---------------------------------------------------------------------------------


def beats_perturbations(probe):
    """No other point has a smaller objective: random ones at three scales, and sparser ones."""
    V, Z, steps = probe.V, probe.Z, probe.steps
    rng = np.random.default_rng(0)
    best = steps * probe.Z_values + 0.5 * inner(Z - V, Z - V)
    assert np.isfinite(best).all()
    # second order at the minimiser: the error of z is squared; at a kink it is not
    slack = 10 * probe.tol * size(V) * (1 + steps)
    movable = ~np.reshape(probe.case.excluded, probe.case.shape)
    others = [Z + scale * movable * rng.normal(size=Z.shape) for scale in (1e-3, 1e-1, 3.0)]
    others += [np.where(rng.random(Z.shape) < 0.3, 0, Z), np.where(movable, V, 0), 0 * Z]
    for other in others:
        objective = steps * probe.naive_value(other) + 0.5 * inner(other - V, other - V)
        at_most(best, objective, slack)


def no_better_on_a_ray(probe):
    """Each block of the prox is the best multiple of that block of v: a global check, on a grid of
    sizes dense enough to see where it jumps, for steps below, at and above the convex ones."""
    if probe.penalty.convex:
        return  # the three-point inequality says it of all points
    case, blocks = probe.case, [list(b) for b in probe.case.blocks]
    n = int(np.prod(case.shape))
    rows = 1600 // len(blocks)
    radii = np.arange(rows * len(blocks)).reshape(rows, len(blocks)) * (6 / (rows * len(blocks)))
    direction = np.random.default_rng(1).normal(size=n)
    V = np.zeros((rows, n))
    for k, block in enumerate(blocks):
        unit = direction[block] / np.linalg.norm(direction[block])
        V[:, block] = radii[:, k, None] * unit
    V = V.astype("float32").astype(float).reshape(rows, *case.shape)
    for step in (0.25, 2.0, 4.0):
        Z = probe.prox_at(V, np.full(rows, step))
        mine = step * probe.naive_value(Z)
        for block in blocks:
            if np.any(np.array(case.excluded)[block]):
                continue
            distance = 0.5 * np.sum((each(Z) - each(V))[:, block] ** 2, axis=1)
            for factor in (0.0, 0.01, 0.2, 0.4, 0.6, 0.8, 0.9, 0.99, 1.0):
                other = each(Z).copy()
                other[:, block] = factor * each(V)[:, block]
                moved = 0.5 * np.sum((other - each(V))[:, block] ** 2, axis=1)
                theirs = step * probe.naive_value(other.reshape(V.shape))
                slack = 20 * probe.tol * size(V) ** 2 * (1 + step)
                at_most(mine + distance, theirs + moved, slack)


def three_point(probe):
    """`2 t (f(z) - f(u)) <= |u - v|^2 - |u - z|^2 - |z - v|^2`: what makes z a convex prox."""
    V, Z, steps = probe.V, probe.Z, probe.steps
    for shift in (1, 5, 11):
        for U in (np.roll(Z, shift, axis=0), np.roll(V, shift, axis=0)):
            values = probe.naive_value(U)
            kept = np.isfinite(values)
            left = 2 * steps * (probe.Z_values - np.where(kept, values, 0))
            right = inner(U - V, U - V) - inner(U - Z, U - Z) - inner(Z - V, Z - V)
            slack = 20 * probe.tol * size(U, V) ** 2 * (1 + steps)
            at_most(left[kept], right[kept], slack[kept])


def firmly_nonexpansive(probe):
    """`|Pv - Pu|^2 <= <Pv - Pu, v - u>` for equal steps."""
    V, Z, steps = probe.V, probe.Z, probe.steps
    for shift in (1, 3, 7):
        other = np.roll(np.arange(len(V)), shift * len(STEPS))
        same = steps == steps[other]
        moved = (Z - Z[other])[same]
        slack = 10 * probe.tol * size(V, V[other])[same] ** 2
        at_most(inner(moved, moved), inner(moved, (V - V[other])[same]), slack)


def moreau(probe):
    """z and u = (v - z) / t are dual: f(z) + f*(u) = <z, u>, both independent of jreg."""
    U = (probe.V - probe.Z) / probe.steps.reshape(-1, *[1] * len(probe.case.shape))
    shrunk = U / (1 + 20 * probe.tol * size(U).reshape(-1, *[1] * len(probe.case.shape)))
    # rounding may leave the domain of f* by an ulp: u is drawn towards 0 and re-checked
    conjugate = np.fmin(probe.naive_conjugate(U), probe.naive_conjugate(shrunk))
    small = 40 * probe.tol * (size(probe.V) / np.minimum(probe.steps, 1)) ** 2
    drawn = [_nearest_domain(probe, u, slack) for u, slack in zip(U, small, strict=True)]
    conjugate = np.where(np.isinf(conjugate), drawn, conjugate)
    gap = probe.Z_values + conjugate - inner(probe.Z, U)
    at_most(np.abs(gap), np.zeros(len(gap)), small * (1 + probe.steps))


def _nearest_domain(probe, u, slack):
    """f* at the nearest of a few points within `slack` of u: rounding is not a defect."""
    tries = [np.sign(u) * np.maximum(np.abs(u) - slack, 0)]
    return min(probe.case.conjugate(t) for t in tries)


def zero_is_fixed(probe):
    """0 minimises every penalty whose domain holds it, so prox(0) = 0; and never -0.0."""
    zero = np.zeros((2, *probe.case.shape))
    if np.isfinite(probe.case.value(zero[0])):
        np.testing.assert_array_equal(probe.prox_at(zero, [0.5, 3.0]), 0)
        np.testing.assert_array_equal(probe.prox_at(-zero, [0.5, 3.0]), 0)
    tiny = np.finfo(probe.dtype).tiny
    for V in (probe.V, np.full_like(zero, -0.0), np.full_like(zero, -tiny)):
        Z = probe.prox_at(V, np.resize(STEPS, len(V)))
        assert not ((Z == 0) & np.signbit(Z)).any()


def step_zero(probe):
    """On the domain a step of 0 is the identity."""
    Z = probe.feasible
    slack = probe.tol * size(Z).max()
    np.testing.assert_allclose(probe.prox_at(Z, np.zeros(len(Z))), Z, rtol=0, atol=slack)


def metric(probe):
    """A step for each entry: equal ones are a scalar step; others minimise in their metric."""
    case, V, Z = probe.case, probe.V, probe.Z
    tail = [1] * len(case.shape)
    equal = np.broadcast_to(probe.steps.reshape(-1, *tail), V.shape)
    slack = 20 * probe.tol * size(V).reshape(-1, *tail)
    assert (np.abs(probe.prox_at(V, equal) - Z) <= slack).all()

    rng = np.random.default_rng(3)
    steps = np.exp(rng.normal(size=V.shape)).astype("float32").astype(float)
    Z = probe.prox_at(V, steps)
    best = probe.naive_value(Z) + 0.5 * inner((Z - V) / steps, Z - V)
    movable = ~np.reshape(case.excluded, case.shape)
    others = [Z + scale * movable * rng.normal(size=Z.shape) for scale in (1e-3, 1e-1, 3.0)]
    for other in [*others, np.where(movable, V, 0), 0 * Z]:
        objective = probe.naive_value(other) + 0.5 * inner((other - V) / steps, other - V)
        at_most(best, objective, 20 * probe.tol * size(V) ** 2 / steps.min())
    distance = probe.call(jit_distance, Z, (Z - V) / steps)
    at_most(each(distance).max(axis=1), 0 * best, 40 * probe.tol * size(V / steps) ** 1.5)


def one_at_a_time(probe):
    """vmap is a loop, jit changes nothing."""
    for k in (0, 17, 40):
        with precision(probe.dtype):
            v, step = np.asarray(probe.V[k], probe.dtype), np.asarray(probe.steps[k], probe.dtype)
            z = np.asarray(probe.penalty.prox(v, step), float)
        np.testing.assert_allclose(z, probe.Z[k], atol=10 * probe.tol * (1 + np.abs(v).max()))


# --- value and conjugate ----------------------------------------------------------------------


def value(probe):
    """... is the textbook's, in and out of the domain, also where squares underflow."""
    points = np.concatenate([probe.V, probe.Z, 1e-20 * probe.V])
    found = probe.call(jit_value, points)
    expected = probe.naive_value(points.astype(probe.dtype).astype(float))
    np.testing.assert_allclose(found, expected, rtol=20 * probe.tol, atol=1e-30)


def conjugate(probe):
    """... is the textbook's, at subgradients and at points well off the edge of its domain."""
    U = np.concatenate([probe.V, 0.01 * probe.V, 100 * probe.V])
    expected = probe.naive_conjugate(U)
    edge = np.array(
        [
            np.isinf(probe.case.conjugate(u * 1.0001)) != np.isinf(probe.case.conjugate(u / 1.0001))
            for u in U
        ]
    )
    found = probe.call(jit_conjugate, U)
    np.testing.assert_allclose(
        found[~edge], expected[~edge], rtol=50 * probe.tol, atol=50 * probe.tol
    )


def fenchel_young(probe):
    """f(w) + f*(u) >= <w, u>, by jreg's own value and conjugate."""
    values = probe.call(jit_value, probe.V)
    for shift in (0, 3, 9):
        U = 0.3 * np.roll(probe.V, shift, axis=0)
        slack = 20 * probe.tol * size(probe.V, U) ** 2
        at_most(inner(probe.V, U), values + probe.call(jit_conjugate, U), slack)


def polar(probe):
    """polar(u) is the smallest c with f*(u / c) = 0."""
    U = probe.V
    found = probe.call(jit_polar, U)
    for u, c in zip(U, found, strict=True):
        if np.isinf(c):
            assert probe.case.conjugate(u / 1e6) > 0
        else:
            assert probe.case.conjugate(u / (c * 1.001 + 1e-30)) == 0
            assert c <= 1e-6 or probe.case.conjugate(u / (c * 0.999)) > 0


def dual_norm(probe):
    """<u, w> <= f(w) f°(u), f is a norm where finite, and the bound is attained."""
    assert probe.penalty.homogeneous
    U, W = probe.V, np.roll(probe.V, 4, axis=0)
    gauge, values = probe.call(jit_polar, U), probe.call(jit_value, W)
    bounded = np.isfinite(gauge) & np.isfinite(values)
    bound = np.where(bounded, gauge, 0) * np.where(bounded, values, 0)
    slack = 20 * probe.tol * size(U, W) ** 2
    at_most(inner(U, W)[bounded], bound[bounded], slack[bounded])
    np.testing.assert_allclose(
        probe.naive_value(-2 * W), 2 * probe.naive_value(W), rtol=1e-12, atol=1e-12
    )
    # the prox of the indicator's dual: where z != 0, u = (v - z) / t has gauge 1 and attains it
    moved = (probe.Z_values > 1e-3) & np.isfinite(probe.Z_values)
    U = (probe.V - probe.Z) / probe.steps.reshape(-1, *[1] * len(probe.case.shape))
    attained = inner(U, probe.Z)[moved] / probe.Z_values[moved]
    np.testing.assert_allclose(
        attained, 1, atol=100 * probe.tol * (size(probe.V)[moved] ** 2 / 1e-3 * 32).max()
    )


# --- optimality -------------------------------------------------------------------------------


def kkt_at_the_prox(probe):
    """-gradient lies in the subdifferential at the prox."""
    steps = probe.steps.reshape(-1, *[1] * len(probe.case.shape))
    distance = probe.call(jit_distance, probe.Z, (probe.Z - probe.V) / steps)
    slack = 20 * probe.tol * size(probe.V) / np.minimum(probe.steps, 1)
    worst = each(distance).max(axis=1)
    at_most(worst, 0 * worst, slack)


def kkt_is_the_rate_of_a_short_step(probe):
    """|w - prox(w - h g, h)| / h tends to the distance of -g from the subdifferential at w."""
    if probe.dtype == "float32":
        return  # the difference needs the digits
    W, G = probe.feasible, np.roll(probe.V, 2, axis=0)[: len(probe.feasible)]
    expected = np.abs(W - probe.prox_at(W - H * G, np.full(len(W), H))) / H
    found = probe.call(jit_distance, W, G)
    np.testing.assert_allclose(found, expected, atol=3e-4 * size(W, G).max())


def kkt_outside_the_domain(probe):
    """inf somewhere, or a number where everything is feasible."""
    found = each(probe.call(jit_distance, probe.V, probe.V))
    inside = np.isfinite(probe.naive_value(probe.V))
    assert np.isfinite(found[inside]).all()
    assert np.isinf(found[~inside]).any(axis=1).all()


def lam_max(probe):
    """Just above it the solution of `|w + g|^2 / 2 + penalty` is exactly 0, well below it not, and
    the KKT distance of 0 crosses 0 there."""
    case, penalty = probe.case, probe.penalty
    counted = np.reshape(case.counted, case.shape)
    G = probe.V[:20]
    found = probe.call(jit_lam_max, G)
    assert np.isfinite(found).all()
    for g, c in zip(G, found, strict=True):
        if c == 0:
            continue

        def one(factor, g=g, c=c):
            at = penalty.at(np.asarray(c * factor, probe.dtype))
            return probe.prox_at(-g[None], np.ones(1), at)[0]

        if penalty.convex:  # else another minimum may be the better one
            np.testing.assert_array_equal(one(1.001)[counted], 0)
            assert (one(0.98)[counted] != 0).any()
        zero = np.zeros((1, *case.shape))
        for factor in (1 + 10 * probe.tol, 0.98):
            at = penalty.at(np.asarray(c * factor, probe.dtype))
            distance = probe.call(jit_distance, zero, g[None], penalty=at)[0]
            if factor > 1:
                assert distance[counted].max() <= 1e-9 + 10 * probe.tol * np.abs(g).max()
            else:
                assert distance[counted].max() > 0


def gradient_is_a_subgradient(probe):
    """The derivative of the value lies in the subdifferential, at kinks too."""
    if probe.dtype == "float32":
        return
    W = probe.feasible
    with precision(probe.dtype):
        gradient = np.asarray(jit_gradient(W, probe.penalty))
    assert np.isfinite(gradient).all()
    distance = probe.call(jit_distance, W, -gradient)
    np.testing.assert_allclose(distance, 0, atol=1e-8 * size(W).max())


# --- strength ---------------------------------------------------------------------------------


def strength(probe):
    """at(a).at(b) is at(a b), at(1) the identity, and lam the strength."""
    penalty = probe.penalty
    with precision(probe.dtype):
        chex.assert_trees_all_close(penalty.at(0.5).at(3.0), penalty.at(1.5), rtol=1e-6)
        chex.assert_trees_all_equal_structs(penalty.at(1.0), penalty)
        chex.assert_trees_all_close(penalty.at(1.0), penalty, rtol=1e-6)
    assert penalty.at(2.0).lam == 2 * penalty.lam


def strength_limits(probe):
    """At strength 0 the prox is the identity and the value 0, on the domain; at inf all that is
    penalised is 0. Neither makes a NaN."""
    case = probe.case
    Z = probe.feasible
    none = probe.penalty.at(np.asarray(0, probe.dtype))
    np.testing.assert_allclose(probe.prox_at(Z, np.full(len(Z), 2.0), none), Z, atol=4e-6)
    np.testing.assert_array_equal(probe.call(jit_value, Z, penalty=none), 0)
    everything = dataclasses.replace(probe.penalty, lam=np.asarray(np.inf, probe.dtype))
    strong = probe.prox_at(probe.V, probe.steps, everything)
    counted = np.reshape(np.array(case.counted) | np.array(case.excluded), case.shape)
    np.testing.assert_array_equal(strong[:, counted], 0)
    assert np.isfinite(strong).all()


# --- derivatives ------------------------------------------------------------------------------


def _arguments(case, penalty, v, step):
    """The prox as a function of each of its continuous arguments."""
    found = {
        "v": (v, lambda x: penalty.prox(x, step)),
        "step": (step, lambda x: penalty.prox(v, x)),
    }
    for field in dataclasses.fields(penalty):
        number = getattr(penalty, field.name)
        if number is None or field.metadata.get("static"):
            continue
        low, high = penalty.ranges[field.name]
        if not np.all(np.isfinite(number) & (number > low) & (number < high)):
            continue  # no differences on both sides
        if np.ndim(number) and case.one_for_all_leaves:
            continue  # ordered: not free to move alone
        found[field.name] = (
            jnp.asarray(number, float),
            lambda x, name=field.name: dataclasses.replace(penalty, **{name: x}).prox(v, step),
        )
    return found


def derivatives(probe):
    """Forward, reverse and finite differences agree off the kinks, in every argument."""
    if probe.dtype == "float32":
        return
    small = 0.013 if "strength" in probe.case.exempt else 0.0  # where a constraint has a kink
    v = np.resize([2.0, -3.1, small, 1.07, 4.2, -1.9], int(np.prod(probe.case.shape)))
    v, h = v.reshape(probe.case.shape), 1e-6

    def jacobians(v, step):
        found = {}
        for name, (x, f) in _arguments(probe.case, probe.penalty, v, step).items():
            moves = h * jnp.eye(x.size).reshape(x.size, *x.shape)
            columns = jax.vmap(lambda e, f=f, x=x: (f(x + e) - f(x - e)) / (2 * h))(moves)
            differences = jnp.moveaxis(columns, 0, -1).reshape(*v.shape, *x.shape)
            found[name] = jax.jacfwd(f)(x), jax.jacrev(f)(x), differences
        return found

    with precision("float64"):
        found = jax.jit(jacobians)(v, np.array(0.41))
    for name, (forward, backward, differences) in found.items():
        np.testing.assert_allclose(forward, backward, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(forward, differences, atol=2e-7, err_msg=name)


def derivatives_are_finite(probe):
    """... at zeros, kinks and ties, at step 0 and strength 0."""
    if probe.dtype == "float32":
        return
    penalty, case = probe.penalty, probe.case
    one = np.ones(case.shape)
    points = np.stack([0 * one, *(k * one for k in case.kinks), -case.kinks[0] * one])
    points = np.concatenate([points, probe.Z[:4]])

    def jacobians(v, step):
        return {
            name: (jax.jacfwd(f)(x), jax.jacrev(f)(x))
            for name, (x, f) in _arguments(case, penalty, v, step).items()
        }

    with precision("float64"):
        found = jax.jit(jax.vmap(jax.vmap(jacobians, (0, None)), (None, 0)))(
            points, np.array([0.0, 0.5, 1.0])
        )
        weak = jax.jit(jax.vmap(lambda v: jax.jacrev(lambda c: penalty.at(c).prox(v, 0.5))(0.0)))(
            points
        )
    for name, pair in {**found, "at 0": (weak,)}.items():
        for jacobian in pair:
            assert np.isfinite(jacobian).all(), name


# --- bad and extreme numbers ------------------------------------------------------------------


def nan_is_not_hidden(probe):
    """A NaN in comes out, of prox, value and lam_max."""
    nan = np.full((1, *probe.case.shape), np.nan)
    kept = ~np.reshape(probe.case.excluded, probe.case.shape)
    assert np.isnan(probe.prox_at(nan, np.ones(1))[0][kept]).all()
    assert np.isnan(probe.call(jit_value, nan)).all()
    assert not np.isfinite(probe.call(jit_lam_max, nan)).any()


def large_numbers(probe):
    """Nothing overflows that need not."""
    V = 1e15 * probe.V[:8]
    Z = probe.prox_at(V, np.ones(len(V)))
    assert np.isfinite(Z).all()


def traced_bad_strength(probe):
    """A negative or NaN strength that is traced gives NaN."""
    for bad in (-1.0, np.nan):
        with precision(probe.dtype):
            value = jax.jit(
                lambda lam: dataclasses.replace(probe.penalty, lam=lam).value(
                    np.ones(probe.case.shape, probe.dtype)
                )
            )(bad)
        infeasible = np.isinf(probe.case.value(np.ones(probe.case.shape)))
        assert np.isnan(value) or infeasible


# --- structure --------------------------------------------------------------------------------


def trees(probe):
    """A penalty applies to every leaf of a tree."""
    if probe.dtype == "float64":
        return
    flat = probe.penalty
    arrays = {
        f.name: getattr(flat, f.name)
        for f in dataclasses.fields(flat)
        if not (f.metadata.get("static") or probe.case.one_for_all_leaves)
        and np.ndim(getattr(flat, f.name)) > 0
    }
    two = lambda x: {"a": x, "b": {"c": x}}  # noqa: E731
    penalty = dataclasses.replace(flat, **{name: two(x) for name, x in arrays.items()})
    v, g = (np.asarray(probe.V[k], "float32") for k in (3, 5))
    z = flat.prox(v, 0.5)
    near = {"rtol": 1e-6, "atol": 1e-6}
    chex.assert_trees_all_close(penalty.prox(two(v), 0.5), two(z), **near)
    np.testing.assert_allclose(penalty.value(two(z)), 2 * flat.value(z), rtol=1e-6)
    np.testing.assert_allclose(penalty.lam_max(two(g)), flat.lam_max(g), rtol=1e-6)
    for piece, count in (("conjugate", 2), ("polar", 1)):
        if jreg_has(flat, piece):
            np.testing.assert_allclose(
                getattr(penalty, piece)(two(g)), count * getattr(flat, piece)(g), rtol=1e-5
            )
    for name, arguments in (("kkt_distance", (z, g)), ("support", (z,)), ("unpenalized", (z,))):
        expected = getattr(flat, name)(*arguments)
        found = getattr(penalty, name)(*map(two, arguments))
        if expected is None:
            assert found is None
        else:
            chex.assert_trees_all_close(found, two(expected), **near)


def jreg_has(penalty, piece):
    return getattr(penalty, piece, None) is not None


def restrict(probe):
    """The penalty on some entries: the prox of the whole there."""
    penalty, v = probe.penalty, probe.V[5]
    index = jnp.array([3, 0])
    with precision(probe.dtype):
        v = np.asarray(v, probe.dtype)
        whole = np.asarray(penalty.prox(v, 0.5))
        np.testing.assert_allclose(penalty.restrict(index).prox(v[index], 0.5), whole[index])


def traits(probe):
    """convex, separable, support and unpenalized say what is true."""
    if probe.dtype == "float32":
        return
    penalty, case = probe.penalty, probe.case
    Z, values = probe.feasible, probe.naive_value(probe.feasible)
    midpoint = []
    for shift in (1, 2, 3, 5, 8):
        other = np.roll(np.arange(len(Z)), shift)
        middle = probe.naive_value((Z + Z[other]) / 2)
        midpoint.append(middle - (values + values[other]) / 2)
    assert (np.max(midpoint) <= 1e-9) == penalty.convex
    with precision("float64"):
        for z in Z[:6]:
            support = np.asarray(penalty.support(z))
            assert support.shape == case.shape
            assert support.dtype == bool
            h = 1e-6
            for j in np.flatnonzero(support.ravel()):  # smooth along each entry of the support
                e = h * np.eye(z.size)[j].reshape(z.shape)
                low, middle, high = case.value(z - e), case.value(z), case.value(z + e)
                if abs(abs(z.ravel()[j]) - np.array(case.kinks)).min() > 1e-3:
                    assert abs(low - 2 * middle + high) <= 1e-3 * h
        free = penalty.unpenalized(Z[0])
    if free is not None:
        assert not (np.asarray(free).ravel() & np.array(case.counted)).any()


LAWS = {
    law.__name__: law
    for law in (
        beats_perturbations,
        no_better_on_a_ray,
        three_point,
        firmly_nonexpansive,
        moreau,
        zero_is_fixed,
        step_zero,
        metric,
        one_at_a_time,
        value,
        conjugate,
        fenchel_young,
        polar,
        dual_norm,
        kkt_at_the_prox,
        kkt_is_the_rate_of_a_short_step,
        kkt_outside_the_domain,
        lam_max,
        gradient_is_a_subgradient,
        strength,
        strength_limits,
        derivatives,
        derivatives_are_finite,
        nan_is_not_hidden,
        large_numbers,
        traced_bad_strength,
        trees,
        restrict,
        traits,
    )
}
