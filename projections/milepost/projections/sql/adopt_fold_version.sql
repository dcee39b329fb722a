-- Nothing has been folded yet: what will be is of this version. $1 generation, $2 fold version
UPDATE projection_state SET fold_version = $2 WHERE generation = $1
