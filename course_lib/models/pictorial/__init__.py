"""Bodies as trees of parts: the two systems that the course begins with, and the inference they share."""
