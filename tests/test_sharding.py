"""Sharded sweeps, on 8 devices that the CPU pretends to have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_sharded_sweeps_equal_that_of_one_device():
    """X by samples and by features, lambdas by hand (shard_map) and by XLA: in its own process."""
    script = Path(__file__).parent / "sharded.py"
    flags = "--xla_force_host_platform_device_count=8"
    env = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    found = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
