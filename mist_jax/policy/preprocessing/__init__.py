"""From an observation to a policy's inputs and back; numpy alone, for simulator workers."""
