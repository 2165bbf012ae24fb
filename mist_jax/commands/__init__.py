"""The commands: parse flags, call the library, exit. One file each, named as it is typed."""
