-- The broker's end offsets, each second and idle too: a dead processor never looks fresh.
UPDATE positions AS held
SET end_offset = told.end_offset, end_offset_at = now()
FROM unnest($2::integer[], $3::bigint[]) AS told (partition, end_offset)
WHERE held.topic = $1 AND held.partition = told.partition
