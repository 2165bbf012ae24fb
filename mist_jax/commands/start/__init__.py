"""How a command starts and ends: by name or by its file, with help, errors in one line."""
