"""Capabilities: those of others that are called from here, and those that are served here."""
