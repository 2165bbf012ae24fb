"""Learns which action dimension is about to cause harm, from the episodes of a dataset.

    python -m experiments.train_risk_predictor --data_dir=data/episodes --output_dir=runs/risk

Writes output_dir/risk_head (Orbax and its metadata), metrics.json and plots/.
"""

import json
from pathlib import Path

from absl import flags

from experiments import binary, extension_flags
from mist_jax.output_folder import check_output

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Episode dataset to learn from.", required=True)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Where the risk head goes.", required=True)
_EPOCHS = flags.DEFINE_integer("epochs", 100, "Most passes over the training queries.", 1, 100_000)
_HORIZON = flags.DEFINE_integer(
    "horizon", 16, "Control steps within which a harmful contact counts.", 1, 10_000
)
_SHARE = flags.DEFINE_float(
    "share", 0.25, "Least share of the approach for a dimension to be blamed.", 0.0, 1.0
)
_SPLIT = flags.DEFINE_enum(
    "split", "episode", ("episode", "task"), "What folds keep together: initial states, or tasks."
)
_FOLDS = flags.DEFINE_integer("folds", 5, "Cross-validation folds.", 3, 100)
_SITE = flags.DEFINE_string("site", "llm.resid", "Activations to read.")
_FALSE_ALARM_RATE = flags.DEFINE_float(
    "false_alarm_rate", 0.15, "Share of clean episodes that may raise an alarm.", 0.001, 0.999
)
_MIN_POSITIVE = flags.DEFINE_integer(
    "min_positive", 10, "Positive queries below which a dimension reports its base rate.", 2
)
_HIDDEN = flags.DEFINE_integer("hidden", 64, "Hidden units of the head.", 1, 65_536)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 1e-3, "Of AdamW.", 1e-8, 1.0)
_WEIGHT_DECAY = flags.DEFINE_float("weight_decay", 3.0, "Of AdamW, on the kernels.", 0.0)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Queries per update.", 1)
_PATIENCE = flags.DEFINE_integer("patience", 15, "Epochs without progress before the stop.", 1)
_SEEDS = flags.DEFINE_integer("seeds", 1, "Seeds tried; validation data choose.", 1, 100)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of everything that is drawn.", 0, 2**31 - 1)
_MAX_LAYER = flags.DEFINE_integer(
    "max_layer",
    None,
    "Last layer that the risk head may read; default: two thirds of the stored depth, for risk "
    "opens pushes at later layers only.",
    0,
)
_DETECTOR = flags.DEFINE_string(
    "detector", "head", "What forecasts and ships: a detector that can open gates."
)
_PUBLISHED = flags.DEFINE_bool(
    "published", True, "Fit published detectors on the same folds; slow for 7B on a CPU."
)

flags.adopt_module_key_flags(extension_flags)


def main() -> None:
    """Gathers, trains, judges, writes."""
    from mist_jax.risk.study.registry import contact_rows, gating

    gating(_DETECTOR.value)
    data, output = Path(_DATA_DIR.value), Path(_OUTPUT_DIR.value)
    check_output(output, "risk head")
    binary.check_stored(data, _SITE.value)

    from mist_jax.disk import replace_file
    from mist_jax.episodes.index import dataset_hash
    from mist_jax.episodes.reader import read_episodes
    from mist_jax.progress import progress_bar
    from mist_jax.risk.features import gather_samples
    from mist_jax.risk.judging.scorecard import scorecard
    from mist_jax.risk.plan import Plan, StudyConfig, TrainConfig
    from mist_jax.risk.study.checkpoint import save_risk_head
    from mist_jax.risk.study.crossfit import epochs_of
    from mist_jax.risk.study.figures import draw_all
    from mist_jax.risk.study.judge import judge, judge_failures
    from mist_jax.risk.study.train import train_risk

    digest = dataset_hash(data)
    samples = gather_samples(read_episodes(data), _SITE.value, _HORIZON.value, _SHARE.value)
    config = StudyConfig(
        detector=_DETECTOR.value,
        split=_SPLIT.value,
        folds=_FOLDS.value,
        rate=_FALSE_ALARM_RATE.value,
        min_positive=_MIN_POSITIVE.value,
        max_layer=_MAX_LAYER.value,
        train=TrainConfig(
            epochs=_EPOCHS.value,
            hidden=_HIDDEN.value,
            learning_rate=_LEARNING_RATE.value,
            weight_decay=_WEIGHT_DECAY.value,
            batch=_BATCH_SIZE.value,
            patience=_PATIENCE.value,
            seeds=_SEEDS.value,
            seed=_SEED.value,
        ),
    )
    print(
        f"{len(samples)} queries of {len(samples.episodes)} episodes, "
        f"{len(samples.layers)} layers of {samples.site}"
    )
    plan = Plan.of(samples, config)
    epochs = epochs_of(contact_rows(config.detector), plan)
    with progress_bar("training", epochs, "epoch") as bar:
        trained = train_risk(samples, digest, config, bar.advance)
    evidence = judge(trained, samples)
    card = scorecard(evidence, seed=_SEED.value)
    verdict = list(card["verdict"])
    if _PUBLISHED.value:
        card["published"] = judge_failures(evidence, plan, seed=_SEED.value)
        verdict += card["published"]["verdict"]
    path = save_risk_head(output, trained)
    text = json.dumps({"threshold": trained.metadata.threshold, **card}, indent=1, allow_nan=False)
    replace_file(output / "metrics.json", (text + "\n").encode())
    draw_all(output / "plots", evidence, card, trained.metadata)
    last = trained.metadata.last_layer
    limit = "" if last is None else f" (of those up to {last})"
    print(f"layer {trained.metadata.layer}{limit}; positives {card['n_positive']}")
    print("\n".join(verdict))
    print(f"risk head: {path}")


if __name__ == "__main__":
    binary.run(main)
