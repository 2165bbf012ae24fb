"""What an episode is: the records that every part of mist_jax writes or reads."""
