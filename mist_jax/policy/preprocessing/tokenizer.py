"""Prompts as token ids, through the `tokenizer.json` that comes with a checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer

from mist_jax.errors import UserError

BOS_ID = 1
TERMINATOR_ID = 29871  # Llama-2's bare space, which the training prompts ended with


@dataclass(frozen=True)
class PromptTokenizer:
    """Prompts to ids: BOS, the prompt, and the terminator unless the prompt ends with it."""

    tokenizer: Tokenizer
    bos_id: int = BOS_ID
    terminator_id: int = TERMINATOR_ID

    @classmethod
    def load(
        cls, path: Path, bos_id: int = BOS_ID, terminator_id: int = TERMINATOR_ID
    ) -> "PromptTokenizer":
        """Read a `tokenizer.json`.

        Raises:
            UserError: the file is missing or is no tokenizer.
        """
        if not path.is_file():
            raise UserError(f"{path} does not exist; a policy's folder must hold a tokenizer.json")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception for a bad file
            raise UserError(f"{path} is not a tokenizer: {error}") from None
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return cls(tokenizer, bos_id, terminator_id)

    def __call__(self, prompt: str) -> Int[np.ndarray, "T"]:
        """Token ids int32 [T] of a prompt, from BOS to the terminator."""
        ids = self.tokenizer.encode(prompt).ids
        if ids[:1] != [self.bos_id]:
            ids = [self.bos_id, *ids]
        if ids[-1] != self.terminator_id:
            ids = [*ids, self.terminator_id]
        return np.asarray(ids, np.int32)
