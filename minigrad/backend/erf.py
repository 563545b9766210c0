"""The error function on NumPy arrays: NumPy has none, and SciPy is no dependency."""

from __future__ import annotations

import numpy as np

from minigrad.backend.base import Array

# Two polynomials, each the best in the relative error of erf, found with Remez's exchange at 50
# digits: NEAR in x² is erf(x)/x - 1 for |x| ≤ 1, FAR in s = (72/(x + 3) - 13)/5, which takes
# 1 … 6 to 1 … -1, is exp(x²)·erfc(x). From 6 on, erf is 1 in either format. Lowest power first.
NEAR_64 = (
    0.12837916709551256, -0.3761263890318352, 0.11283791670944185, -0.02686617064311153,
    0.00522397760611888, -0.000854832592932979, 0.00012055293577272878, -1.4924712308029719e-05,
    1.6447131635680484e-06, -1.6206314196309946e-07, 1.3710982108482451e-08,
    -7.779471406957415e-10,
)  # fmt: skip
FAR_64 = (
    0.20798329133342972, 0.15436117429428145, 0.049698445404126546, 0.012713147696907541,
    0.002479314665331109, 0.0003316030768745608, 1.9563519843046697e-05, -2.426210956817936e-06,
    -5.519955791219615e-07, 1.3131492735738607e-09, 1.4061974426838522e-08,
    -1.0035747120902577e-09,
)  # fmt: skip
NEAR_32 = (
    0.12837916572675476, -0.3761262582452654, 0.1128358515198767, -0.02685381207328159,
    0.0051883279321188235, -0.0008010195606205847, 7.853867235357119e-05,
)  # fmt: skip
FAR_32 = (
    0.20798327092865818, 0.1543621168223433, 0.0496907519692701, 0.012739665822501071,
    0.002432591595904627, 0.00037517875341146315,
)  # fmt: skip
BLOCK = 8192  # elements at a time, so that temporaries stay in the cache: at 10⁶, 42 → 20 ms


def erf(x: Array, out: Array | None = None) -> Array:
    """The error function, 2/√π ∫₀ˣ exp(-t²) dt, within 1.5 units in the last place."""
    if x.dtype.kind != "f":
        x = x.astype(np.float64)
    narrow = x.itemsize <= 4
    work: Array = x.astype(np.float32 if narrow else np.float64, copy=False)
    flat = work.reshape(-1)
    y = np.empty_like(flat)
    near, far = (NEAR_32, FAR_32) if narrow else (NEAR_64, FAR_64)
    for k in range(0, flat.size, BLOCK):
        _erf(flat[k : k + BLOCK], near, far, y[k : k + BLOCK])
    if out is None:
        return y.reshape(x.shape).astype(x.dtype, copy=False)
    out[...] = y.reshape(x.shape)
    return out


def _erf(x: Array, near: tuple[float, ...], far: tuple[float, ...], out: Array) -> None:
    a = np.abs(x)
    small = np.minimum(a, 1.0)
    small += small * _polynomial(near, small * small)
    large = np.minimum(a, 6.0)
    tail = _polynomial(far, (72.0 / (large + 3.0) - 13.0) / 5.0)
    tail *= np.exp(-large * large)
    np.subtract(1.0, tail, tail)
    np.putmask(tail, a < 1.0, small)
    np.copysign(tail, x, out)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    y = x * coefficients[-1]
    for c in coefficients[-2:0:-1]:
        y += c
        y *= x
    y += coefficients[0]
    return y
