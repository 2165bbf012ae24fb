"""How much of the device the training of many heads takes, and so in how many turns it goes."""

from dataclasses import dataclass

from mist_jax.errors import UserError

FLOAT = 4  # bytes
WEIGHT_COPIES = 8  # weights, gradient, two moments, update, the best so far, and XLA's copies
ROW_COPIES = 4  # of a minibatch's inputs and hidden units, forward and backward


@dataclass(frozen=True)
class Sizes:
    """What one turn's peak memory follows from."""

    queries: int
    layers: int
    width: int
    itemsize: int
    inputs: int  # of the trunk
    hidden: int  # numbers a trunk keeps of a query for the way back
    outputs: int  # windows times motions
    parameters: int
    batch: int  # queries of one minibatch, padding included
    order: int  # numbers that say which rows are in the minibatches of one call
    trials: int
    remembers: bool

    @property
    def fixed(self) -> int:
        """Bytes that are there once: labels, and which query came before."""
        return self.queries * (2 * self.outputs + 2 * FLOAT)

    @property
    def data(self) -> int:
        """Bytes of the features of one choice of layers."""
        return self.queries * self.layers * self.width * self.itemsize

    @property
    def per_fold(self) -> int:
        """Bytes of one fold's heads of one choice, all trials."""
        read = self.layers * self.width * (self.itemsize + 2 * FLOAT) * (1 + self.remembers)
        row = ROW_COPIES * (self.inputs + self.hidden + 2 * self.outputs) * FLOAT
        rows = self.batch * (read + row * self.trials)
        return rows + self.trials * self.parameters * FLOAT * WEIGHT_COPIES + 2 * FLOAT * self.order

    def fits(self, limit: int) -> bool:
        """Whether the heads of one choice and one fold do."""
        return self.fixed + self.data + self.per_fold <= limit

    def turns(self, choices: int, folds: int, limit: int) -> tuple[int, int]:
        """How many choices and how many folds go into one turn, as equal as can be.

        Raises:
            UserError: one head of one choice does not fit.
        """
        left = limit - self.fixed
        whole = left // (self.data + folds * self.per_fold)
        if whole >= 1:
            return _even(choices, whole), folds
        some = (left - self.data) // self.per_fold
        if not self.fits(limit):
            needed = self.fixed + self.data + self.per_fold
            raise UserError(
                f"memory_limit of {limit / 2**30:.2f} GiB: one layer of {self.queries} queries of "
                f"width {self.width} needs {needed / 2**30:.2f} GiB"
            )
        return 1, _even(folds, some)


def _even(count: int, most: int) -> int:
    """Size of the fewest parts of at most `most`, alike in size."""
    parts = -(-count // min(count, most))
    return -(-count // parts)
