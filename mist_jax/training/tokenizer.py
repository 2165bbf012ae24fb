"""A small tokenizer for small policies, trained on prompts."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from mist_jax.policy.preprocessing.prompt import prompt_of
from mist_jax.simulator.libero.suites import load_suite

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<empty>")  # ids 0, 1, 2, 3
# By name: a suite that someone adds does not change the tokenizers of other policies.
VOCABULARY_SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")


def vocabulary_of(suites: Sequence[str], instructions: Iterable[str]) -> list[str]:
    """The instructions of all tasks of `suites`, then those of `instructions` that are new.

    Raises:
        UserError: an unknown suite.
    """
    known = [task.language for suite in suites for task in load_suite(suite)]
    return known + sorted(set(instructions) - set(known))


def train_tokenizer(instructions: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE over the prompts of `instructions`; deterministic; BOS is put in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(prompt_of(text) for text in instructions), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def write_tokenizer(path: Path, instructions: Iterable[str], vocab_size: int) -> None:
    """Train and save a `tokenizer.json`."""
    train_tokenizer(instructions, vocab_size).save(str(path))
