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
# Patching: which activations the action depends on, and when

Two runs of a policy differ in what they do. Give one of them, at one layer, some activations of
the other: the part that makes it do what the other did carries what the difference depends on. You
learn where on its way through the model an action is: in the image tokens at first, in the action
tokens at the end. Then the same is foretold by one backward pass (*attribution patching*), for
every token, and compared with the truth: good between similar runs, far too small between
different ones. About a minute on two cores.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import mist_jax
from mist_jax.analysis.activation_patching import activation_patching
from mist_jax.analysis.attribution_patching import attribution_patching
from mist_jax.analysis.moments import see_moments
from mist_jax.analysis.site_part import SitePart

policy = mist_jax.load_policy("mist-nano")
IMAGE, ACTION = "llm.resid:image", "llm.resid"
STATES, QUERIES = (30, 33, 36), (0, 2)
seen = {
    (task, moment.initial_state, moment.query): moment.inputs
    for task in (0, 5)
    for moment in see_moments(policy, "libero_spatial", task, STATES, queries=5, assets="lite")
}

# %% [markdown]
"""
## Pairs of runs

Pairs of two kinds, twelve each, always with the same instruction. *Another scene*: the same task
and query, other places of the objects; the actions differ a little. *Another moment*: the same
episode two queries later; the hand is elsewhere, and often the gripper is to close. Each pair has
a recipient, whose run is changed, and a donor, whose activations it gets.
"""

# %%
tasks = sorted({task for task, _, _ in seen})
scene = [
    (seen[task, state, query], seen[task, STATES[index - 2], query])
    for task in tasks
    for index, state in enumerate(STATES)
    for query in QUERIES
]
moment = [
    (seen[task, state, query], seen[task, state, query + 2])
    for task in tasks
    for state in STATES
    for query in QUERIES
]
recipients, donors = zip(*scene, *moment, strict=True)
kinds = {"another scene": slice(0, len(scene)), "another moment": slice(len(scene), None)}

# %% [markdown]
"""
## Activation patching

What is measured: with chunks of executed actions $a$ (all eight steps and seven dimensions),

$$\\text{closed} = \\frac{\\langle a_\\text{patched} - a_\\text{recipient},\\;
a_\\text{donor} - a_\\text{recipient}\\rangle}
{\\|a_\\text{donor} - a_\\text{recipient}\\|^2}$$

0 where the patch did nothing, 1 where it made the donor's action. Layer $l$ means the residual
stream after block $l$. Every token of a role is replaced by the donor's token at the same place.
"""

# %%
patched = activation_patching(policy, recipients, donors, parts=(IMAGE, ACTION))
closed = patched.closed  # [parts, L, pairs]
depth = closed.shape[1]

figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
for panel, (kind, rows) in zip(axes, kinds.items(), strict=True):
    for values, name in zip(closed[..., rows], ("image tokens", "action tokens"), strict=True):
        [line] = panel.plot(np.median(values, -1), marker="o", label=name, linewidth=2)
        panel.plot(values, ".", color=line.get_color(), alpha=0.35)
    gap = np.median(np.sqrt(patched.gap.square[rows]))
    panel.set(title=f"{kind} (median gap {gap:.2f} action units)", xlabel="patched after layer")
    panel.axhline(0, color="grey", linewidth=0.5)
    panel.axhline(1, color="grey", linewidth=0.5)
axes[0].set_ylabel("share of the action gap that is closed")
axes[0].legend()
plt.show()
for kind, rows in kinds.items():
    for values, name in zip(closed[..., rows], ("image", "action"), strict=True):
        print(f"{kind:15} {name:7}", " ".join(f"{x:4.0%}" for x in np.median(values, -1)))

# %% [markdown]
"""
At the first layer the difference is in the image tokens, and next to nothing else matters: not the
robot's own state, not the prompt. From layer 1 to 3 it moves over to the action tokens, and after
the last layer it is all there: the head reads nothing else. The two shares need not add up to one:
a part that was read already and is not yet used up is in both places or, to a patch, in neither.
"""

# %%
image, action = np.median(closed, -1)
assert image[0] > 0.9
assert action[0] < 0.1
assert (closed[0, -1] == 0).all(), "after the last layer nothing reads the image tokens"
assert np.allclose(closed[1, -1], 1), "and everything the action tokens"
assert (np.diff(image) < 0.05).all(), "what the image tokens carry alone only declines"

# %% [markdown]
"""
## Attribution patching

One backward pass gives the gradient of the closed share by every activation; times the difference
of the two runs it foretells what each patch does (Nanda 2023). Each point is a pair, a layer and a
part.
"""

# %%
attributed = attribution_patching(policy, recipients, donors, sites=(IMAGE, ACTION))
foretold = attributed.closed((IMAGE, ACTION))

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
correlation = {}
for panel, (kind, rows) in zip(axes, kinds.items(), strict=True):
    x, y = closed[:, :-1, rows], foretold[:, :-1, rows]  # after the last layer all is trivial
    correlation[kind] = np.corrcoef(x.ravel(), y.ravel())[0, 1]
    slope = (x * y).sum() / (x * x).sum()
    for values, guess, name in zip(x, y, ("image tokens", "action tokens"), strict=True):
        panel.plot(values.ravel(), guess.ravel(), ".", label=name, alpha=0.7)
    panel.axline((0, 0), slope=1, color="grey", linewidth=0.8)
    panel.set(
        title=f"{kind}: correlation {correlation[kind]:.2f}, slope {slope:.2f}",
        xlabel="closed by the patch",
        ylabel="foretold by the gradient",
    )
axes[0].legend()
plt.show()

assert correlation["another scene"] > 0.75
assert correlation["another scene"] > correlation["another moment"]

# %% [markdown]
"""
Between similar runs the gradient says what patching says. Between different ones it ranks parts
but foretells far too little: from an open gripper to a closed one the action does not change along
a straight line, and the gradient where it starts does not see the far side. Take it to find
candidates, and patch these.

## Which patches of the picture

Attribution is by token. For a pair of scenes with a gap of middling size, what each patch of the
camera's picture contributes right after layer 0 (of the gap, so that all tokens add up to what the
whole is foretold to close); and as a check on all pairs of scenes, blocks of 4 x 4 patches really
patched.
"""

# %%
side = int(np.sqrt(attributed.tokens[IMAGE].shape[-1] / 2))
blocks = [
    SitePart(IMAGE, tuple((np.arange(4)[:, None] * side + np.arange(4) + corner).ravel().tolist()))
    for corner in (row * side + column for row in range(0, side, 4) for column in range(0, side, 4))
]
rows = kinds["another scene"]
truth = activation_patching(policy, recipients, donors, parts=blocks, layers=(0,)).closed[:, 0]
guess = attributed.closed(blocks)[:, 0]
agreement = np.corrcoef(truth[:, rows].ravel(), guess[:, rows].ravel())[0, 1]

pair = int(np.argsort(patched.gap.square[rows])[len(scene) // 2])
heat = attributed.tokens[IMAGE][pair, 0, : side**2].reshape(side, side)
figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
axes[0].imshow(recipients[pair].images[0])
axes[0].set_title("recipient")
axes[1].imshow(donors[pair].images[0])
axes[1].set_title("donor")
limit = np.abs(heat).max()
axes[2].imshow(recipients[pair].images[0], extent=(0, side, side, 0))
drawn = axes[2].imshow(
    heat, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.7, extent=(0, side, side, 0)
)
axes[2].set_title("foretold, by patch")
figure.colorbar(drawn, ax=axes[2], shrink=0.8)
axes[3].plot(truth[:, rows], guess[:, rows], ".", color="tab:blue")
axes[3].axline((0, 0), slope=1, color="grey", linewidth=0.8)
axes[3].set(title=f"blocks: correlation {agreement:.2f}", xlabel="patched", ylabel="foretold")
for panel in axes[:3]:
    panel.axis("off")
plt.show()
