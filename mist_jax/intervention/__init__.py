"""What acts inside the compiled forward: the risk head that reads, the steering that writes."""
