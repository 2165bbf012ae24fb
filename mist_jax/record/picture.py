"""Camera pictures as episodes keep them: turned by 180 degrees, as public LIBERO datasets do.

LIBERO renders rows from the bottom up, columns from the left: upside down, not mirrored. Its public
datasets store `image[::-1, ::-1]`, which is upright and *mirrored*: what lies to the right of the
camera is on the left. Policies are trained on that, so that is what is stored here.
"""

import numpy as np
import simplejpeg
from jaxtyping import UInt8

JPEG_QUALITY = 95
STORED_FORM = "upright, mirrored left to right: the render turned by 180 degrees, image[::-1, ::-1]"


def encode_picture(render: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """The JPEG to store of an image as LIBERO renders it."""
    turned = np.ascontiguousarray(render[::-1, ::-1])
    return simplejpeg.encode_jpeg(turned, quality=JPEG_QUALITY)


def decode_picture(jpeg: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """A stored picture as it is stored: upright and mirrored, decoded as TensorFlow would."""
    return simplejpeg.decode_jpeg(jpeg, fastdct=True, fastupsample=False)


def as_seen(picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """A stored picture with left and right as in the scene, for people to look at."""
    return np.ascontiguousarray(picture[:, ::-1])
