"""The pictures of a steering bank."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mist_jax.figures import save_figures
from mist_jax.steering.bank import Directions, SteeringBank


def draw_bank(folder: Path, bank: SteeringBank, found: Sequence[Directions] = ()) -> list[Path]:
    """Draws the bank's figures into `folder` as PNG; `found` adds what extraction measured."""
    figures = {"steering_cosines": cosines(bank), "steering_norms": norms(bank)}
    measured = [d for d in found if any("stability" in f for f in d.facts.values())]
    if measured:
        figures["steering_separation"] = separation(measured, bank.metadata.layers)
    return save_figures(folder, figures)


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


def separation(found: Sequence[Directions], layers: Sequence[int]) -> Figure:
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
