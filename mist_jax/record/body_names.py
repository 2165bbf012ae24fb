"""Names of MuJoCo's bodies as people say them."""

import re

_ROBOT = {
    "right_hand": "hand",
    "right_gripper": "hand",
    "eef": "hand",
    "leftfinger": "left finger",
    "rightfinger": "right finger",
    "finger_joint1_tip": "left fingertip",
    "finger_joint2_tip": "right fingertip",
}
_NUMBERED = re.compile(r"(.+?)_(\d+)(?:_(.+))?")


def readable_body(name: str) -> str:
    """`gripper0_right_gripper` -> "hand", `wooden_cabinet_1_cabinet_top` -> "wooden cabinet, top".

    The number of an object is told from 2 on. Two bodies may have one name for people, so nothing
    is told apart by it.
    """
    bare = re.sub(r"^(robot|gripper)\d+_", "", name)
    if bare in _ROBOT:
        return _ROBOT[bare]
    if link := re.fullmatch(r"link(\d+)", bare):
        return f"arm link {link[1]}"
    found = _NUMBERED.fullmatch(bare)
    if found is None:
        return _words(bare.removesuffix("_main"))
    kind, number, part = _words(found[1]), found[2], found[3] or ""
    known = kind if number == "1" else f"{kind} {number}"
    said = [word for word in _words(part).split() if word not in {*kind.split(), "main"}]
    return f"{known}, {' '.join(said)}" if said else known


def _words(text: str) -> str:
    return text.replace("_", " ").strip()
