"""Who will stop ordering, and what customers are worth."""
