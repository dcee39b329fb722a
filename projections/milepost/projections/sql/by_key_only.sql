-- Until the transaction ends: no plan that depends on when statistics were taken. How little lies
-- between two positions is not in them; with 800,000 records a look took 0.5 s instead of 1 ms.
SELECT
    set_config('enable_seqscan', 'off', true),
    set_config('enable_bitmapscan', 'off', true),
    set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true)
