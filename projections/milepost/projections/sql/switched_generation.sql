-- $1 generation, $2 fold version
INSERT INTO projection_state (generation, fold_version) VALUES ($1, $2)
