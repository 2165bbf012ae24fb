"""`mist-jax train_risk_predictor`: see mist_jax/commands/train_risk_predictor.py."""

from mist_jax.commands import train_risk_predictor
from mist_jax.commands.start import binary

if __name__ == "__main__":
    binary.run(train_risk_predictor)
