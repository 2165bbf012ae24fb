"""Frames are read as both protocols' own code writes them; anything else is refused with a line."""

import contextlib
import io

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from mist_jax.errors import UserError
from mist_jax.serving.frame import EncodedPicture, pack_harness, pack_openpi, unpack
from tests.helpers.serving_samples import array_by_hand

openpi_codec = pytest.importorskip("openpi_client.msgpack_numpy")
harness_codec = pytest.importorskip("vla_eval.protocol.numpy_codec")

NUMBERS = arrays.arrays(
    st.sampled_from(["<f4", "<f8", "|u1", "<i8", "|b1", ">i2"]),
    arrays.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=4),
)


@given(NUMBERS)
def test_arrays_are_read_as_both_protocols_write_them_and_written_as_they_read(array):
    for write in (
        openpi_codec.packb,
        lambda value: msgpack.packb(value, default=harness_codec.encode_ndarray),
    ):
        found = unpack(write({"a": array, "n": [1, "x"]}) or b"")
        assert found["n"] == [1, "x"]
        np.testing.assert_array_equal(found["a"], array)
        assert found["a"].dtype == array.dtype
    for read, packed in (
        (openpi_codec.unpackb, pack_openpi),
        (lambda f: msgpack.unpackb(f, object_hook=harness_codec.decode_ndarray), pack_harness),
    ):
        told = read(packed({"a": array}))["a"]
        np.testing.assert_array_equal(told, array)
        assert told.dtype == array.dtype


def test_numbers_of_numpys_keep_their_type():
    told = unpack(openpi_codec.packb({"a": np.float32(0.1), "b": np.int64(-3)}))
    assert told["a"] == np.float32(0.1)
    assert type(told["a"]) is np.float32
    assert told["b"] == -3


@pytest.mark.parametrize("form", ["png", "raw", "jpeg"])
def test_a_harness_picture_is_read_as_the_harness_reads_it(form):
    ramp = np.linspace(0, 255, 40 * 50 * 3).astype(np.uint8).reshape(40, 50, 3)
    told = harness_codec.encode_image(ramp, form)
    found = unpack(msgpack.packb({"p": told}) or b"")["p"]
    assert isinstance(found, EncodedPicture)
    np.testing.assert_array_equal(found.decode(), harness_codec.decode_image(told))
    if form != "jpeg":
        np.testing.assert_array_equal(found.decode(), ramp)


def picture(mode: str, size: tuple[int, int], form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, form)
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "data", "why"),
    [
        ("gif", b"GIF89a", "raw, png or jpeg, not 'gif'"),
        ("png", b"no png", "cannot be read as png"),
        ("png", picture("RGB", (4, 4))[:-28], "cannot be read as png"),
        ("png", picture("RGB", (4, 4), "JPEG"), "cannot be read as png"),
        ("png", picture("L", (4, 4)), "must be RGB, not L"),
        ("png", picture("1", (40_000, 3)), "40000 by 3 pixels is too large"),
        ("png", "text", "raw, png or jpeg"),
        ("raw", b"123", "takes 48 bytes of data, not 3 bytes"),
    ],
)
def test_a_picture_that_is_none_is_refused_before_it_is_decoded(form, data, why):
    with pytest.raises(UserError, match=why):
        EncodedPicture(form, data, [4, 4, 3]).decode()


GOOD = array_by_hand(np.zeros(3, np.float32))


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        ("text", "this one is text"),
        (b"", "no msgpack"),
        (b"\xc1", "no msgpack"),
        (b"\x81\xa1a", "no msgpack"),
        (b"\x81\xa1a\x01\x01", "no msgpack"),
        (b"\x91" * 3000 + b"\x01", "no msgpack"),
        (b"\x81\xa1a\xa1\xff", "no msgpack"),
        (msgpack.packb([1]), "must hold a map, not list"),
        (msgpack.packb(3), "must hold a map, not int"),
        (msgpack.packb({"a": {**GOOD, b"dtype": "|O"}}), "dtype"),
        (msgpack.packb({"a": {**GOOD, b"dtype": "<U4"}}), "dtype"),
        (msgpack.packb({"a": {**GOOD, b"dtype": "i4,i4"}}), "dtype"),
        (msgpack.packb({"a": {**GOOD, b"dtype": "<c8"}}), "dtype"),
        (msgpack.packb({"a": {**GOOD, b"dtype": 3}}), "dtype"),
        (msgpack.packb({"a": {**GOOD, b"data": "abc"}}), "12 bytes of data, not str"),
        (msgpack.packb({"a": {**GOOD, b"shape": [4]}}), "16 bytes of data, not 12 bytes"),
        (msgpack.packb({"a": {**GOOD, b"shape": [-3]}}), "whole numbers"),
        (msgpack.packb({"a": {**GOOD, b"shape": [True, 3]}}), "whole numbers"),
        (msgpack.packb({"a": {**GOOD, b"shape": None}}), "whole numbers"),
        (msgpack.packb({"a": {**GOOD, b"shape": [2**62, 2**62]}}), "bytes of data, not 12"),
        (msgpack.packb({"a": {"__ndarray__": True}}), "dtype"),
        (msgpack.packb({"a": {b"__npgeneric__": True, b"dtype": "|O", b"data": 1}}), "dtype"),
    ],
)
def test_a_frame_that_is_none_is_refused_with_one_line(frame, why):
    with pytest.raises(UserError, match=why) as told:
        unpack(frame)
    assert "\n" not in str(told.value)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data):
    with contextlib.suppress(UserError):
        assert isinstance(unpack(data), dict)


def test_what_is_not_for_the_wire_is_never_pickled():
    for value in (np.array([object()]), object(), np.array(["text"])):
        with pytest.raises(TypeError, match="not for the wire"):
            pack_openpi({"a": value})
