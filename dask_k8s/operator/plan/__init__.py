"""What to do, decided without doing it: pure functions from a resource and what is observed to a plan."""
