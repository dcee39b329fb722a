-- How many records the live generation has folded into executions.
SELECT coalesce(sum(ordinal), 0)::bigint FROM public.executions
