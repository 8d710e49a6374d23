"""Real processes under test, and what they need to be driven with deadlines."""
