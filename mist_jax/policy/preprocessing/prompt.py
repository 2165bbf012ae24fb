"""The sentence that an instruction becomes."""


def prompt_of(instruction: str) -> str:
    """The prompt the policy was trained with.

    No full stop is added after the instruction and no space after `Out:`; either breaks it.
    """
    return f"In: What action should the robot take to {instruction.lower()}?\nOut:"
