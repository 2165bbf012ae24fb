"""The OpenVLA-OFT policy: preprocessing, architecture, compiled forward, checkpoint."""
