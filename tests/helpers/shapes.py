"""The type checker that jaxtyping runs the tests under: shapes and dtypes of array annotations.

Arguments and results of every function of mist_jax are held against their annotations, and a letter
means one length within a call. Fields of pytrees are not: a tree may hold arrays with further axes
(under vmap, or stacked), or none at all.
"""

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from jaxtyping import AbstractArray


def check(function: Callable) -> Callable:
    """`function` with its array annotations checked; other annotations are pyright's."""
    annotations = getattr(function, "__annotations__", {})
    hints = {name: hint for name, hint in annotations.items() if _is_about_arrays(hint)}
    if not hints or function.__name__ == "__init__":
        return function
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in hints and not _fits(value, hints[name]):
                raise TypeError(f"{function.__qualname__}: {name} is no {hints[name]}")
        result = function(*args, **kwargs)
        if "return" in hints and not _fits(result, hints["return"]):
            raise TypeError(f"{function.__qualname__}: the result is no {hints['return']}")
        return result

    return checked


def _is_about_arrays(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) in (typing.Union, tuple)
    return union and any(_is_about_arrays(part) for part in typing.get_args(hint))


def _fits(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) is tuple:
        parts = typing.get_args(hint)
        if len(parts) == 2 and parts[1] is Ellipsis:
            return all(_fits(one, parts[0]) for one in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return any(_fits(value, part) for part in typing.get_args(hint))
    return isinstance(value, hint) if _is_about_arrays(hint) else True
