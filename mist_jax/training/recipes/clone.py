"""Plain behaviour cloning, small: a smoke test on any machine.

python -m experiments.train_policy --data_dir=DEMONSTRATIONS --output_dir=OUT --steps=200
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Every hyperparameter of `train_policy`; override with --config.NAME=VALUE."""
    config = ConfigDict()
    config.batch_size = 32
    config.learning_rate = 6e-4
    config.warmup = 100
    config.weight_decay = 0.02
    config.average = 0.999
    config.landmark_weight = 1.0
    config.compute_dtype = "float32"
    config.vocabulary_suites = (
        "libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90",
    )  # fmt: skip
    config.log_every = 20
    config.save_every = 500
    config.dagger = ConfigDict()
    config.dagger.rounds = 0
    config.dagger.episodes_per_task = 5
    config.dagger.share = 0.5
    config.dagger.suites = ("libero_spatial",)
    config.dagger.task_ids = tuple(range(10))
    config.dagger.initial_states = tuple(range(30))
    config.dagger.assets = ("lite",)
    return config
