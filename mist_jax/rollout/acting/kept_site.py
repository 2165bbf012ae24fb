"""Which layers of a site a dataset keeps."""

from collections.abc import Mapping, Sequence

from mist_jax.episodes.dataset_info import Site
from mist_jax.errors import UserError
from mist_jax.intervention.site import ModelSite


def kept_site(sites: Mapping[str, ModelSite], name: str, layers: Sequence[int] | None) -> Site:
    """Of a site within the layers that can be steered, `layers` (default all); else every one.

    Raises:
        UserError: the model has no such site, or the site no such layer.
    """
    if name not in sites:
        raise UserError(f"unknown site {name!r}; there are {', '.join(sites)}")
    site = sites[name]
    if layers is None or site.stage != "within":
        return Site(tuple(range(site.layers)), site.width)
    outside = [layer for layer in layers if not 0 <= layer < site.layers]
    if outside:
        last = site.layers - 1
        raise UserError(f"the model has no layer {outside[0]}: valid ones are 0 to {last}")
    return Site(tuple(layers), site.width)
