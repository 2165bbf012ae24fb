"""Names of what parameters are computed and stored in."""

from typing import Literal, get_args

RunDType = Literal["float32", "bfloat16", "float8"]

FLOAT8 = "float8"  # the large products' weights; all others are bfloat16
RUN_DTYPES: tuple[str, ...] = get_args(RunDType)
STORED_DTYPES = (*RUN_DTYPES, "float16")
