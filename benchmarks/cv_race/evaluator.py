"""What the fits of every set of rows reached, by the evaluator of `path_race` on those rows."""

import numpy as np
from path_race.evaluator import Evaluator, Figures

from cv_race.studies import Study, rows_of


class SetsEvaluator:
    """Figures (n_sets, n_lams) of coefficients (n_sets, n_lams, p): objectives, duals, gaps and KKT
    distances relative to the null model of each set's own rows."""

    def __init__(self, study: Study) -> None:
        self.study = study

    def __call__(self, coefs: np.ndarray) -> Figures:
        study = self.study
        wanted = (len(study.train), study.problem.lams.size, study.problem.X.shape[1])
        if coefs.shape != wanted:
            raise ValueError(f"coefs must have shape {wanted}; got {coefs.shape}")
        found = []
        for rows, coef in zip(study.train, coefs, strict=True):
            evaluator = Evaluator(rows_of(study.problem, rows))
            one = evaluator(coef)
            null = evaluator.null
            found.append((one.objective / null, one.dual / null, one.gap, one.kkt))
        return Figures(*map(np.stack, zip(*found, strict=True)))
