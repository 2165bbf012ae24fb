"""A bank is fitted to some scenes, chosen on others, and measured on scenes that it never saw."""

import dataclasses
import json

import numpy as np
import pytest

from mist_jax.errors import UserError
from mist_jax.steering.causal.build import CausalConfig, jacobian_data, make_causal_bank
from mist_jax.steering.causal.choose import choose, fit_table
from mist_jax.steering.causal.effects import POSE_MOTIONS
from mist_jax.steering.causal.report import effect_rows, save_causal_report
from mist_jax.steering.causal.states import CHOOSE, FIT, TEST, split_states
from tests.helpers.causal_states import QUERIES, made_up_states
from tests.helpers.tiny import tiny_policy

POLICY = tiny_policy()
STATES = made_up_states(POLICY, scenes=10)
CONFIG = CausalConfig(layers=(2,), reads=("action", "proprio"), measured=4, sizes=(0.001,))


@pytest.fixture(scope="module")
def made():
    return make_causal_bank(POLICY, STATES, CONFIG, "hash")


def test_scenes_are_dealt_whole_three_fifths_to_fit():
    part = split_states(STATES)
    for scene in np.unique(STATES.scene):
        assert len(np.unique(part[scene == STATES.scene])) == 1
    assert [int((part == one).sum()) for one in (FIT, CHOOSE, TEST)] == [
        6 * QUERIES, 2 * QUERIES, 2 * QUERIES
    ]  # fmt: skip
    for one in (CHOOSE, TEST):  # every task is chosen and tested on
        assert len(np.unique(STATES.instruction[part == one])) == 2


def test_test_scenes_do_not_enter_the_bank(made):
    bank, findings = made
    part = split_states(STATES)
    other = made_up_states(POLICY, scenes=20).part(np.arange(30, 60))  # other pictures
    mixed = tuple(
        theirs if where == TEST else ours
        for ours, theirs, where in zip(STATES.inputs, other.inputs, part, strict=True)
    )
    changed, _ = make_causal_bank(POLICY, dataclasses.replace(STATES, inputs=mixed), CONFIG, "hash")
    for name in ("table", "terms", "covariance"):
        np.testing.assert_array_equal(getattr(changed, name), getattr(bank, name))
    assert changed.effects != bank.effects
    assert findings.states == (18, 6, 6)


def test_a_bank_says_where_it_is_from(made):
    bank, findings = made
    assert bank.metadata.model == POLICY.identity
    assert (bank.metadata.layer, bank.metadata.layers) == (2, 4)
    assert bank.metadata.instructions == ("task 0", "task 1")
    assert (bank.metadata.states, bank.metadata.scenes) == (24, 8)
    assert bank.metadata.dataset_hash == "hash"
    assert bank.table.shape[0] == 3 * bank.metadata.phases
    assert set(bank.effects) == {"table", "linear", "exact"}
    assert set(findings.choices) == {2}
    best = findings.choices[2]
    assert bank.metadata.form == min(("table", "linear"), key=lambda form: best[form].loss)


def test_the_exact_form_does_what_is_wanted_of_it(made):
    effects = made[0].effects["exact"]
    assert [one.motion for one in effects.motions] == list(POSE_MOTIONS)
    assert effects.slope == pytest.approx(1, abs=0.1)
    assert effects.states == 4


def test_a_states_row_is_the_banks_row(made):
    bank, _ = made
    part = split_states(STATES)
    data = jacobian_data(POLICY, STATES.part(part != TEST), CONFIG, 2)
    phases, prior = made[1].choices[2]["table"].phases, made[1].choices[2]["table"].prior
    table = fit_table(data, phases, prior)
    np.testing.assert_allclose(table.table, bank.table, atol=1e-6)
    unknown = dataclasses.replace(STATES, instruction=np.full(len(STATES), "task 9"))
    for states in (STATES, unknown):
        rows = [
            bank.row(str(text), int(step), int(most))
            for text, step, most in zip(
                states.instruction, states.step, states.max_steps, strict=True
            )
        ]
        assert table.rows(states).tolist() == rows


def test_where_jacobians_differ_by_task_the_table_beats_their_mean(made):
    rng = np.random.default_rng(0)
    part = split_states(STATES)
    data = jacobian_data(POLICY, STATES.part(part != TEST), CONFIG, 2)
    of_task = rng.normal(size=(2, *data.jacobians.shape[1:])).astype(np.float32)
    task = (data.states.instruction == "task 1").astype(int)
    planted = dataclasses.replace(data, jacobians=of_task[task])
    fit = part[part != TEST] == FIT
    best = choose(planted.part(fit), planted.part(~fit))
    assert best["table"].loss < 0.1
    assert best["exact"].loss <= best["table"].loss
    assert best["table"].prior == 1.0  # the least that is drawn to the common mean


def test_one_push_for_all_tokens_is_the_sum_over_them():
    one = dataclasses.replace(CONFIG, per_token=False)
    some = STATES.part(np.arange(3))
    each = jacobian_data(POLICY, some, CONFIG, 2).jacobians
    alike = jacobian_data(POLICY, some, one, 2).jacobians
    np.testing.assert_allclose(alike, each.sum(axis=2, keepdims=True), atol=1e-4)


def test_pushes_at_tokens_of_unequal_number_are_refused():
    with pytest.raises(UserError, match="not equally many prompt tokens"):
        jacobian_data(POLICY, STATES, dataclasses.replace(CONFIG, tokens="prompt"), 2)


def test_the_report_says_what_was_measured(tmp_path, made):
    bank, findings = made
    (tmp_path / "summary.json").write_text('{"methods": {}}')
    save_causal_report(tmp_path, bank, findings, {"normal": {"absent": "no contact"}})
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["methods"] == {}
    causal = summary["causal"]
    assert causal["layer"] == 2
    assert causal["intents"] == {"normal": {"absent": "no contact"}}
    motions = causal["effects"]["exact"]["motions"]
    one = bank.effects["exact"].of("x+")
    assert motions["x+"]["right"] == one.right
    assert motions["x+"]["causal"] is one.causal
    assert (tmp_path / "plots" / "causal_effects.png").stat().st_size > 3000
    rows = effect_rows(bank.effects["exact"])
    assert rows[0][:2] == ("x+", f"{one.right} of {one.count}")
