"""What it costs that rooms forget nothing: comparing, taking in, keeping content."""
