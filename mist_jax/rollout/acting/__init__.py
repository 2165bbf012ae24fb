"""Who acts in an episode: the policy with its arms, the expert, probes; one episode by itself."""
