"""The operators that come with the library, by name; one row each.

Another one needs no row to be used: give an instance to `policy.predict(steering=...)`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from mist_jax.intervention.operator import Operator
from mist_jax.intervention.operators.causal_push import CausalPush
from mist_jax.intervention.operators.conceptor import Conceptor
from mist_jax.intervention.operators.layered_push import LayeredPush
from mist_jax.intervention.operators.project import Project
from mist_jax.intervention.operators.push import Push
from mist_jax.intervention.operators.replace import Replace
from mist_jax.intervention.steering import Steering

OPERATORS: Mapping[str, type[Operator]] = MappingProxyType(
    {
        "steering": Steering,  # add directions, shrink
        "replace": Replace,
        "project": Project,
        "push": Push,
        "layered_push": LayeredPush,
        "causal_push": CausalPush,
        "conceptor": Conceptor,
    }
)
