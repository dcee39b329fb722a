-- $1 tenant, $2 reason, $3 now, $4 by whom; a hold for this reason that is in force stays as it is
INSERT INTO legal_holds (tenant, reason, placed_at, placed_by)
VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant, reason) WHERE released_at IS NULL DO NOTHING
