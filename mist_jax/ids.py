"""Ranges of ids as people type them: "0-29,33"."""

from collections.abc import Iterable

from mist_jax.errors import UserError


def parse_ids(text: str, limit: int, what: str) -> tuple[int, ...]:
    """The ids that `text` names, sorted, each once.

    Args:
      text: comma-separated ids and inclusive ranges, such as "0-29,33"; empty means every id.
      limit: the number of ids there are; the valid ones are 0 to limit - 1.
      what: what an id stands for, in the singular ("task", "initial state"), for messages.

    Raises:
      UserError: `text` is not of this form, or an id is out of range.
    """
    if not text.strip():
        return tuple(range(limit))
    ids: set[int] = set()
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not _is_id(first) or (dash and not _is_id(last)):
            raise UserError(
                f"{what} ids {text!r}: {part.strip()!r} is neither an id nor a range; "
                'write for example "0-4,7"'
            )
        start, stop = int(first), int(last) if dash else int(first)
        if start > stop:
            raise UserError(f"{what} ids {text!r}: the range {part.strip()!r} runs backwards")
        if stop >= limit:
            raise UserError(f"there is no {what} {stop}: valid ids are 0 to {limit - 1}")
        ids.update(range(start, stop + 1))
    return tuple(sorted(ids))


def format_ids(ids: Iterable[int]) -> str:
    """The inverse of `parse_ids`: "0-29,33"; nothing for no ids."""
    runs: list[list[int]] = []
    for one in sorted(set(ids)):
        if runs and one == runs[-1][-1] + 1:
            runs[-1][1:] = [one]
        else:
            runs.append([one])
    return ",".join("-".join(map(str, run)) for run in runs)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit()
