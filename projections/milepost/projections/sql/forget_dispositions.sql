-- Drop what unfinished and older generations say of records. $1 the only one to keep
DELETE FROM disposition_changes WHERE generation <> $1
