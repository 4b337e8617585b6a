"""What we know about a customer: transactions become ledgers, ledgers become feature vectors, states live in Redis."""
