"""Folders and files as they are typed."""

from pathlib import Path


def folder_of(value: str) -> Path:
    """What the value of a flag names: in --flag=~/x the shell leaves the ~ to the command."""
    return Path(value).expanduser()
