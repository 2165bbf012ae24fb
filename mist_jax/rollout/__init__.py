"""Episodes being run: simulator workers, their fleet, and the driver that asks the policy."""
