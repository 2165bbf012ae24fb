"""LIBERO on robosuite and MuJoCo: assets, tasks, initial states, rendering, one environment."""
