"""Run by `test_sharding.py` in a process with 8 CPU devices: sharded sweeps equal that of one."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jreg

jax.config.update("jax_enable_x64", True)
devices = jax.devices()
assert len(devices) == 8
mesh = Mesh(np.array(devices), ("i",))  # automatic axes


def put(x, *spec):
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*spec)))


rng = np.random.default_rng(0)
X = rng.normal(size=(64, 16))
y = X[:, 0] - X[:, 1] + 0.5 * rng.normal(size=64)
labels = (y > 0).astype(float)
lams = np.geomspace(0.3, 0.003, 16)

for response, loss, solver in (
    (y, jreg.Squared(), jreg.ProxNewton()),
    (labels, jreg.Logistic(), jreg.FISTA()),
):

    @jax.jit
    def sweep(X, y, lams, loss=loss, solver=solver):
        problem = jreg.LinearProblem(X, y, loss)
        return jreg.sweep(problem, jreg.L1(), lams, block=8, solver=solver, tol=1e-9)

    alone = sweep(X, response, lams)
    assert (np.asarray(alone.status) == 0).all()
    for name, found in {
        "samples": sweep(put(X, "i"), put(response, "i"), lams),
        "features": sweep(put(X, None, "i"), response, lams),
        "lams": sweep(X, response, put(lams, "i")),
    }.items():
        np.testing.assert_allclose(found.coef, alone.coef, atol=1e-7, err_msg=name)
        assert (np.asarray(found.status) == 0).all(), name

    def part(lams, sweep=sweep, response=response):
        found = sweep(X, response, lams)
        return found.coef, found.status

    lanes = PartitionSpec("i")
    parts = jax.shard_map(part, mesh=mesh, in_specs=lanes, out_specs=lanes, check_vma=False)
    coef, status = jax.jit(parts)(lams)
    assert coef.sharding.spec == lanes  # each device keeps the lambdas that it solved
    np.testing.assert_allclose(coef, alone.coef, atol=1e-7)
    assert (np.asarray(status) == 0).all()
