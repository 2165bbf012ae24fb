"""The architecture OpenVLA-OFT in Flax."""
