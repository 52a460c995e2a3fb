"""Sharded sweeps, on 8 devices that the CPU pretends to have."""

import pytest
from cases import on_eight_devices


@pytest.mark.slow
def test_sharded_sweeps_equal_that_of_one_device():
    """X by samples and by features, lambdas by hand (shard_map) and by XLA: in its own process."""
    found = on_eight_devices("sharded.py")
    assert found.returncode == 0, found.stderr
