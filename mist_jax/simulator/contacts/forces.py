"""Normal forces of many contacts at once."""

import mujoco
import numpy as np
from jaxtyping import Float, Int


def normal_forces(
    model: mujoco.MjModel, data: mujoco.MjData, contacts: Int[np.ndarray, "contacts"]
) -> Float[np.ndarray, "contacts"]:
    """Normal force (N) of the chosen contacts, as component 0 of `mj_contactForce`.

    With elliptic cones it is the contact's first constraint force; with pyramidal ones the sum
    over the 2 (dim - 1) edges (MuJoCo documentation, Computation, Contact). A contact outside the
    solver (inside its gap) has none.
    """
    address = data.contact.efc_address[contacts]
    force = data.efc_force
    if not len(force):
        return np.zeros(len(contacts))
    if model.opt.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL:
        dim = data.contact.dim[contacts]
        edges = np.where(dim == 1, 1, 2 * (dim - 1))
        total = np.concatenate([[0.0], np.cumsum(force)])
        start = np.maximum(address, 0)
        normal = total[start + edges] - total[start]
    else:
        normal = force[address]
    return np.where(address >= 0, normal, 0.0)
