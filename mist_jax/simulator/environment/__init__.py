"""One task in simulation: resets, steps, observations, pictures, disturbances."""
