"""One file per solver. An adapter is a module of this package with

NAME: what the table calls it. ENVIRONMENT: the folder of its virtual environment (None: this one).
TOLERANCES: its decades, loosest first.
variants(kind, n, p, sparse): the settings worth trying for a problem, [] if it cannot solve it, or
    a string that says why. Called without the solver being installed.
versions(): what is installed; raises where nothing is.
prepare(problem, variant): `solve(tol) -> coefs (n_lams, p[, k])`; only `solve` is timed, from NumPy
    arrays in the layout that the solver likes best to NumPy arrays.
says(), optional: a dict of what the solver reports of its last run.
"""

NAMES = (
    "jreg_path",
    "glmnet",
    "adelie",
    "celer",
    "skglm",
    "scikit_learn",
    "jaxopt",
    "nemos",
    "floor",
)
