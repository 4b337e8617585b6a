"""The shell that moves events: Kafka in, Redis between, Kafka out."""
