"""Kafka to Postgres: the Faust app, the batch hand-over, the fold loop and the relay."""
