"""The pushes that causal arms draw from: each an intent, a map and a gate, by name."""

from dataclasses import dataclass
from typing import Literal

MIST, LINEAR, EXACT, NOISE, PERMUTED, GIVEN, CANDIDATES = (
    "mist",
    "linear",
    "exact",
    "noise",
    "permuted",
    "given",
    "candidates",
)


@dataclass(frozen=True)
class PushSpec:
    """How a push is made of a causal bank.

    Attributes:
        form: of the bank's maps; None: the run's.
        intent: of the bank's intents; None: the run's.
        noise: along noise of the dose that the map would have had.
        waits: its gate opens at alarms; else it is always open and the arm's numbers say when.
    """

    form: Literal["table", "linear", "exact"] | None = None
    intent: str | None = None
    noise: bool = False
    waits: bool = True


PUSHES = {
    MIST: PushSpec(),
    LINEAR: PushSpec(form="linear"),
    EXACT: PushSpec(form="exact"),
    NOISE: PushSpec(noise=True),
    PERMUTED: PushSpec(intent="permuted"),
    GIVEN: PushSpec(intent="given", waits=False),
    CANDIDATES: PushSpec(intent="sampled"),
}
