"""What was sold, when and to whom, and whether the data can be believed."""
