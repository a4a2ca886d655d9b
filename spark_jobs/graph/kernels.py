"""The inner loop of PageRank, compiled. Both plans of the native engine run exactly this."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from spark_jobs.lake.compiled import compiled


@compiled()
def pull(y: NDArray[Any], ptr: NDArray[Any], src: NDArray[Any], weight: NDArray[Any], values: NDArray[Any]) -> None:
    """Fill `values[i]` with Σ y[src[k]] (· weight[k]) over k in ptr[i] … ptr[i+1], in that order.

    Args:
        y: float64[s], what each source gives along one link.
        ptr: int64[m+1], ascending.
        src: uint32[e] or int64[e], each < s.
        weight: float64[e], or empty for 1 everywhere.
        values: float64[m], overwritten.
    """
    if weight.shape[0] == 0:
        for i in range(values.shape[0]):
            total = 0.0
            for k in range(ptr[i], ptr[i + 1]):
                total += y[src[k]]
            values[i] = total
    else:
        for i in range(values.shape[0]):
            total = 0.0
            for k in range(ptr[i], ptr[i + 1]):
                total += y[src[k]] * weight[k]
            values[i] = total
