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

mist-nano does libero_spatial, mist-nano-object does libero_object: the same architecture, the same
recipe, other tasks. This notebook compares their parameters, their activations (linear CKA, layer
by layer, which does not care how axes are turned) and their actions on the same observations. You
learn what to read from each of the three, and how easily CKA says more than it knows. About half a
minute on two cores.
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

For every matrix the cosine between the two and the relative distance $|b - a| / |a|$; a stack of
blocks is one matrix here. Two that were trained from different random starts would lie near cosine
0 and distance $\\sqrt 2$. These lie close together: both runs started from the same seed, and
training moved the language model most and the vision towers least.
"""

# %%
parameters = [one for one in compare_parameters(spatial, objects) if one.path.endswith("kernel")]
rooms = ("vision/dino", "vision/siglip", "vision/projector", "language", "action_head", "proprio")
figure, panel = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
for room in rooms:
    there = [one for one in parameters if one.path.startswith(room)]
    panel.plot([one.cosine for one in there], [one.relative for one in there], "o", label=room)
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
suites: 1 where the two sort the observations alike. Left the action tokens, in the middle the
image tokens, both debiased. Right two controls, mist-nano beside itself with its observations
shuffled. Shuffled at will nothing is in common, and the debiased estimate is about 0 where the
plain one is not. Shuffled within each suite only the suite is in common, and CKA is about 0.8 for
that alone, more than the two policies have: values of the tables speak of how far apart the suites
are, not of how single observations are told apart. Take observations of one kind, and more of
them, to ask that.
"""

# %%
both = [moment for moments in seen.values() for moment in moments]
observations = [moment.observation for moment in both]
texts = [moment.instruction for moment in both]
sites = ("llm.resid", "llm.resid:image")
alike = compare_activations(spatial, objects, observations, texts, sites=sites)

rng, count = np.random.default_rng(0), len(seen["libero_spatial"])
at_will = rng.permutation(len(both))
within = np.concatenate([rng.permutation(count), count + rng.permutation(len(both) - count)])
read = spatial.predict(observations, texts, sites=("llm.resid",)).activations["llm.resid"]
controls = {
    name: [
        mist_jax.linear_cka(read[:, layer], read[order, layer], debiased=debiased)
        for layer in range(read.shape[1])
    ]
    for name, order, debiased in (
        ("at will, debiased", at_will, True),
        ("at will, plain", at_will, False),
        ("within suites, debiased", within, True),
    )
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
for name, values in controls.items():
    axes[2].plot(values, marker="o", label=name)
axes[2].axhline(0, color="grey", linewidth=0.5)
axes[2].set(title="mist-nano, shuffled", xlabel="layer", ylabel="linear CKA", ylim=(-0.1, 1))
axes[2].legend(fontsize=8)
plt.show()

assert abs(np.mean(controls["at will, debiased"])) < np.mean(controls["at will, plain"])

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
