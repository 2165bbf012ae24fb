"""The recipe of the shipped mist-nano: cloning and DAgger on libero_spatial, both asset sets.

    for assets in libero lite; do python -m experiments.collect_failure_data \
      --model_name=expert --assets=$assets --initial_states=0-29 --images=step --render=fast \
      --n_success=30 --n_failure=0 --save_dir=data/demonstrations-$assets; done
    python -m experiments.train_policy --config=experiments/configs/mist_nano.py --steps=20000 \
      --data_dir=data/demonstrations-libero,data/demonstrations-lite --output_dir=runs/mist-nano

What it took and what it reached: mist_jax/checkpoints/mist-nano/README.md.
"""

from ml_collections import ConfigDict

from experiments.configs import clone


def get_config() -> ConfigDict:
    """`clone` made large, with rounds of DAgger on the demonstrations' initial states."""
    config = clone.get_config()
    config.batch_size = 512
    config.learning_rate = 1e-3
    config.warmup = 500
    config.compute_dtype = "bfloat16"
    config.log_every = 100
    config.dagger.rounds = 5
    config.dagger.episodes_per_task = 20
    config.dagger.share = 0.6
    config.dagger.assets = ("libero", "lite")
    return config
