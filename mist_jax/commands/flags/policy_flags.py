"""Flags of the commands that ask a policy to act."""

from typing import TYPE_CHECKING, Any

from absl import flags

from mist_jax.policy.dtypes import RUN_DTYPES

if TYPE_CHECKING:
    from mist_jax.policy.policy import Policy

MODEL_NAME = flags.DEFINE_string(
    "model_name",
    "mist-nano",
    "Converted model folder, hub id, a shipped one such as mist-nano, or, to collect, expert.",
)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    None,
    "Queries that one compiled call of the policy answers, short of which it is padded. Results "
    "depend on it, and not on how many ask. Default: 1 on a CPU, 8 on an accelerator.",
    1,
    4096,
)
DTYPE: flags.FlagHolder[Any] = flags.DEFINE_enum(
    "dtype",
    None,
    RUN_DTYPES,
    "What the policy computes in. Results depend on it. Default: as the model is stored, float32 "
    "on a CPU.",
)
VERIFY = flags.DEFINE_bool(
    "verify", True, "Compare the model's parameters with their digest: some 20 s for a 7B model."
)

flags.register_validator(
    "model_name", lambda value: bool(value), "give a model folder, a hub id or mist-nano"
)


def load(dtype: str | None = None) -> "Policy":
    """The policy that the flags name; without `--dtype` in `dtype`, without that in its own."""
    from mist_jax.loading import load_policy

    return load_policy(MODEL_NAME.value, dtype=DTYPE.value or dtype, verify=VERIFY.value)


def batch_size() -> int:
    """`--batch_size`, or what suits the device."""
    from mist_jax.rollout.acting.policy_actor import default_batch_size

    return default_batch_size() if BATCH_SIZE.value is None else BATCH_SIZE.value
