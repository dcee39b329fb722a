SELECT epoch, next_offset FROM positions WHERE topic = $1 AND partition = $2 FOR UPDATE
