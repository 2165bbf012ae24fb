"""The recipe of the shipped mist-nano-object: cloning and DAgger on libero_object, lite assets.

    collect() { python -m experiments.collect_failure_data --model_name=expert --phase1 \
      --env=libero_object --assets=lite --images=step --save_dir=data/$1 "${@:2}"; }
    collect noisy --initial_states=0-29 --n_episodes=30 --render=fast --perturbation=mixed \
      --perturbation_onset=3,70 --perturbation_length=4,14 --perturbation_strength=0.3,1.0
    collect fast --initial_states=0-29 --n_episodes=20 --render=fast
    collect exact --initial_states=15-29 --n_episodes=15
    python -m experiments.train_policy --config=mist_jax/training/recipes/mist_nano_object.py \
      --name=mist-nano-object --steps=1600 --data_dir=data/noisy,data/fast,data/exact \
      --output_dir=runs/mist-nano-object

What it took and what it reached: mist_jax/checkpoints/mist-nano-object/README.md.
"""

from typing import Any

from ml_collections import ConfigDict

from mist_jax.training.recipes import mist_nano


def get_config() -> ConfigDict:
    """`mist_nano` on the other suite that the lite assets serve, and on those alone."""
    config = mist_nano.get_config()
    dagger: Any = config.dagger  # ConfigDict knows no field's type
    dagger.suites = ("libero_object",)
    dagger.assets = ("lite",)
    return config
