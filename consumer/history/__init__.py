"""Files become history: read, cleaned, folded into a first generation of states, or replayed as events."""
