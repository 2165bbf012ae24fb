"""Judges a trained risk head again on a dataset and redraws every figure, on any device.

    python -m experiments.analyze --risk_head=runs/risk --data_dir=data/episodes --output_dir=out

Scenes that the head was trained on are judged by the cross-validation member that never saw them.
"""

import json
from pathlib import Path

from absl import flags

from experiments import binary, extension_flags
from mist_jax.output_folder import check_output

_RISK_HEAD = flags.DEFINE_string(
    "risk_head", None, "Folder that train_risk_predictor wrote.", required=True
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Episode dataset to judge on.", required=True)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Where metrics and plots go.", required=True)
_STEERING_VECTORS = flags.DEFINE_string(
    "steering_vectors", None, "Folder that extract_steering_vectors wrote; optional."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the bootstrap.", 0, 2**31 - 1)

flags.adopt_module_key_flags(extension_flags)


def main() -> None:
    """Restores, judges, writes."""
    from mist_jax.disk import replace_file
    from mist_jax.episodes.index import dataset_hash
    from mist_jax.episodes.reader import read_episodes
    from mist_jax.risk.features import gather_samples
    from mist_jax.risk.judging.scorecard import scorecard
    from mist_jax.risk.study.checkpoint import restore_trained
    from mist_jax.risk.study.figures import draw_all
    from mist_jax.risk.study.judge import judge, judge_failures, plan_of
    from mist_jax.steering.checkpoint import restore_bank
    from mist_jax.steering.figures import draw_bank

    output = Path(_OUTPUT_DIR.value)
    check_output(output, "analysis")
    trained = restore_trained(Path(_RISK_HEAD.value))
    bank = restore_bank(Path(_STEERING_VECTORS.value)) if _STEERING_VECTORS.value else None
    meta = trained.metadata
    data = Path(_DATA_DIR.value)
    samples = gather_samples(read_episodes(data), meta.site, meta.horizon, meta.share)
    evidence = judge(trained, samples)
    card = scorecard(evidence, seed=_SEED.value)
    verdict = list(card["verdict"])
    if dataset_hash(data) == meta.dataset_hash:
        card["published"] = judge_failures(evidence, plan_of(meta, samples), seed=_SEED.value)
        verdict += card["published"]["verdict"]
    else:
        verdict.append("Published detectors are left out: the head was trained on other episodes.")
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"threshold": meta.threshold, **card}, indent=1, allow_nan=False)
    replace_file(output / "metrics.json", (text + "\n").encode())
    drawn = draw_all(output / "plots", evidence, card, meta)
    if bank is not None:
        drawn += draw_bank(output / "plots", bank)
    print("\n".join(verdict))
    print(f"{len(drawn)} figures: {output / 'plots'}")


if __name__ == "__main__":
    binary.run(main)
