"""What a device reaches where nothing holds it up: a large product, and a large copy."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

_SIDE = {"cpu": 2048}  # of the product; 8192 elsewhere
_COPIED = {"cpu": 2**27}  # bytes; 2 GiB elsewhere
_FLOAT8_FROM = 8.9  # NVIDIA's compute capability
_CALLS, _TRIES = 5, 5


@dataclass(frozen=True)
class Roofline:
    """Of one device, measured here and now.

    Attributes:
        product_tflops: TFLOP/s of one large product, by dtype of its operands.
        copy_gb: GB/s of a copy within the device, what it reads and what it writes.
        side: of the product: [side, side] @ [side, side].
    """

    product_tflops: Mapping[str, float]
    copy_gb: float
    side: int

    def least_ms(self, flops: float, moved: float, dtype: str, devices: int = 1) -> float:
        """Milliseconds that a program needs at least: its products, or its arrays moved once.

        Args:
            flops: of all devices together.
            moved: bytes of arguments and results, of one device.
            dtype: of the products; one that was not measured counts as the fastest that was.
            devices: that share the products.
        """
        peak = self.product_tflops.get(dtype, max(self.product_tflops.values()))
        return max(flops / devices / peak / 1e9, moved / self.copy_gb / 1e6)


def measure_roofline(device: Any, dtype: str) -> Roofline:
    """Products in `dtype`, in bfloat16 on an accelerator, and in float8 where it has them."""
    side = _SIDE.get(device.platform, 8192)
    dtypes = {dtype, *(["bfloat16"] if device.platform != "cpu" else [])} - {"float8"}
    tflops = {name: _product(device, side, jnp.dtype(name)) for name in sorted(dtypes)}
    if has_float8(device):
        tflops["float8"] = _product(device, side, jnp.dtype("float8_e4m3fn"))
    return Roofline(tflops, _copy(device, _COPIED.get(device.platform, 2**31)), side)


def has_float8(device: Any) -> bool:
    """Whether its products of float8 are faster than others: a GPU of Ada's or Hopper's kind."""
    try:
        capability = float(getattr(device, "compute_capability", "none"))
    except ValueError:  # AMD's are names
        return False
    return capability >= _FLOAT8_FROM


def _product(device: Any, side: int, dtype: Any) -> float:
    """TFLOP/s; both operands contract their last dimension, which float8 needs to be fast."""
    low = dtype.itemsize == 1
    left, right = (
        jax.device_put(jax.random.normal(jax.random.key(key), (side, side)).astype(dtype), device)
        for key in (0, 1)
    )
    product = jax.jit(
        lambda one, other: jax.lax.dot_general(
            one,
            other,
            (((1,), (1,)), ((), ())),
            preferred_element_type=jnp.bfloat16 if low else dtype,
        )
    )
    return 2.0 * side**3 / _seconds(lambda: product(left, right)) / 1e12


def _copy(device: Any, size: int) -> float:
    """GB/s, read and written."""
    array = jax.device_put(jnp.ones(size // 4, jnp.float32), device)
    copied = jax.jit(lambda one: one + 1.0)  # a bare copy may be left out, or done by another part
    return 2 * size / _seconds(lambda: copied(array)) / 1e9


def _seconds(call: Callable[[], Any]) -> float:
    """Of one call among several in a row, the best of some tries."""
    jax.block_until_ready(call())
    best = float("inf")
    for _ in range(_TRIES):
        began = time.perf_counter()
        jax.block_until_ready([call() for _ in range(_CALLS)])
        best = min(best, (time.perf_counter() - began) / _CALLS)
    return best
