"""Every law of tests/laws.py on every penalty, in float32."""

import functools

import pytest
from laws import LAWS, Probe
from penalty_cases import PENALTIES

pytestmark = pytest.mark.slow  # those of float64 are not
DTYPE = "float32"
probe = functools.cache(lambda name: Probe(name, DTYPE))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", PENALTIES)
def test_law(name, law):
    if law in PENALTIES[name].exempt:
        pytest.skip(PENALTIES[name].exempt[law].value)
    LAWS[law](probe(name))
