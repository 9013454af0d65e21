"""Where people come from: the synthetic world, and later the public data sets."""
