"""Frames of both protocols: msgpack, with numpy arrays as maps. Nothing is ever unpickled.

openpi marks an array by bytes keys, vla-evaluation-harness by text keys and pictures by a map of
their own; a frame is read the same way whichever it is.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from PIL import Image

from mist_jax.errors import UserError

LONGEST_SIDE = 2048  # pixels of a picture: a small PNG can hold a huge one
_KINDS = "biuf"  # of dtypes: truth, whole numbers, floats


@dataclass(frozen=True)
class EncodedPicture:
    """A picture of vla-evaluation-harness that nobody has looked at yet."""

    form: Any
    data: Any
    shape: Any

    def decode(self) -> np.ndarray:
        """Its pixels, uint8. Raises UserError for what is no coloured picture, or too large."""
        if self.form == "raw":
            return _array(self.data, "|u1", self.shape)
        if self.form not in ("png", "jpeg") or not isinstance(self.data, bytes):
            raise UserError(f"a picture is raw, png or jpeg, not {_short(self.form)}")
        try:
            with Image.open(io.BytesIO(self.data), formats=(self.form.upper(),)) as picture:
                if max(picture.size) > LONGEST_SIDE:
                    raise UserError(
                        f"a picture of {picture.size[0]} by {picture.size[1]} pixels is too large: "
                        f"{LONGEST_SIDE} a side at most"
                    )
                if picture.mode != "RGB":
                    raise UserError(f"a picture must be RGB, not {picture.mode}")
                return np.asarray(picture)
        except UserError:
            raise
        except Exception as error:  # whatever a decoder finds
            raise UserError(f"a picture cannot be read as {self.form}: {error}") from None


def unpack(frame: bytes | str) -> dict[Any, Any]:
    """The map that a client's frame holds, arrays as numpy's (read-only).

    Raises:
        UserError: the frame is text, no msgpack, no map, or holds an array that is none.
    """
    if isinstance(frame, str):
        raise UserError("a request is a binary frame of msgpack; this one is text")
    try:
        message = msgpack.unpackb(frame, object_hook=_decode)
    except UserError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        raise UserError(f"a frame of {len(frame)} bytes is no msgpack ({said})") from None
    if not isinstance(message, dict):
        raise UserError(f"a frame must hold a map, not {type(message).__name__}")
    return message


def pack_openpi(message: Mapping[str, Any]) -> bytes:
    """A frame for an openpi client: arrays as maps with bytes keys."""
    return _pack(message, (b"__ndarray__", b"data", b"dtype", b"shape"))


def pack_harness(message: Mapping[str, Any]) -> bytes:
    """A frame for vla-evaluation-harness: arrays as maps with text keys."""
    return _pack(message, ("__ndarray__", "data", "dtype", "shape"))


def _pack(message: Mapping[str, Any], keys: tuple[Any, Any, Any, Any]) -> bytes:
    def encode(value: Any) -> Any:
        if not isinstance(value, np.ndarray) or value.dtype.kind not in _KINDS:
            raise TypeError(f"{type(value).__name__} is not for the wire")
        told = (True, value.tobytes(), value.dtype.str, list(value.shape))
        return dict(zip(keys, told, strict=True))

    packed = msgpack.packb(message, default=encode)
    assert packed is not None
    return packed


def _decode(found: dict[Any, Any]) -> Any:
    """An array, a number of numpy's, a picture not yet decoded, or the map as it is."""
    if b"__ndarray__" in found:
        return _array(found.get(b"data"), found.get(b"dtype"), found.get(b"shape"))
    if "__ndarray__" in found:
        return _array(found.get("data"), found.get("dtype"), found.get("shape"))
    if b"__npgeneric__" in found:
        return _dtype(found.get(b"dtype")).type(found.get(b"data"))
    if "__image__" in found:
        return EncodedPicture(found.get("format"), found.get("data"), found.get("shape"))
    return found


def _array(data: Any, dtype: Any, shape: Any) -> np.ndarray:
    kind = _dtype(dtype)
    sizes = list(shape) if isinstance(shape, (list, tuple)) else None
    if sizes is None or not all(type(one) is int and one >= 0 for one in sizes):
        raise UserError(f"an array's shape is a list of whole numbers, not {_short(shape)}")
    wanted = kind.itemsize * int(np.prod(sizes, dtype=object))
    if not isinstance(data, bytes) or len(data) != wanted:
        held = f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__
        raise UserError(f"an array of {kind} {sizes} takes {wanted} bytes of data, not {held}")
    return np.frombuffer(data, kind).reshape(sizes)


def _dtype(name: Any) -> np.dtype:
    try:
        kind = np.dtype(name) if isinstance(name, str) and len(name) <= 8 else None
    except (TypeError, ValueError):
        kind = None
    if kind is None or kind.kind not in _KINDS:
        raise UserError(f"an array's dtype is a number's or a truth value's, not {_short(name)}")
    return kind


def _short(value: Any) -> str:
    """What a client sent, short enough for one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
