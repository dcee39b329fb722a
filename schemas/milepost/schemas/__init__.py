"""The contract: what publishers send, what consumers receive, and how things are named.

Nothing here does I/O. `values` holds the bounded value objects, `events` what a provider reports,
`failures` the standard failure codes,
`notifications` what Milepost sends out, `identifiers` the deterministic ids, `topics` the topics, and
`binding` the translation between events and Kafka records (CloudEvents 1.0, both modes).
"""
