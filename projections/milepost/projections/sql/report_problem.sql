UPDATE positions SET problem = $3 WHERE topic = $1 AND partition = $2
