"""What a person reads: verification, quality and profiles."""
