"""The pictures of a steering bank."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mist_jax.figures import save_figures
from mist_jax.steering.bank import SteeringBank
from mist_jax.steering.causal.effects import CROSS_TALK, RIGHT, SLOPE, MotionEffect
from mist_jax.steering.method import Found
from mist_jax.steering.proof import Proof


def draw_bank(folder: Path, bank: SteeringBank) -> list[Path]:
    """Draws a bank's figures into `folder` as PNG."""
    proofs = dict(zip(zip(bank.methods, bank.names, strict=True), bank.proofs, strict=True))
    return draw_extraction(folder, bank, (), proofs, bank.metadata.layers)


def draw_extraction(
    folder: Path,
    bank: SteeringBank | None,
    found: Sequence[Found],
    proofs: Mapping[tuple[str, str], Proof],
    layers: Sequence[int],
) -> list[Path]:
    """Draws what was found, and what it does to the action, into `folder` as PNG."""
    figures: dict[str, Figure] = {}
    if bank is not None:
        figures |= {"steering_cosines": cosines(bank), "steering_norms": norms(bank)}
    judged = [d for d in found if any("auroc_layer_0" in f for f in d.facts.values())]
    if judged:
        figures["steering_separation"] = separation(judged, layers)
    measured = {key: proof.effect for key, proof in proofs.items() if proof.effect is not None}
    if measured:
        figures["steering_effects"] = effects(measured)
    return save_figures(folder, figures)


def effects(measured: Mapping[tuple[str, str], MotionEffect]) -> Figure:
    """What each direction does to the action on held-out scenes; the shaded is causal."""
    labels = [f"{method} {name}" for method, name in measured]
    found = list(measured.values())
    figure = Figure(figsize=(10, max(2.5, 0.2 * len(found) + 1.2)), layout="constrained")
    sign, slope, talk = figure.subplots(1, 3, sharey=True)
    colours = ["#0f766e" if one.causal else "#a0aec0" for one in found]
    rows = np.arange(len(found))
    right = [one.right / max(one.count, 1) for one in found]
    sign.barh(rows, right, color=colours)
    for row, one in enumerate(found):
        sign.text(0.02, row, f"{one.right} of {one.count}", va="center", fontsize=6)
    for axes, values in ((slope, [o.slope for o in found]), (talk, [o.cross_talk for o in found])):
        low, middle, high = np.asarray(values).T
        axes.hlines(rows, low, high, color=colours)
        axes.scatter(middle, rows, color=colours, s=14, zorder=2)
        axes.axvline(0, color="0.8", linewidth=1)
    sign.axvspan(RIGHT, 1, color="#0f766e", alpha=0.1)
    slope.axvspan(*SLOPE, color="#0f766e", alpha=0.1)
    talk.axvspan(0, CROSS_TALK, color="#0f766e", alpha=0.1)
    sign.set_yticks(rows, labels, fontsize=7)
    sign.invert_yaxis()
    sign.set(title="sign right", xlabel="share of states", xlim=(0, 1))
    slope.set(title="realised / wanted", xlabel="median and quartiles", xlim=(-1.5, 2.5))
    talk.set(title="cross-talk / wanted", xlabel="median and quartiles", xlim=(-0.1, 3))
    figure.suptitle("Executed action, each direction at its own best scale, held-out scenes")
    return figure


def cosines(bank: SteeringBank) -> Figure:
    """Mean cosine over the steered layers between all directions."""
    layers = list(bank.metadata.layers)
    vectors = np.asarray(bank.vectors)[:, layers]
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    cosine = np.einsum("vld,wld->vw", unit, unit) / len(layers)
    size = max(4.0, 0.28 * len(bank.names) + 2)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(cosine, vmin=-1, vmax=1, cmap="RdBu_r")
    labels = [f"{method} {name}" for method, name in zip(bank.methods, bank.names, strict=True)]
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_title("Cosine between directions, mean over layers")
    figure.colorbar(image, ax=axes, shrink=0.7)
    return figure


def norms(bank: SteeringBank) -> Figure:
    """What a coefficient of 1 adds at each steered layer."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    layers = list(bank.metadata.layers)
    axes.bar(layers, np.asarray(bank.residual_norm)[layers])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(
        xlabel=f"layer of {bank.metadata.site}",
        ylabel="mean norm, pooled over action tokens",
        title="Norm of every direction at coefficient 1",
    )
    return figure


def separation(found: Sequence[Found], layers: Sequence[int]) -> Figure:
    """AUROC of the projection on each direction, on scenes it was not made from."""
    figure = Figure(figsize=(5.5 * len(found), 4), layout="constrained")
    for axes, directions in zip(
        figure.subplots(1, len(found), squeeze=False)[0], found, strict=True
    ):
        for name in directions.names:
            facts = directions.facts[name]
            values = [facts[f"auroc_layer_{i}"] for i in range(len(layers))]
            axes.plot(layers, values, "o-", label=f"{name} ({facts['n_risky']:.0f})", markersize=4)
        axes.axhline(0.5, color="0.8", linewidth=1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(
            xlabel="layer",
            ylabel="held-out AUROC, risky against safe",
            title=f"Separation: {directions.method}",
        )
        if directions.names:
            axes.legend(title="direction (risky queries)", fontsize=7)
    return figure
