"""Instructions in other words, of which the task is the same.

The kinds of rewriting are LIBERO-plus's (other words, talk around them, things told by what they
are); the words are this project's and need no language model, so they are the same everywhere.
"""

import re
from collections.abc import Mapping

import numpy as np

from mist_jax.simulator.variation.words import FRAMES, PHRASES, THINGS


def paraphrase(instruction: str, level: int, rng: np.random.Generator) -> str:
    """The instruction in other words.

    Args:
      instruction: as the suite has it.
      level: 1 for other verbs and prepositions, 2 for these within talk around them, 3 for these
        with the things told by what they are.
      rng: draws the words.

    Returns:
      Words unlike the instruction; one of which no word is known is talked around at every level.
    """
    words = _with_others(instruction, PHRASES, rng)
    if level == 3:
        words = _with_others(words, THINGS, rng)
    frame = FRAMES[int(rng.integers(len(FRAMES)))]
    return frame.format(words) if level == 2 or words == instruction else words


def _with_others(text: str, table: Mapping[str, tuple[str, ...]], rng: np.random.Generator) -> str:
    """Each phrase of the table by one of its others, the longest first, none of them twice."""
    phrases = sorted(table, key=len, reverse=True)
    chosen = {phrase: others[int(rng.integers(len(others)))] for phrase, others in table.items()}
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, phrases))})\b")
    return pattern.sub(lambda match: chosen[match.group()], text)
