"""Settings of every test: shapes must match, hypothesis repeats itself, plots need no screen."""

import jax
import matplotlib
from hypothesis import settings

jax.config.update("jax_numpy_rank_promotion", "raise")
matplotlib.use("Agg")

settings.register_profile("jreg", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("jreg")
