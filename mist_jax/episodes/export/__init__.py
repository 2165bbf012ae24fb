"""A dataset of episodes in the forms that other tools train on."""
