"""The binaries: parse flags, call the library, exit."""
