"""Losses of a linear predictor `eta` and a response `y`.

Most are one number per sample, of which problems take the weighted mean; `Cox` is a mean only.
"""

from jreg.losses.counts import Gamma, Poisson
from jreg.losses.cox import Cox
from jreg.losses.glm import Logistic, Squared
from jreg.losses.hinge import SquaredHinge
from jreg.losses.means import mean, mean_curvature, mean_deviance, mean_gradient
from jreg.losses.multinomial import Multinomial
from jreg.losses.robust import Huber, Pinball, SmoothedPinball

__all__ = [
    "Cox",
    "Gamma",
    "Huber",
    "Logistic",
    "Multinomial",
    "Pinball",
    "Poisson",
    "SmoothedPinball",
    "Squared",
    "SquaredHinge",
    "mean",
    "mean_curvature",
    "mean_deviance",
    "mean_gradient",
]
