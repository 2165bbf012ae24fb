"""Observation and instruction to the policy's inputs, in a process without any framework."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from mist_jax.errors import UserError
from mist_jax.policy.preprocessing.images import ImagePreprocessing
from mist_jax.policy.preprocessing.preprocessor import Preprocessor
from mist_jax.policy.preprocessing.prompt import prompt_of
from mist_jax.policy.preprocessing.statistics import read_statistics
from mist_jax.policy.preprocessing.tokenizer import PromptTokenizer
from mist_jax.record.observation import CAMERAS, Observation
from tests.helpers.published import published_folder
from tests.policy.test_proprio import observation as robot_state
from tests.policy.test_statistics import entry

TASK = "pick up the black bowl between the plate and the ramekin and place it on the plate"


def word_tokenizer(terminator: str = "<empty>") -> Tokenizer:
    """A tokenizer of whole words that adds BOS as Llama's does."""
    words = ["<unk>", "<s>", "</s>", terminator, "In", ":", "What", "to", "Out", "open"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def preprocessor(**changes: object) -> Preprocessor:
    parts: dict = {
        "images": ImagePreprocessing(image_size=28, crop_side=28),
        "cameras": CAMERAS,
        "takes_proprio": True,
        "statistics": read_statistics({"suite": entry()}),
        "tokenizer": PromptTokenizer(word_tokenizer(), terminator_id=3),
    }
    return Preprocessor(**{**parts, **changes})


def observation() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    images = {f"{c}_image": rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for c in CAMERAS}
    return {**images, **robot_state().as_libero()}


def test_prompt_is_lower_case_without_a_full_stop() -> None:
    prompt = prompt_of("Open The Drawer")
    assert prompt == "In: What action should the robot take to open the drawer?\nOut:"


def test_published_tokens_of_a_prompt() -> None:
    tokenizer = PromptTokenizer.load(published_folder() / "tokenizer.json")
    # fmt: off
    expected = [1, 512, 29901, 1724, 3158, 881, 278, 19964, 2125, 304, 5839, 701, 278, 4628, 12580,
                29880, 1546, 278, 15284, 322, 278, 364, 420, 9089, 322, 2058, 372, 373, 278, 15284,
                29973, 13, 3744, 29901, 29871]
    # fmt: on
    assert tokenizer(prompt_of(TASK)).tolist() == expected
    assert tokenizer(prompt_of(TASK)).dtype == np.int32


def test_the_empty_token_is_appended_only_where_it_is_not_last() -> None:
    tokenizer = PromptTokenizer(word_tokenizer(), terminator_id=3)
    assert tokenizer("In : Out").tolist() == [1, 4, 5, 8, 3]
    published = PromptTokenizer.load(published_folder() / "tokenizer.json")
    ends_with_it = published("Out: ")
    assert ends_with_it.tolist() == [1, 4451, 29901, 29871]


def test_bos_comes_once_whether_or_not_the_file_adds_it() -> None:
    bare = word_tokenizer()
    bare.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    for tokenizer in (word_tokenizer(), bare):
        assert PromptTokenizer(tokenizer, terminator_id=3)("In :").tolist() == [1, 4, 5, 3]


def test_inputs_have_their_shapes_and_the_primary_image_first() -> None:
    inputs = preprocessor()(observation(), "open")
    assert inputs.images.shape == (2, 28, 28, 3)
    assert inputs.images.dtype == np.uint8
    assert inputs.proprio.shape == (8,)
    assert inputs.token_ids[-1] == 3
    primary = preprocessor(cameras=CAMERAS[:1])(observation(), "open")
    np.testing.assert_array_equal(primary.images, inputs.images[:1])


def test_a_model_without_proprio_gets_none() -> None:
    seen = {name: value for name, value in observation().items() if name.endswith("_image")}
    assert preprocessor(takes_proprio=False)(seen, "open").proprio.shape == (0,)


def test_an_observation_is_never_changed() -> None:
    seen = observation()
    for value in seen.values():
        value.flags.writeable = False
    first, second = (preprocessor()(seen, "open") for _ in range(2))
    np.testing.assert_array_equal(first.proprio, second.proprio)
    np.testing.assert_array_equal(first.images, second.images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agentview_image": None}, "no 'agentview_image'"),
        ({"robot0_eef_quat": None}, "no 'robot0_eef_quat'"),
        ({"agentview_image": np.zeros((64, 64, 3), np.float32)}, "must be uint8"),
        ({"robot0_gripper_qpos": np.zeros(1)}, "describe 8 proprio dimensions"),
    ],
)
def test_a_bad_observation_is_named(change: dict, message: str) -> None:
    seen = {k: v for k, v in {**observation(), **change}.items() if v is not None}
    with pytest.raises(UserError, match=message):
        preprocessor()(seen, "open")


def test_an_observation_gives_what_its_libero_dictionary_gives() -> None:
    dictionary = preprocessor()(observation(), "open")
    record = preprocessor()(Observation.from_libero(observation(), needs=()), "open")
    np.testing.assert_array_equal(record.images, dictionary.images)
    np.testing.assert_array_equal(record.proprio, dictionary.proprio)


@pytest.mark.parametrize(
    ("lacks", "message"),
    [("agentview_image", "no image of 'agentview'"), ("robot0_eef_quat", "eef_quat is empty")],
)
def test_an_observation_that_lacks_a_part_is_named(lacks: str, message: str) -> None:
    seen = observation()
    del seen[lacks]
    with pytest.raises(UserError, match=message):
        preprocessor()(Observation.from_libero(seen, needs=()), "open")


def test_an_empty_instruction_is_refused() -> None:
    with pytest.raises(UserError, match="instruction is empty"):
        preprocessor()(observation(), "  ")


def test_it_can_be_sent_to_a_worker() -> None:
    sent = pickle.loads(pickle.dumps(preprocessor()))
    ours, theirs = preprocessor()(observation(), "open"), sent(observation(), "open")
    np.testing.assert_array_equal(ours.images, theirs.images)
    np.testing.assert_array_equal(ours.token_ids, theirs.token_ids)
    actions = np.full((8, 7), 0.5)
    np.testing.assert_array_equal(sent.unnormalise(actions), preprocessor().unnormalise(actions))


@pytest.mark.parametrize(
    "rooms", [("policy.preprocessing",), ("record", "rollout.worker", "rollout.recording")]
)
def test_what_runs_in_the_workers_imports_no_framework(rooms: tuple[str, ...]) -> None:
    root = Path(__file__).parents[2]
    modules = [
        ".".join(path.relative_to(root).with_suffix("").parts)
        for room in rooms
        for place in [root.joinpath("mist_jax", *room.split("."))]
        for path in (place.glob("*.py") if place.is_dir() else [place.with_suffix(".py")])
    ]
    assert len(modules) > 2
    code = (
        f"import sys, {', '.join(modules)}; "
        "bad = {'jax', 'torch', 'tensorflow', 'flax', 'robosuite'} & set(sys.modules); "
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_missing_or_broken_tokenizer_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(UserError, match="does not exist"):
        PromptTokenizer.load(path)
    path.write_text("{}")
    with pytest.raises(UserError, match="is not a tokenizer"):
        PromptTokenizer.load(path)
