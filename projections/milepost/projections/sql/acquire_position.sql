-- Take a partition over: whoever held it before is fenced by the new epoch.
INSERT INTO positions AS held (topic, partition, epoch, next_offset)
VALUES ($1, $2, 1, $3)
ON CONFLICT (topic, partition) DO UPDATE SET epoch = held.epoch + 1, problem = NULL
RETURNING epoch, next_offset, relayed
