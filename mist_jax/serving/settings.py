"""How a server is reached, and what it takes for granted of its clients."""

from dataclasses import dataclass
from typing import Literal, get_args

Dialect = Literal["openpi", "vla-eval", "both"]
OpenpiEpisode = Literal["connection", "request"]
DIALECTS: tuple[str, ...] = get_args(Dialect)
OPENPI_EPISODES: tuple[str, ...] = get_args(OpenpiEpisode)


@dataclass(frozen=True)
class ServeSettings:
    """What `serve_policy`'s flags of the same names say.

    Attributes:
        host, port: where it listens; port 0 takes any that is free.
        protocol: what clients speak; both: told apart by a connection's first frame.
        wait: seconds that a question waits for others to fill the batch.
        max_message: bytes of a frame, at most.
        max_steps: control steps of the longest episode, where a client does not name its suite.
        replan_steps: actions of a chunk that an openpi client executes before it asks again.
        openpi_episode: connection: an openpi client's episode lasts as long as its connection and
            its prompt, or until it asks to `reset`; request: every request begins one.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    protocol: Dialect = "both"
    wait: float = 0.005
    max_message: int = 16 * 2**20
    max_steps: int = 220
    replan_steps: int = 5
    openpi_episode: OpenpiEpisode = "connection"
