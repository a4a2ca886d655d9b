"""Names of the arrays that graph code passes around."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indexes = NDArray[Any]  # uint32, or int64 where numbers do not fit
