"""Learns which motion is about to cause harm, from the episodes of one or more datasets.

    python -m experiments.train_risk_predictor --data_dir=data/episodes --output_dir=runs/risk

Writes output_dir/risk_head (Orbax and its metadata), metrics.json, table.md and plots/.
"""

from typing import cast

from absl import flags

from mist_jax.commands.flags import extension_flags, tracking_flags
from mist_jax.commands.flags.dataset_folders import folders_to_learn_from, sites_to_read
from mist_jax.commands.flags.folders import folder_of
from mist_jax.errors import UserError
from mist_jax.output_folder import check_output
from mist_jax.tracking import tracking

_DATA_DIR = flags.DEFINE_list(
    "data_dir", None, "Episode datasets to learn from, comma separated.", required=True
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Where the risk head goes.", required=True)
_EPOCHS = flags.DEFINE_integer("epochs", 40, "Most passes over the training queries.", 1, 100_000)
_SAFE_EPOCHS = flags.DEFINE_integer(
    "safe_epochs", 1000, "Epochs of SAFE's networks beside it; 1000 are its own.", 1, 100_000
)
_HORIZON = flags.DEFINE_integer(
    "horizon", 16, "Control steps within which a harmful contact counts.", 1, 10_000
)
_SHARE = flags.DEFINE_float(
    "share", 0.25, "Least share of the approach for a dimension to be blamed.", 0.0, 1.0
)
_TARGET = flags.DEFINE_enum(
    "target", "first", ("first", "all"), "Events to forecast: each episode's first, or all."
)
_SPLIT = flags.DEFINE_enum(
    "split", "episode", ("episode", "task"), "What folds keep together: initial states, or tasks."
)
_FOLDS = flags.DEFINE_integer("folds", 5, "Cross-validation folds.", 3, 100)
_SITES = flags.DEFINE_list(
    "sites",
    [],
    "Activations to read, the main ones first; default: all that are stored, llm.resid first.",
)
_FALSE_ALARM_RATE = flags.DEFINE_float(
    "false_alarm_rate", 0.15, "Share of clean episodes that may raise an alarm.", 0.001, 0.999
)
_MIN_POSITIVE = flags.DEFINE_integer(
    "min_positive", 10, "Positive queries below which a motion reports its base rate.", 2
)
_HIDDEN = flags.DEFINE_integer("hidden", 64, "Hidden units of the head.", 1, 65_536)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 2e-3, "Of AdamW.", 1e-8, 1.0)
_WEIGHT_DECAY = flags.DEFINE_float("weight_decay", 1.0, "Of AdamW, on the kernels.", 0.0)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 512, "Most queries per update; fewer where there are few.", 1
)
_PATIENCE = flags.DEFINE_integer("patience", 5, "Epochs without progress before the stop.", 1)
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
_DETECTORS = flags.DEFINE_list(
    "detectors", [], "Detectors to fit beside it on the same folds; default: all there are."
)
_CALIBRATION = flags.DEFINE_enum(
    "calibration",
    "best",
    ("best", "platt", "temperature"),
    "How scores become probabilities; best: by what each motion's data say.",
)
_BESIDE = flags.DEFINE_list(
    "beside", [], "Folders of other studies (of another split, say) to tell in the same table.md."
)

flags.adopt_module_key_flags(extension_flags)
flags.adopt_module_key_flags(tracking_flags)


def main() -> None:
    """Gathers, trains, judges, writes."""
    from mist_jax.risk.study.registry import all_rows, chosen, gating

    gating(_DETECTOR.value)
    rows = chosen(_DETECTOR.value, _DETECTORS.value)
    data, output = folders_to_learn_from(_DATA_DIR.value), folder_of(_OUTPUT_DIR.value)
    check_output(output, "risk head")
    sites = sites_to_read(data, _SITES.value)

    from mist_jax.episodes.index import dataset_hash
    from mist_jax.episodes.reader import read_episodes
    from mist_jax.progress import progress_bar
    from mist_jax.risk.calibration.calibrate import Method
    from mist_jax.risk.features import gather_samples
    from mist_jax.risk.labels import Target
    from mist_jax.risk.plan import Plan, StudyConfig, TrainConfig
    from mist_jax.risk.study.checkpoint import save_risk_head
    from mist_jax.risk.study.crossfit import epochs_of
    from mist_jax.risk.study.judge import judge
    from mist_jax.risk.study.report import full_card, read_cards, verdict_of_card, write_report
    from mist_jax.risk.study.tracked import tracked_figures
    from mist_jax.risk.study.train import train_risk

    if _HORIZON.value % (windows := TrainConfig().windows):
        raise UserError(f"--horizon={_HORIZON.value}: it is forecast in {windows} equal windows")
    target = cast(Target, _TARGET.value)
    method = cast(Method, _CALIBRATION.value)
    beside = read_cards([str(folder_of(one)) for one in _BESIDE.value])
    digest = dataset_hash(*data)
    samples = gather_samples(
        read_episodes(*data), sites, _HORIZON.value, _SHARE.value, target=target
    )
    config = StudyConfig(
        detector=_DETECTOR.value,
        target=target,
        split=_SPLIT.value,
        folds=_FOLDS.value,
        rate=_FALSE_ALARM_RATE.value,
        min_positive=_MIN_POSITIVE.value,
        max_layer=_MAX_LAYER.value,
        safe_epochs=_SAFE_EPOCHS.value,
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
        f"{len(samples.layers)} layers of {samples.site}; sites: {', '.join(sites)}"
    )
    epochs = epochs_of(all_rows(config.detector, rows), Plan.of(samples, config))
    with progress_bar("training", epochs, "epoch") as bar:
        trained = train_risk(samples, digest, config, bar.advance, rows, method)
    path = save_risk_head(output, trained)
    evidence = judge(trained, samples, rows)
    card = full_card(evidence, trained.metadata, seed=_SEED.value)
    write_report(output, evidence, card, trained.metadata, beside)
    with tracking(tracking_flags.TRACK.value, output, "train_risk_predictor") as tracker:
        for step, values in tracked_figures(card, trained.metadata):
            tracker.write(step, values)
    last = trained.metadata.last_layer
    limit = "" if last is None else f" (of those up to {last})"
    print(f"layer {trained.metadata.layer}{limit}; positives {card['n_positive']}")
    print("\n".join(verdict_of_card(card)))
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    print(f"risk head: {path} ({size / 1e6:.0f} MB with the ensembles of all detectors)")
