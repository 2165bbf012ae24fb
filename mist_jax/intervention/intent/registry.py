"""The intents that come with the library, by name; one row each."""

from collections.abc import Mapping
from types import MappingProxyType

from mist_jax.intervention.intent.action_value import ActionValue
from mist_jax.intervention.intent.against_motion import AgainstMotion
from mist_jax.intervention.intent.along_normal import AlongNormal
from mist_jax.intervention.intent.braked import Braked
from mist_jax.intervention.intent.given import Given
from mist_jax.intervention.intent.intent import ActionIntent
from mist_jax.intervention.intent.sampled_value import SampledValue
from mist_jax.intervention.intent.toward_expert import TowardExpert
from mist_jax.intervention.intent.upward import Upward

INTENTS: Mapping[str, type[ActionIntent]] = MappingProxyType(
    {
        "given": Given,
        "against_motion": AgainstMotion,
        "along_normal": AlongNormal,
        "action_value": ActionValue,
        "sampled_value": SampledValue,
        "braked": Braked,
        "upward": Upward,
        "toward_expert": TowardExpert,
    }
)
