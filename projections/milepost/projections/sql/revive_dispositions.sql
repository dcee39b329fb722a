-- Generation $2 says of records what generation $1 said.
UPDATE disposition_changes SET generation = $2 WHERE generation = $1
