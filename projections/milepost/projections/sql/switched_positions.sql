-- Up to where the generation before the live one knows the log.
SELECT topic, partition, switched_offset FROM positions
