"""Estimators of scikit-learn over any penalty and loss: `import jreg.sklearn`.

`Regressor` and `Classifier` fit one lam, `RegressorCV` and `ClassifierCV` choose it. They go into a
`Pipeline`, a `GridSearchCV` and whatever else scikit-learn has for estimators, and leave all
computing to `jreg.path` and `jreg.cross_validate`.

It needs scikit-learn, and raises an ImportError without; `import jreg` does not import it.
"""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError('jreg.sklearn needs scikit-learn: pip install "jreg[sklearn]"') from error

from jreg.sklearn.classification import Classifier, ClassifierCV
from jreg.sklearn.regression import Regressor, RegressorCV

__all__ = ["Classifier", "ClassifierCV", "Regressor", "RegressorCV"]
