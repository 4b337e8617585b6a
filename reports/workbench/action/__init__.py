"""Who moved between two days, who will, and what to do about it."""
