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
# A small dataset: a probe, and a detector of your own

Episodes of a policy that is disturbed now and then, with its activations. A probe asks at which
layer they tell where the bowl is; a detector of your own (docs/extending.md) asks whether a
harmful contact is near, is judged on scenes that it has not seen beside a clock, and then reads
the activations *inside* the policy's compiled forward. You learn the way from episodes on disk to
a risk that can open gates. About a minute and a half on two cores, most of it simulation; the
dataset is small, so its numbers show how it is done and prove nothing.
"""

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from flax import struct
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mist_jax
from mist_jax.analysis.moments import see_moments
from mist_jax.axes import SIGNED_MOTIONS
from mist_jax.risk.judging.metrics import auroc

DATA = Path(tempfile.mkdtemp()) / "episodes"
POLICY = "mist-nano"

# %% [markdown]
"""
## Collect

The command that a study uses, at a small size: scenes of the cluttered suite, where an obstacle
stands beside the arm's way. `--sites` says which activations are kept.
"""

# %%
command = f"""
    collect_failure_data --model_name={POLICY} --env=libero_spatial_cluttered --assets=lite
    --task_ids=0,1,3,4 --initial_states=tuning:4 --n_success=4 --n_failure=4
    --max_attempts_per_task=4 --perturbation=mixed --sites=llm.resid,llm.resid:image
    --render=fast --camera_res=168 --num_workers=2 --save_dir={DATA}
"""
# mist-jax, as it was installed beside this notebook's Python
subprocess.run([Path(sys.executable).with_name("mist-jax"), *command.split()], check=True)
episodes = mist_jax.load_episodes(DATA)
harmed = sum(episode.collided for episode in episodes)
print(f"{len(episodes)} episodes, {harmed} with a harmful contact")

# %% [markdown]
"""
## A probe: where is the bowl?

Ridge regression from the activations of a layer to where the black bowl that is to be moved
stands, relative to the hand, in metres: three numbers, cross-validated over scenes (all queries of
a scene are in one fold). The robot knows its own pose, so the baseline is the same regression from
the robot's state alone: what it explains needs no picture.
"""

# %%
target, scene, state = [], [], []
for episode in episodes:
    bowl = episode.object_names.index("akita_black_bowl_1")
    for step in episode.queries.step:
        hand = episode.steps.eef_pos[step]
        target.append(episode.steps.object_pose[step, bowl, :3] - hand)
        state.append(np.concatenate([hand, episode.steps.eef_quat[step]]))
        scene.append(f"{episode.key.task_id}/{episode.key.initial_state}")
bowls, state = np.stack(target), np.stack(state)


def explained(features: np.ndarray) -> float:
    """Share of variance explained on held-out scenes, mean over axes; < 0: worse than the mean."""
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(0, 4, 9)))
    guess = np.asarray(cross_val_predict(model, features, bowls, groups=scene, cv=GroupKFold(5)))
    return float(np.mean(1 - ((guess - bowls) ** 2).mean(0) / bowls.var(0)))


figure, panel = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
scores = {}
for site in ("llm.resid:image", "llm.resid"):
    values = np.concatenate([episode.queries.activations[site] for episode in episodes])
    scores[site] = [explained(values[:, layer]) for layer in range(values.shape[1])]
    panel.plot(scores[site], marker="o", label=site)
baseline = explained(state)
panel.axhline(baseline, color="grey", linestyle=":", label="the robot's state alone")
panel.set(xlabel="layer", ylabel="variance explained on held-out scenes")
panel.legend(fontsize=8)
plt.show()

assert max(scores["llm.resid:image"]) > baseline

# %% [markdown]
"""
A probe finds what can be read out, not what the policy reads: for that, patch
([patching](patching.py)).

## A detector of your own

Queries become a table with labels, `valid` where a query is not within a contact that already
runs. The detector is a line through one layer's activations: from the mean of the quiet queries to
that of those before a harmful event, whitened. It is fitted on all scenes but those of one fold,
and scores these; the clock (the step of the query) is judged by the same function.
"""

# %%
LAYER = 3
samples = mist_jax.gather_samples(episodes, "llm.resid")
x = samples.activation[:, samples.layers.index(LAYER)].astype(np.float64)
risky = np.asarray(samples.risk.any(axis=1))
print(f"{len(samples)} queries, {(risky & samples.valid).sum()} of them before a harmful event")


def line(rows: np.ndarray) -> np.ndarray:
    """The discriminant of `rows`, float64 [D], its covariance shrunk by a tenth."""
    quiet, near = x[rows & ~risky], x[rows & risky]
    spread = np.cov(quiet.T)
    spread += 0.1 * np.trace(spread) / len(spread) * np.eye(len(spread))
    return np.linalg.solve(spread, near.mean(0) - quiet.mean(0))


numbers = np.unique([facts.scene for facts in samples.episodes], axis=0, return_inverse=True)[1]
fold = np.asarray(numbers).ravel()[samples.episode] % 4
score = np.zeros(len(samples))
for k in range(4):
    weight = line((fold != k) & samples.valid)
    score[fold == k] = x[fold == k] @ weight

rows = samples.valid
judged = {
    name: float(auroc(values[rows], risky[rows], stratum=fold[rows])[0])
    for name, values in {"line": score, "clock": samples.step.astype(float)}.items()
}
figure, panel = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
for k in range(4):
    there = rows & (fold == k)
    centred = score - score[there].mean()
    for offset, kind in ((-0.12, ~risky), (0.12, risky)):
        panel.plot(
            np.full((there & kind).sum(), k + offset),
            centred[there & kind] / np.std(score[there]),
            ".",
            color="tab:red" if kind is risky else "tab:grey",
            alpha=0.6,
            label=("before a harmful event" if kind is risky else "quiet") if k == 0 else None,
        )
panel.set(xlabel="fold, held out", ylabel="score of the line, standardised")
panel.set_title(f"AUROC within folds: line {judged['line']:.2f}, clock {judged['clock']:.2f}")
panel.set_xticks(range(4))
panel.legend(fontsize=8)
plt.show()

# %% [markdown]
"""
## The same detector inside the forward

A `RiskReader` is a pytree of arrays that says which site and layer it reads, and what it makes of
them. Given to `predict`, it is evaluated in the same compiled pass as the actions, and can open
the gates of pushes at later layers. As a row of `DETECTORS` in a file it would be trained by
`mist-jax train_risk_predictor --extensions=FILE`, calibrated, and judged beside thirty others
(docs/extending.md, "A detector that gates").
"""


# %%
@struct.dataclass
class LineReader:
    """Risk of every signed motion alike: a line through one layer, squashed."""

    weight: jnp.ndarray  # [D]
    shift: jnp.ndarray
    layer: jnp.ndarray
    sites: tuple[str, ...] = struct.field(pytree_node=False, default=("llm.resid",))

    @property
    def widths(self):
        """Of the activations that it reads."""
        return (self.weight.shape[0],)

    def start(self, batch):
        """Nothing was read yet."""
        return jnp.zeros((batch, self.weight.shape[0]))

    def reads(self, site, layer):
        """One layer of its one site."""
        return layer == self.layer

    def absorb(self, reading, site, layer, activation):
        """That layer's activation."""
        return activation.astype(jnp.float32)

    def forecast(self, reading, proprio, memory):
        """[B, M], and no memory."""
        risk = 1 / (1 + jnp.exp(-(reading @ self.weight - self.shift)))
        return jnp.repeat(risk[:, None], len(SIGNED_MOTIONS), axis=1), memory

    def no_memory(self, batch):
        """It remembers nothing."""
        return ()


weight = line(samples.valid)
middle = (x[samples.valid & risky].mean(0) + x[samples.valid & ~risky].mean(0)) @ weight / 2
reader = LineReader(jnp.asarray(weight, jnp.float32), jnp.float32(middle), jnp.int32(LAYER))

policy = mist_jax.load_policy(POLICY)
moments = see_moments(policy, "libero_spatial_cluttered", 4, (1000,), queries=8, assets="lite")
told = policy.predict_inputs(
    [moment.inputs for moment in moments], sites=("llm.resid",), risk_head=reader
)
outside = 1 / (1 + np.exp(-(told.activations["llm.resid"][:, LAYER] @ weight - middle)))

figure, panel = plt.subplots(figsize=(6.5, 3), layout="constrained")
panel.plot(told.signed_risk[:, 0], marker="o", label="inside the forward")
panel.plot(outside, "x", color="black", label="the same line, outside")
panel.set(xlabel="query of a new episode", ylabel="risk, not calibrated", ylim=(0, 1))
panel.legend(fontsize=8)
plt.show()
assert np.allclose(told.signed_risk[:, 0], outside, atol=1e-3)
