"""Settings of every test: shapes must match, hypothesis repeats itself, plots need no screen."""

import itertools
import os
from pathlib import Path

import jax
import matplotlib
import pytest
from hypothesis import settings

jax.config.update("jax_numpy_rank_promotion", "raise")
matplotlib.use("Agg")

settings.register_profile("jreg", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("jreg")

# Tests spend their time in the compiler: these settings make it three times quicker, and the
# programs slower. Doctests, the README, the demo and benchmarks compile as users do; so do tests
# with JREG_COMPILE=full in the environment.
QUICK_COMPILE = (
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)
KNOWN_TO = (0, 11)  # an XLA that no longer has one of the flags would abort


def pytest_configure():
    if os.environ.get("JREG_COMPILE") != "full" and jax.__version_info__ < KNOWN_TO:
        jax.config.update("jax_disable_most_optimizations", True)
        os.environ["XLA_FLAGS"] = " ".join((os.environ.get("XLA_FLAGS", ""), *QUICK_COMPILE))


# Linux allows a process 65 530 mapped regions. Every compiled program holds some twenty, and a
# worker that runs out of them dies in the compiler.
REGIONS = 40_000
MAPS = Path("/proc/self/maps")
finished = itertools.count(1)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    looks = next(finished) % 20 == 0 and MAPS.exists()
    if looks and MAPS.read_bytes().count(b"\n") > REGIONS:
        jax.clear_caches()


# Cases that take more than ten seconds, each with a quicker sibling among the fast tests.
SLOW = (
    "test_calculus.py::test_spectral_l1_is_the_nuclear_norm[float32]",
    "test_derivatives.py::test_derivative_is_a_difference_quotient[excluded]",
    "test_derivatives.py::test_derivative_is_a_difference_quotient[logistic group]",
    "test_derivatives.py::test_derivative_is_a_difference_quotient[poisson]",
    "test_derivatives.py::test_derivative_is_a_difference_quotient[slope]",
    "test_derivatives.py::test_derivative_is_a_difference_quotient[standardized]",
    "test_derivatives.py::test_derivative_is_a_difference_quotient[total_variation]",
    "test_derivatives.py::test_derivative_is_a_difference_quotient[weights]",
    "test_laws_float64.py::test_law[fused_lasso-derivatives",
    "test_laws_float64.py::test_law[slope-derivatives",
    "test_laws_float64.py::test_law[total_variation-derivatives",
    "test_losses.py::test_multinomial_curvature_bounds",
    "test_multi_output.py::test_cox[efron-True]",
    "test_path_laws.py::test_gap_bounds_the_distance_from_the_optimum[elastic_net-fista-logistic]",
    "test_path_laws.py::test_gap_bounds_the_distance_from_the_optimum[elastic_net-prox_newton-log",
    "test_path_laws.py::test_gap_bounds_the_distance_from_the_optimum[l1-coordinate_descent",
    "test_path_laws.py::test_lam_max_is_where_the_last_coefficient_goes[elastic_net-False-logistic",
    "test_path_laws.py::test_lam_max_is_where_the_last_coefficient_goes[l1_weighted-False-logist",
    "test_path_laws.py::test_order_of_rows_and_columns_does_not_matter[wide]",
    "test_path_laws.py::test_scaling_a_column_scales_its_coefficient[logistic]",
    "test_path_laws.py::test_training_deviance_rises_with_lam[logistic]",
    "test_path_laws.py::test_weight_k_is_the_row_k_times[logistic]",
    "test_projections.py::test_parameters_may_be_traced_and_batched",
    "test_tuning.py::test_derivative_of_a_criterion[k_fold]",
    "test_tuning.py::test_derivative_of_a_criterion[sure]",
    "test_tuning.py::test_tune_a_strength_for_each_feature",
    "test_tuning.py::test_tune_two_settings",
)
# Files whose tests have a float64 and a float32 case: the latter compiles all over again.
BOTH_DTYPES = (
    "test_calculus.py",
    "test_cox.py",
    "test_losses.py",
    "test_ordered.py",
    "test_projections.py",
    "test_spectral.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        repeated = item.path.name in BOTH_DTYPES and "float32" in item.name
        if repeated or any(name in item.nodeid for name in SLOW):
            item.add_marker(pytest.mark.slow)
