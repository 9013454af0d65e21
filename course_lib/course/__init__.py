"""Running the whole course in batch: lessons, their report, the leaderboard, and the committed notebooks' upkeep."""
