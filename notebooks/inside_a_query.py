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
# Inside one query: what each layer would do, and where it looks

A policy is asked for a chunk of eight actions. This notebook asks every layer of the language
model what it would do if it were the last (the *action lens*), and shows which tokens, and which
places in the camera's pictures, the action tokens look at (*attention maps*). You learn at which
depth a motion is decided, and to distrust attention as an explanation. About half a minute on two
cores, at mist-nano's size; a converted 7B policy needs only another name below.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import mist_jax
from mist_jax.analysis.attention import attention_maps
from mist_jax.analysis.lens import action_lens
from mist_jax.analysis.moments import see_moments
from mist_jax.intervention.tokens import TOKEN_ROLES

policy = mist_jax.load_policy("mist-nano")
moments = see_moments(policy, "libero_spatial", 0, (30,), queries=8, assets="lite")
inputs = [moment.inputs for moment in moments]
print(moments[0].instruction)

# %% [markdown]
"""
## What the policy sees

Pictures as the policy gets them: the scene's camera above, the wrist's below, one column a query
of the same episode. The simulator's pictures are of *lite* assets, the stand-ins that come with
mist_jax; set `MIST_LIBERO_ASSETS` and `assets="auto"` for LIBERO's own.
"""

# %%
figure, axes = plt.subplots(2, len(inputs), figsize=(1.5 * len(inputs), 3.2), layout="constrained")
for column, one in enumerate(inputs):
    for row in range(2):
        axes[row, column].imshow(one.images[row])
        axes[row, column].axis("off")
    axes[0, column].set_title(f"query {column}", fontsize=9)
plt.show()

# %% [markdown]
"""
## The action lens

`action_lens` puts the final norm and the action head on the action tokens of every layer. The last
layer's answer is the policy's own. Left: how far each layer's chunk still is from it, by query.
Right: what the layers say of one query's height (z), step by step of the chunk.
"""

# %%
lens = action_lens(policy, inputs)  # [B, L, C, A], raw actions
layers = lens.shape[1]
apart = np.abs(lens[..., :3] - lens[:, -1:, :, :3]).mean((-2, -1))  # translation, action units

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for row in range(len(inputs)):
    left.plot(apart[row], color=plt.get_cmap("viridis")(row / len(inputs)), label=f"query {row}")
left.set(xlabel="layer", ylabel="distance from the policy's own chunk\n(translation, action units)")
left.legend(fontsize=7, ncols=2)
query = int(np.abs(lens[:, -1, :, 2]).mean(1).argmax())
for layer in range(layers):
    colour = plt.get_cmap("plasma")(layer / layers)
    right.plot(lens[query, layer, :, 2], color=colour, label=f"layer {layer}")
right.set(xlabel="step of the chunk", ylabel=f"z, action units (query {query})")
right.legend(fontsize=7)
plt.show()

# What holds of this policy, and would not of every one: the last layers only finish the action.
assert np.median(apart[:, -2]) < 0.5 * np.median(apart[:, 0])

# %% [markdown]
"""
## Where the action tokens look

`attention_maps` makes the weights of every head from the block's input, beside the forward: asking
for them changes nothing that `predict` computes. First by the role of the token looked at: the
mean over queries and action tokens, one line a role, thin lines for single heads.
"""

# %%
maps = attention_maps(policy, inputs)
shares = maps.by_role()[:, :, :, TOKEN_ROLES.index("action")].mean(0)  # [L, H, R]

figure, panel = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
for index, role in enumerate(TOKEN_ROLES):
    colour = plt.get_cmap("tab10")(index)
    panel.plot(shares[:, :, index].mean(1), color=colour, label=role, linewidth=2)
    panel.plot(shares[:, :, index], color=colour, alpha=0.25, linewidth=0.8)
panel.set(xlabel="layer", ylabel="share of the action tokens' attention", ylim=(0, 1))
panel.legend(fontsize=8)
plt.show()


# %% [markdown]
"""
Then over the patches of the scene's camera, for the query that the lens was shown of: the mean of
the action tokens and heads, one picture a layer. Whether the policy *uses* what it looks at is
another question: the notebook on patching asks it.
"""

# %%
seen = maps.looks("image")[query].mean(1)  # [L, patches of both cameras]
side = int(np.sqrt(seen.shape[1] / 2))
figure, axes = plt.subplots(
    1, layers, figsize=(2 * layers, 2.4), layout="constrained", squeeze=False
)
for layer, panel in enumerate(axes[0]):
    panel.imshow(inputs[query].images[0], extent=(0, side, side, 0))
    patches = seen[layer, : side**2].reshape(side, side)
    panel.imshow(patches, cmap="inferno", alpha=0.6, extent=(0, side, side, 0))
    panel.set_title(f"layer {layer}: at most {patches.max():.1%}", fontsize=8)
    panel.axis("off")
plt.show()
