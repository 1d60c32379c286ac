"""Baselines for score-function estimators, one file each: they compose in the order given."""

from latentnlp.estimators.baselines._contract import Baseline, Draw, RunningMean
from latentnlp.estimators.baselines.constant import Constant
from latentnlp.estimators.baselines.leave_one_out import LeaveOneOut
from latentnlp.estimators.baselines.moving_average import MovingAverage
from latentnlp.estimators.baselines.neural import Neural
from latentnlp.estimators.baselines.optimal_coefficient import OptimalCoefficient
from latentnlp.estimators.baselines.self_critical import SelfCritical
from latentnlp.estimators.baselines.variance_normalisation import VarianceNormalisation

__all__ = [
    "Baseline",
    "Constant",
    "Draw",
    "LeaveOneOut",
    "MovingAverage",
    "Neural",
    "OptimalCoefficient",
    "RunningMean",
    "SelfCritical",
    "VarianceNormalisation",
]
