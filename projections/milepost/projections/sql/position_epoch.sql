SELECT epoch FROM positions WHERE topic = $1 AND partition = $2
