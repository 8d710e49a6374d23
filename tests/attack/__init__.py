"""Mallory against real daemons: what she sends is refused by name, and nobody else notices."""
