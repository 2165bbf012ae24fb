"""Judges a trained risk head again on a dataset and redraws every figure, on any device.

    python -m experiments.analyze --risk_head=runs/risk --data_dir=data/episodes --output_dir=out

Scenes that the head was trained on are judged by the cross-validation member that never saw them,
new ones by the fold ensembles; those that calibrated it or set its thresholds are left out.
"""

from absl import flags

from mist_jax.commands.flags import extension_flags
from mist_jax.commands.flags.dataset_folders import check_stored, data_folders
from mist_jax.commands.flags.folders import folder_of
from mist_jax.output_folder import check_output

_RISK_HEAD = flags.DEFINE_string(
    "risk_head", None, "Folder that train_risk_predictor wrote.", required=True
)
_DATA_DIR = flags.DEFINE_list(
    "data_dir", None, "Episode datasets to judge on, comma separated.", required=True
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Where metrics and plots go.", required=True)
_STEERING_VECTORS = flags.DEFINE_string(
    "steering_vectors", None, "Folder that extract_steering_vectors wrote; optional."
)
_BESIDE = flags.DEFINE_list(
    "beside", [], "Folders of other studies (of another split, say) to tell in the same table.md."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the bootstrap.", 0, 2**31 - 1)

flags.adopt_module_key_flags(extension_flags)


def main() -> None:
    """Restores, judges, writes."""
    from mist_jax.episodes.reader import read_episodes
    from mist_jax.risk.features import gather_samples
    from mist_jax.risk.study.checkpoint import restore_trained
    from mist_jax.risk.study.judge import judge
    from mist_jax.risk.study.report import (
        full_card,
        read_cards,
        title_of,
        verdict_of_card,
        write_report,
    )
    from mist_jax.steering.checkpoint import restore_bank
    from mist_jax.steering.study.figures import draw_bank

    output = folder_of(_OUTPUT_DIR.value)
    check_output(output, "analysis")
    trained = restore_trained(folder_of(_RISK_HEAD.value))
    bank = restore_bank(folder_of(_STEERING_VECTORS.value)) if _STEERING_VECTORS.value else None
    beside = read_cards([str(folder_of(one)) for one in _BESIDE.value])
    meta, data = trained.metadata, data_folders(_DATA_DIR.value)
    for site in meta.sites:
        check_stored(data, site)
    samples = gather_samples(
        read_episodes(*data), meta.sites, meta.horizon, meta.share, target=meta.target
    )
    evidence = judge(trained, samples)
    card = full_card(evidence, meta, seed=_SEED.value)
    drawn = write_report(output, evidence, card, meta, beside)
    if bank is not None:
        drawn += draw_bank(output / "plots", bank)
    print(f"judged on {title_of(card)}: {card['episodes']} episodes of {card['scenes']} scenes")
    print("\n".join(verdict_of_card(card)))
    print(f"{len(drawn)} figures: {output / 'plots'}")
