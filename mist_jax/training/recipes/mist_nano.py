"""The recipe of the shipped mist-nano: cloning and DAgger on libero_spatial, both asset sets.

    collect() { python -m experiments.collect_failure_data --model_name=expert --phase1 \
      --images=step --save_dir=data/$1 "${@:2}"; }
    noise="--perturbation=mixed --perturbation_onset=3,70 --perturbation_length=4,14
      --perturbation_strength=0.3,1.0"
    collect libero-noisy --assets=libero --initial_states=0-29 --n_episodes=30 --render=fast $noise
    collect libero-fast --assets=libero --initial_states=0-19 --n_episodes=20 --render=fast
    collect libero-exact --assets=libero --initial_states=20-29 --n_episodes=10
    collect lite-noisy --assets=lite --initial_states=0-29 --n_episodes=30 --render=fast $noise
    collect lite-fast --assets=lite --initial_states=0-29 --n_episodes=15 --render=fast
    python -m experiments.train_policy --config=mist_jax/training/recipes/mist_nano.py \
      --steps=1593 --data_dir=$(ls -d data/li* | paste -sd,) --output_dir=runs/mist-nano

What it took and what it reached: mist_jax/checkpoints/mist-nano/README.md.
"""

from typing import Any

from ml_collections import ConfigDict

from mist_jax.training.recipes import clone


def get_config() -> ConfigDict:
    """`clone` made large, with rounds of DAgger on the demonstrations' initial states."""
    config = clone.get_config()
    config.batch_size = 256
    config.learning_rate = 1e-3
    config.warmup = 500
    config.compute_dtype = "bfloat16"
    config.log_every = 50
    config.save_every = 400
    dagger: Any = config.dagger  # ConfigDict knows no field's type
    dagger.rounds = 4
    dagger.episodes_per_task = 8
    dagger.share = 0.6
    dagger.assets = ("libero", "lite")
    return config
