r"""Straight-through Gumbel: the hard draw forward, its relaxation's gradient backward. BIASED.

    f(z + ζ − sg(ζ)),   z = the hardening of ζ

Jang, Gu and Poole (2017), section 2.2. f must be differentiable at relaxed z. S evaluations.
"""

from __future__ import annotations

from torch import Tensor

from latentnlp.estimators._contract import with_gradient
from latentnlp.estimators.gumbel_softmax import GumbelSoftmax


class StraightThroughGumbel(GumbelSoftmax):
    """Biased; f only ever sees discrete values."""

    def value(self, z: Tensor, zeta: Tensor) -> Tensor:
        return with_gradient(z, zeta)


build = StraightThroughGumbel
