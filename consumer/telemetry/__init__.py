"""What a running worker tells: logs by event name, metrics, health, and the mistakes of a first day."""
