"""Which sampled scenes of a suite are good ones: the expert solves them without a harmful contact.

A table is a small JSON file that `experiments/sample_scenes.py` writes and a `Suite` names:
{"suite": "libero_spatial", "tuning": {"0": "1000-1038,1040", ...}, "sealed": {...}}.
A pool of which nothing was accepted yet may be absent.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from mist_jax.disk import replace_file
from mist_jax.errors import UserError
from mist_jax.ids import format_ids, parse_ids
from mist_jax.simulator.libero.sampled_scenes import POOLS, SAMPLED, Pool

Accepted = Mapping[int, tuple[int, ...]]  # indices of scenes, ascending, by task id


@dataclass(frozen=True)
class SceneTable:
    """The accepted scenes of a suite.

    Attributes:
      suite: its name.
      pools: accepted indices of each pool.
    """

    suite: str
    pools: Mapping[Pool, Accepted] = field(default_factory=lambda: {pool: {} for pool in POOLS})

    @classmethod
    def read(cls, path: Path) -> Self:
        """The table in a file.

        Raises:
          UserError: there is no such file, or it is no table.
        """
        advice = "make it again with experiments.sample_scenes"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                str(stored["suite"]), {pool: _parse(stored.get(pool, {}), pool) for pool in POOLS}
            )
        except OSError as error:
            raise UserError(f"no scenes at {path} ({error.strerror}): {advice}") from None
        except (ValueError, LookupError, TypeError, AttributeError, UserError) as error:
            raise UserError(f"{path} is no table of scenes ({error}): {advice}") from None

    def write(self, path: Path) -> None:
        """Replaces the file in one atomic step."""
        pools = {
            pool: {str(task_id): format_ids(ids) for task_id, ids in sorted(accepted.items())}
            for pool, accepted in self.pools.items()
        }
        text = json.dumps({"suite": self.suite, **pools}, indent=1)
        replace_file(path, f"{text}\n".encode())

    def joined(self, pool: Pool, accepted: Accepted) -> "SceneTable":
        """With these tasks' scenes in the place of what the pool had for them."""
        return SceneTable(self.suite, {**self.pools, pool: {**self.pools[pool], **accepted}})


def _parse(stored: Mapping[str, str], pool: Pool) -> Accepted:
    found = {
        int(task_id): parse_ids(text, SAMPLED.stop, "initial state")
        for task_id, text in stored.items()
    }
    for task_id, ids in found.items():
        if strays := [one for one in ids if one not in POOLS[pool]]:
            raise ValueError(f"task {task_id}: {strays[0]} is not of the pool {pool!r}")
    return found
