"""Entry points: `python -m experiments.NAME FLAGS` runs the command of that name."""
