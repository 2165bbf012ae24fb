"""From a wanted change of the action to the push that makes it, one file each."""
