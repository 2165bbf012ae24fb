"""The arrays of a linear readout, z @ weights + bias, checked before an intent keeps them."""

from jaxtyping import ArrayLike

from mist_jax.axes import Array, Float
from mist_jax.errors import UserError
from mist_jax.intervention.features import Projection
from mist_jax.intervention.finite import finite


def readout(
    what: str, projection: Projection, weights: ArrayLike, bias: ArrayLike, numbers: int
) -> tuple[Float[Array, "k numbers"], Float[Array, "numbers"]]:
    """Weights [k, numbers] and bias [numbers] for the k numbers that `projection` makes.

    Raises:
        UserError: another shape, or a value that is not finite; `what` is in the message.
    """
    count = str(numbers)
    turn, start = finite("weights", weights, ("k", count)), finite("bias", bias, (count,))
    kept = len(projection.scale)
    if turn.shape != (kept, numbers) or start.shape != (numbers,):
        raise UserError(
            f"{what} needs weights [{kept}, {numbers}] and bias [{numbers}], not {turn.shape} and "
            f"{start.shape}"
        )
    return turn, start
