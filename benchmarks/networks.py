"""Sparse networks on scikit-learn's digits: accuracy against exact zeros, and the cost of a step.

`python benchmarks/networks.py` prints Markdown tables, `--markdown FILE` writes them too, `--only
NAME ...` is for some of the methods, `--smoke` trains one of them for a few steps.

An MLP 64-300-100-10 (relu), batches of 64, cosine rates, 2400 steps with the penalty and 800 on the
support alone (`freeze_zeros`) without it: the same for every method, magnitude pruning and dense
networks too. The ramps of L0 and of gradual pruning are cubic (Zhu and Gupta, 2017), over nine
tenths of the first phase.

A fifth of the 1797 images is the test set; the rest is split anew for each of five seeds, 3 : 1,
into training and validation. Every method has two rates and five strengths; strengths and seeds
train in one vmap. The mean validation accuracy chooses: the sparsest (exact zeros of kernels, == 0)
within a quarter of a point of the best dense network; and, if that is another one, the sparsest
within half a point. The second table has the first choice's rate.
"""

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from tools.timing import Contender, machine, take_turns

import jreg
from jreg import transforms as tr

WIDTHS, BATCH = (64, 300, 100, 10), 64
SEEDS = jnp.arange(5)
MARGINS = (0.0025, 0.005)  # of validation accuracy that zeros may cost


@dataclass(frozen=True)
class Method:
    """make(rate, lam, steps): the transform, rate a schedule over the steps; rates and strengths:
    what is tried."""

    make: Callable[[Any, Any, int], Any]
    rates: tuple[float, float] = (3e-3, 1e-2)
    strengths: tuple[float, ...] = (1e-4, 2e-4, 3e-4, 6e-4, 1e-3)
    sparse_start: bool = False
    prune: bool = False  # the strength is the share of kernels to remove by magnitude


def l1(lam):
    return jreg.kernels_only(jreg.L1(lam))


def rising(penalty, steps):
    """The strength grows from 0. Below `sqrt(2 * prox step * strength)` a weight under L0, or the
    norm of a group, is 0: gradual pruning by magnitude."""
    return tr.scheduled(penalty, optax.polynomial_schedule(0.0, 1.0, 3, steps * 9 // 10))


def gradual_pruning(inner, share, steps, every=20):
    """Zhu and Gupta (2017): now and then the smallest kernel entries go, for good."""
    ramp = optax.polynomial_schedule(0.0, share, 3, steps * 9 // 10)

    def init(w):
        return inner.init(w), jnp.zeros((), jnp.int32)

    def update(grads, state, w):
        inner_state, k = state
        u, inner_state = inner.update(grads, inner_state, w)
        moved = optax.apply_updates(w, u)
        kept = jax.tree.map(
            lambda old, new: jnp.where((old == 0) & (old.ndim == 2), 0, new), w, moved
        )
        target = jax.lax.cond(k % every == 0, lambda: prune(kept, ramp(k)), lambda: kept)
        return jax.tree.map(jnp.subtract, target, w), (inner_state, k + 1)

    return optax.GradientTransformation(init, update)


def groups(neurons, entries):
    """Neurons of the two hidden layers by their incoming weights; entries of the last kernel."""
    return jreg.by_path({"[01]/kernel": neurons, "2/kernel": entries})


def group_lasso(lam):
    return groups(jreg.GroupLasso(lam, axis=-1), jreg.L1(lam))


def group_l0(lam):
    return groups(jreg.penalties.GroupL0(lam, axis=-1), jreg.L0(0.1 * lam))


def momentum(rate):
    return optax.sgd(rate, momentum=0.9)


METHODS = {
    "dense, AdamW": Method(
        lambda rate, lam, _: optax.adamw(rate, weight_decay=lam),
        strengths=(0.0, 1e-3, 1e-2, 1e-1, 1.0),
    ),
    "L1 subgradient, Adam": Method(
        lambda rate, lam, _: optax.chain(tr.add_penalty_gradient(l1(lam)), optax.adam(rate))
    ),
    "prox last, Adam": Method(
        lambda rate, lam, _: tr.decoupled(optax.adam(rate), l1(lam), rate),
        strengths=(1e-2, 3e-2, 1e-1, 3e-1, 1.0),
    ),
    "proximal, SGD": Method(lambda rate, lam, _: tr.proximal(optax.sgd(rate), l1(lam)), (0.1, 0.3)),
    "proximal, momentum": Method(
        lambda rate, lam, _: tr.proximal(momentum(rate), l1(lam)), (0.03, 0.1)
    ),
    "proximal, Adam": Method(lambda rate, lam, _: tr.proximal(optax.adam(rate), l1(lam))),
    "proximal, Adam, MCP": Method(  # flat beyond 0.3: large weights are not shrunk
        lambda rate, lam, _: tr.proximal(
            optax.adam(rate), jreg.kernels_only(jreg.MCP(lam, 0.3 / lam))
        ),
    ),
    "proximal, Adam, L0 rising": Method(
        lambda rate, lam, steps: tr.proximal(
            optax.adam(rate), rising(jreg.kernels_only(jreg.L0(lam)), steps), 0.1
        ),
        strengths=(0.5, 0.7, 1.0, 1.5, 2.0),
    ),
    "proximal_adam (ProxGen)": Method(lambda rate, lam, _: tr.proximal_adam(rate, l1(lam))),
    "linbreg, Adam": Method(
        lambda rate, lam, _: tr.linbreg(optax.adam(rate), l1(lam)),
        strengths=(0.01, 0.03, 0.1, 0.2, 0.4),
        sparse_start=True,
    ),
    "magnitude pruning, Adam": Method(
        lambda rate, lam, _: optax.adam(rate), strengths=(0.8, 0.9, 0.95, 0.97, 0.98), prune=True
    ),
    "gradual magnitude pruning, Adam": Method(
        lambda rate, lam, steps: gradual_pruning(optax.adam(rate), lam, steps),
        strengths=(0.9, 0.93, 0.95, 0.97, 0.98),
    ),
    "proximal, Adam, neurons": Method(
        lambda rate, lam, _: tr.proximal(optax.adam(rate), group_lasso(lam)),
        strengths=(2e-5, 5e-5, 1e-4, 2e-4, 3e-4),
    ),
    "proximal, Adam, neurons, L0 rising": Method(
        lambda rate, lam, steps: tr.proximal(optax.adam(rate), rising(group_l0(lam), steps), 0.1),
        strengths=(8.0, 12.0, 16.0, 24.0, 32.0),
    ),
}


@functools.cache
def data():
    X, y = load_digits(return_X_y=True)
    return np.asarray(X / 16, np.float32), y


def split(seed):
    """(train, validation, test) of 1077, 360 and 360 images; the test set is that of all seeds."""
    X, y = map(jnp.asarray, data())
    n = len(y)
    order = jax.random.permutation(jax.random.key(1797), n)
    rest, test = order[: n * 4 // 5], order[n * 4 // 5 :]
    rest = jax.random.permutation(jax.random.key(seed), rest)
    parts = rest[: n * 3 // 5], rest[n * 3 // 5 :], test
    return [(X[i], y[i]) for i in parts]


def initial(seed, sparse):
    """He's initial values; for methods that grow a network, one kernel entry in ten."""
    layers = []
    for i, (n_in, n_out) in enumerate(pairwise(WIDTHS)):
        a, b = jax.random.split(jax.random.key(1000 * (i + 1) + seed))
        kernel = jax.random.normal(a, (n_in, n_out)) * np.sqrt(2 / n_in)
        if sparse:
            kernel = jnp.where(jax.random.uniform(b, kernel.shape) < 0.1, kernel, 0)
        layers.append({"kernel": kernel, "bias": jnp.zeros(n_out)})
    return layers


def logits(layers, x):
    for layer in layers[:-1]:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    return x @ layers[-1]["kernel"] + layers[-1]["bias"]


def loss(layers, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(logits(layers, x), y).mean()


def accuracy(layers, part):
    return (logits(layers, part[0]).argmax(-1) == part[1]).mean()


def descend(tx, carry, X, y, key, steps):
    """(layers, state) after some minibatch steps."""

    def body(carry, key):
        w, state = carry
        rows = jax.random.randint(key, (BATCH,), 0, len(y))
        grads = jax.grad(loss)(w, X[rows], y[rows])
        updates, state = tx.update(grads, state, w)
        return (optax.apply_updates(w, updates), state), None

    return jax.lax.scan(body, carry, jax.random.split(key, steps))[0]


def kernels(layers):
    return [layer["kernel"] for layer in layers]


def prune(layers, share):
    """The smallest entries of all kernels set to 0."""
    sizes = jnp.concatenate([jnp.abs(k).ravel() for k in kernels(layers)])
    limit = jnp.quantile(sizes, share)
    return [
        {**w, "kernel": jnp.where(jnp.abs(k) < limit, 0, k)}
        for w, k in zip(layers, kernels(layers), strict=True)
    ]


def on_kernels(inner):
    """Fine-tuning of kernels on their support, and of all biases."""
    labels = lambda w: jax.tree.map(lambda a: "kernel" if a.ndim == 2 else "bias", w)  # noqa: E731
    return optax.partition({"kernel": tr.freeze_zeros(inner), "bias": inner}, labels)


def train(method, steps, rate, lam, seed):
    """(layers, validation accuracy, test accuracy, share of zeros in the kernels)."""
    (X, y), validation, test = split(seed)
    keys = jax.random.split(jax.random.key(seed + 77))
    layers = initial(seed, method.sparse_start)
    tx = method.make(optax.cosine_decay_schedule(rate, steps), lam, steps)
    layers, _ = descend(tx, (layers, tx.init(layers)), X, y, keys[0], steps)
    layers = prune(layers, lam) if method.prune else layers
    fine = on_kernels(optax.adam(optax.cosine_decay_schedule(1e-3, steps // 3)))
    layers, _ = descend(fine, (layers, fine.init(layers)), X, y, keys[1], steps // 3)
    zeros = jnp.concatenate([k.ravel() == 0 for k in kernels(layers)]).mean()
    return layers, accuracy(layers, validation), accuracy(layers, test), zeros


def grid(method, steps):
    """For each rate what `train` returns, every leaf (strengths, seeds, ...)."""
    run = functools.partial(train, method, steps)
    over_seeds = jax.vmap(run, in_axes=(None, None, 0))
    over_both = jax.jit(jax.vmap(over_seeds, in_axes=(None, 0, None)))
    lams = jnp.asarray(method.strengths)
    return {r: jax.tree.map(np.asarray, over_both(r, lams, SEEDS)) for r in method.rates}


def choose(grids, wanted):
    """(rate, place of the strength): the sparsest that is good enough, else the best."""
    tried = []
    for rate, (_, validation, _, zeros) in grids.items():
        means = zip(validation.mean(1), zeros.mean(1), strict=True)
        tried += [(good, share, rate, i) for i, (good, share) in enumerate(means)]
    enough = [row for row in tried if row[0] >= wanted]
    best = max(enough, key=lambda row: (row[1], row[0])) if enough else max(tried)
    return best[2:], max(tried)[0]


def neurons(layers, *index):
    """Sizes of the hidden layers once `compact` has removed what does nothing."""
    small = tr.compact([(layer["kernel"][index], layer["bias"][index]) for layer in layers])
    return [kernel.shape[1] for kernel, _ in small[:-1]]


def spread(values):
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}"


def row(name, method, grids, rate, i, seconds):
    """The networks of one rate and strength."""
    layers, _, test, zeros = grids[rate]
    left = np.mean([neurons(layers, i, s) for s in range(len(SEEDS))], axis=0)
    return (
        f"| {name} | {rate:g} | {method.strengths[i]:g} | {spread(test[i])} "
        f"| {spread(zeros[i])} | {left[0]:.0f} + {left[1]:.0f} | {seconds:.0f} |"
    )


def accuracy_tables(steps, methods):
    """The networks that validation chooses, and all strengths at their rates."""
    chosen = [
        "| method | rate | strength | test accuracy, % | exact zeros, % | neurons | seconds |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    all_strengths = [
        "| method | exact zeros, % : test accuracy, % | | | | |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, method in methods.items():
        start = time.perf_counter()
        grids = grid(method, steps)
        seconds = time.perf_counter() - start
        if name.startswith("dense"):
            best = choose(grids, 0.0)[1]
        strict, loose = (choose(grids, best - margin)[0] for margin in MARGINS)
        found = [row(name, method, grids, *strict, seconds)]
        if loose != strict:
            found.append(row(f"{name}, half a point", method, grids, *loose, seconds))
        chosen += found
        _, _, test, zeros = grids[strict[0]]
        cells = [
            f"{100 * share:.1f} : {100 * good:.1f}"
            for share, good in zip(zeros.mean(1), test.mean(1), strict=True)
        ]
        all_strengths.append(f"| {name} | " + " | ".join(cells) + " |")
        print(*found, all_strengths[-1], sep="\n", flush=True)
    return [*chosen, "", *all_strengths]


def overhead_table(rounds):
    """The time of a training step, gradient and update, with and without `proximal`.

    Rounds of 50 steps that take turns, after 100 steps; the last column is the median of the ratios
    within a round.
    """
    (X, y), *_ = split(0)
    layers = initial(0, sparse=False)
    contenders = []
    for name, tx in {
        "Adam": optax.adam(1e-3),
        "proximal, L1": tr.proximal(optax.adam(1e-3), l1(1e-3)),
        "proximal, L1, step given": tr.proximal(optax.adam(1e-3), l1(1e-3), 0.03),
        "proximal, neurons": tr.proximal(optax.adam(1e-3), group_lasso(1e-3)),
        "proximal_adam": tr.proximal_adam(1e-3, l1(1e-3)),
    }.items():
        run = jax.jit(lambda c, tx=tx: descend(tx, c, X, y, jax.random.key(0), 50))
        carry = run(run((layers, tx.init(layers))))
        call = functools.partial(
            lambda run, carry: np.asarray(run(carry)[0][0]["bias"]), run, carry
        )
        contenders.append(Contender(name, call))
    take_turns(contenders, rounds)
    base = np.array(contenders[0].rounds)
    lines = ["| transform | a step, ms | over Adam |", "|---|--:|--:|"]
    for c in contenders:
        over = np.median(np.array(c.rounds) / base) - 1
        lines.append(f"| {c.name} | {20 * c.warm():.3g} | {100 * over:+.0f} % |")
    print("\n".join(lines), flush=True)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--markdown", metavar="FILE")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="methods with one in their name")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    steps, rounds = (10, 1) if options.smoke else (2400, 200)
    only = ["dense", *(["neurons"] if options.smoke else options.only or [""])]
    methods = {name: m for name, m in METHODS.items() if any(part in name for part in only)}
    lines = ["# Sparse networks on the digits", "", machine([f"optax {optax.__version__}"]), ""]
    lines += [*overhead_table(rounds), "", *accuracy_tables(steps, methods), ""]
    if options.markdown:
        with open(options.markdown, "w") as file:
            file.write("\n".join(lines))


if __name__ == "__main__":
    main()
