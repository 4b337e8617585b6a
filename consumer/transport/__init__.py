"""Kafka as the worker sees it: the ports over kafka-python, and the embedded broker and store."""
