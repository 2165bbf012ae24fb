"""The one exception that means "the input is wrong, and here is what would be right"."""


class UserError(Exception):
    """Bad input from the person at the keyboard: one line saying what, where, and what to do.

    Binaries print the message alone and exit with status 1; libraries let it through.
    """
