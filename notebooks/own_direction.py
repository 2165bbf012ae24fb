# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
"""
# A direction of your own, in closed loop

You make a steering direction (here "move up", from the policy's own Jacobian), measure on other
scenes what it does to the action and to the dimensions it should leave alone, and then let it act
in whole episodes. You learn the difference between a direction that is *named* after a motion and
one that causes it, and how an arm of your own gets into a rollout. About a minute on two cores.
"""

# %%
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np

import mist_jax
from mist_jax.analysis.action_gap import executed
from mist_jax.analysis.moments import see_moments
from mist_jax.axes import ACTION_DIMENSIONS
from mist_jax.rollout.acting.arm import Controller, Unsteered

policy = mist_jax.load_policy("mist-nano")
LAYER, Z = 3, ACTION_DIMENSIONS.index("z")
made_from = see_moments(policy, "libero_spatial", 0, (30, 31), queries=6, assets="lite")
held_out = see_moments(policy, "libero_spatial", 5, (32,), queries=6, assets="lite")

# %% [markdown]
"""
## The direction

`policy.jacobian` is how the executed action changes with a push on the action tokens after a
layer: one row a dimension. The smallest push that raises z by one action unit and changes nothing
else, to first order, is a column of its pseudo-inverse; one direction for all states takes the
mean Jacobian. Beside it a direction in the way that is more usual: mean activation where the
policy goes up minus where it goes down, scaled to raise z by as much on these states.
"""

# %%
inputs = [moment.inputs for moment in made_from]
jacobian = policy.jacobian(inputs, layer=LAYER, per_token=False)[:, :, 0]  # [B, A, D]
causal = np.linalg.pinv(jacobian.mean(0))[:, Z]

told = policy.predict_inputs(inputs, sites=("llm.resid",))
rising = told.raw_actions[..., Z].mean(1)
high = rising > np.median(rising)
activation = told.activations["llm.resid"][:, LAYER]
contrast = activation[high].mean(0) - activation[~high].mean(0)
contrast = contrast / (jacobian.mean(0) @ contrast)[Z]
cosine = causal @ contrast / np.linalg.norm(causal) / np.linalg.norm(contrast)
print(
    f"lengths {np.linalg.norm(causal):.2f} and {np.linalg.norm(contrast):.2f}, cosine {cosine:.2f}"
)

# %% [markdown]
"""
## What it does to the action, on other scenes

Pushed by a growing coefficient on scenes of another task: the change of z should be the
coefficient (the grey line), the change of the other dimensions zero.
"""

# %%
SIZES = np.array([-0.4, -0.2, 0.0, 0.2, 0.4])
others = [moment.inputs for moment in held_out]


def changes(direction: np.ndarray) -> np.ndarray:
    """Mean change of the executed action over the chunk, [sizes, B, A]."""
    vectors = np.zeros((1, policy.layers, len(direction)))
    vectors[0, LAYER] = direction
    means = []
    for size in SIZES:
        push = mist_jax.Steering.of(vectors, np.full((len(others), 1), size))
        raw = policy.predict_inputs(others, steering=push).raw_actions
        means.append(executed(raw).mean(1))
    return np.stack(means) - means[2]


moved = {"Jacobian": changes(causal), "difference of means": changes(contrast)}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for panel, (name, change) in zip(axes, moved.items(), strict=True):
    for index, dimension in enumerate(ACTION_DIMENSIONS[:6]):
        width = 2.5 if index == Z else 1
        panel.plot(SIZES, change[..., index].mean(1), marker=".", label=dimension, linewidth=width)
    panel.axline((0, 0), slope=1, color="grey", linewidth=0.8, linestyle=":")
    panel.set(title=name, xlabel="wanted change of z, action units")
axes[0].set_ylabel("realised change, action units")
axes[0].legend(fontsize=8)
plt.show()

slope = moved["Jacobian"][-1, :, Z].mean() / SIZES[-1]
aside = np.abs(moved["Jacobian"][-1][:, [0, 1]]).mean() / SIZES[-1]
print(f"realised / wanted {slope:.2f}; of x and y {aside:.2f}")
assert 0.5 < slope < 1.5

# %% [markdown]
"""
## In closed loop

An arm says what is done to each query. This one pushes up by 0.4 action units (2 cm a step) during
the first three queries and then lets go. The policy sees where it ends up and corrects itself:
what a push does to the *episode* is not what it does to one action, and has to be measured there.
"""

# %%
vectors = np.zeros((1, policy.layers, len(causal)), np.float32)
vectors[0, LAYER] = causal


@dataclass(frozen=True)
class Lift(Unsteered):
    """Up, for the first three queries."""

    name: str = "lift"

    @property
    def threshold(self) -> np.ndarray:
        """Open without any risk."""
        return np.full(len(mist_jax.SIGNED_MOTIONS), -np.inf, np.float32)

    def coefficient(self, turn, query: int) -> np.ndarray:
        """Action units of z."""
        return np.array([0.4 if query < 3 else 0.0], np.float32)


gates = np.ones((1, len(mist_jax.SIGNED_MOTIONS)), np.float32)
controller = Controller(vectors, gates, risk_head=None)
SCENES = ((0, 32), (5, 33))
episodes = {
    (task, state, arm.name): mist_jax.roll_out(
        policy,
        "libero_spatial",
        task,
        initial_state=state,
        controller=controller,
        arm=arm,
        assets="lite",
    )
    for task, state in SCENES
    for arm in (Unsteered(), Lift())
}

figure, axes = plt.subplots(1, len(SCENES), figsize=(10, 3.4), sharey=True, layout="constrained")
for panel, (task, state) in zip(axes, SCENES, strict=True):
    for arm, colour in (("none", "tab:grey"), ("lift", "tab:blue")):
        episode = episodes[task, state, arm]
        height = 100 * episode.steps.eef_pos[:, 2]
        panel.plot(height, color=colour, label=f"{arm}: {episode.outcome}, {len(height)} steps")
    panel.axvspan(0, 24, color="tab:blue", alpha=0.1)
    panel.set(title=f"task {task}, initial state {state}", xlabel="control step")
    panel.legend(fontsize=8)
axes[0].set_ylabel("height of the hand, cm")
plt.show()
for (task, state, arm), episode in episodes.items():
    if arm == "lift" and episode.queries.realised is not None:
        realised = ", ".join(f"{one:.2f}" for one in episode.queries.realised[:4, Z])
        print(f"task {task}, state {state}: z changed at queries 0 to 3 by {realised}")

# %% [markdown]
"""
To have a direction judged beside others, with controls of the same dose and intervals, put the
same few lines into a file as a steering method and give it to
`experiments.extract_steering_vectors` and `experiments.run_evaluation`: "A steering method" and
"An arm" in docs/extending.md.
"""
