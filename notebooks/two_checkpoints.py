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
# Two checkpoints beside each other

mist-nano does libero_spatial, mist-nano-object does libero_object: the same architecture, trained
on other tasks from the same kind of start. This notebook compares their parameters, their
activations (linear CKA, layer by layer, which does not care how axes are turned) and their actions
on the same observations. You learn what to read from each of the three, and why CKA of few samples
needs its correction. About half a minute on two cores.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import mist_jax
from mist_jax.analysis.comparison import compare_actions, compare_activations, compare_parameters
from mist_jax.analysis.moments import see_moments
from mist_jax.axes import ACTION_DIMENSIONS

spatial, objects = (mist_jax.load_policy(name) for name in ("mist-nano", "mist-nano-object"))
STATES = (30, 33)
seen = {
    suite: see_moments(policy, suite, 0, STATES, queries=8, assets="lite")
    for suite, policy in (("libero_spatial", spatial), ("libero_object", objects))
}
for suite, moments in seen.items():
    print(f"{suite}: {len(moments)} observations of {moments[0].instruction!r}")

# %% [markdown]
"""
## Parameters

For every parameter the cosine between the two and the relative distance $|b - a| / |a|$. Networks
trained from different starts have a cosine near 0 and a distance near $\\sqrt 2$; fine-tuned ones
are close. One point a parameter, a stack of blocks counting as one; matrices alone, since norms
and biases start alike.
"""

# %%
parameters = [one for one in compare_parameters(spatial, objects) if one.path.endswith("kernel")]
rooms = ("vision/dino", "vision/siglip", "vision/projector", "language", "action_head", "proprio")
figure, panel = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
for room in rooms:
    there = [one for one in parameters if one.path.startswith(room)]
    panel.plot([one.cosine for one in there], [one.relative for one in there], "o", label=room)
panel.axhline(np.sqrt(2), color="grey", linewidth=0.8, linestyle=":")
panel.annotate("independent", (0, np.sqrt(2)), fontsize=8, va="bottom")
panel.set(xlabel="cosine", ylabel="relative distance")
panel.legend(fontsize=8)
plt.show()
closest = sorted(parameters, key=lambda one: one.relative)[:3]
for one in closest:
    print(f"closest: {one.path} {one.shape}: cosine {one.cosine:.2f}, distance {one.relative:.2f}")

# %% [markdown]
"""
## Activations

Linear CKA of every layer of one with every layer of the other, over the observations of both
suites: 1 where the two sort the observations alike. Left: the action tokens, debiased; middle: the
image tokens; right: why debiased. There one policy's activations are set beside its own, but with
the observations shuffled, so that nothing is in common: the plain estimate still says a lot is.
"""

# %%
both = [moment for moments in seen.values() for moment in moments]
observations = [moment.observation for moment in both]
texts = [moment.instruction for moment in both]
sites = ("llm.resid", "llm.resid:image")
alike = compare_activations(spatial, objects, observations, texts, sites=sites)

order = np.random.default_rng(0).permutation(len(both))
read = spatial.predict(observations, texts, sites=("llm.resid",)).activations["llm.resid"]
shuffled = {
    debiased: [
        mist_jax.linear_cka(read[:, layer], read[order, layer], debiased=debiased)
        for layer in range(read.shape[1])
    ]
    for debiased in (True, False)
}

figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
for panel, site in zip(axes, sites, strict=False):
    drawn = panel.imshow(alike[site], vmin=0, vmax=1, origin="lower")
    for row, line in enumerate(alike[site]):
        for column, value in enumerate(line):
            colour = "white" if value < 0.6 else "black"
            panel.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, size=7)
    panel.set(title=site, xlabel="layer of mist-nano-object", ylabel="layer of mist-nano")
figure.colorbar(drawn, ax=axes[:2], shrink=0.9, label="linear CKA")
axes[2].plot(shuffled[True], marker="o", label="debiased")
axes[2].plot(shuffled[False], marker="o", label="plain")
axes[2].axhline(0, color="grey", linewidth=0.5)
axes[2].set(title="nothing in common (shuffled)", xlabel="layer", ylabel="linear CKA")
axes[2].legend()
plt.show()

assert np.abs(shuffled[True]).max() < min(shuffled[False])

# %% [markdown]
"""
## Actions

The same observation, two chunks: the mean absolute difference by dimension, on observations of
either suite. In executed action units: translation 1 is 5 cm a step, rotation 1 is 0.5 rad, the
gripper goes from -1 to 1.
"""

# %%
names = list(ACTION_DIMENSIONS)
figure, panel = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
for place, (suite, moments) in enumerate(seen.items()):
    pictures, words = zip(*((m.observation, m.instruction) for m in moments), strict=True)
    apart = np.abs(compare_actions(spatial, objects, pictures, words)).mean((0, 1))
    panel.bar(np.arange(len(names)) + 0.4 * place, apart, 0.38, label=f"observations of {suite}")
panel.set_xticks(np.arange(len(names)) + 0.2, names)
panel.set_ylabel("mean |difference|, action units")
panel.legend()
plt.show()
