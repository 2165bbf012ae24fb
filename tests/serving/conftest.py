import pytest

from mist_jax.loading import load_policy
from tests.helpers.rollout_samples import save_tiny_policy

pytest.importorskip("websockets")
pytest.importorskip("msgpack")


@pytest.fixture(scope="session")
def policy(tmp_path_factory):
    """The tiny policy, loaded from disk; nobody changes it."""
    folder = tmp_path_factory.mktemp("policy") / "tiny"
    save_tiny_policy(folder)
    return load_policy(folder)
