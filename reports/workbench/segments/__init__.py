"""How many segments there are, who is in which, and what they buy."""
