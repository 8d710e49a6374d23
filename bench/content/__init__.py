"""Fetching files by bitswap, beside Helia."""
