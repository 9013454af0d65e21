"""What networks are asked for and how their answers are read."""
