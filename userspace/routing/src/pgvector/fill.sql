-- Gives vectors to at most $3 of the packets that arrived after $1 and up to $2 and have none, those first that
-- arrived first. Says what the highest numbers of a cell and of a packet are, how many got one, and which was the
-- last. VECTORS is the table's name. The end $2 is what tells the planner to expect few.
WITH missing AS (
    SELECT p.arrival, c.place || ARRAY[p.severity, p.prefixes, p.nodes]::real[]::vector AS at
    FROM edgelore.packet p JOIN edgelore.VECTORS_cell c ON c.cell = p.cell
    WHERE p.arrival > $1::bigint AND p.arrival <= $2::bigint AND NOT EXISTS (
        SELECT FROM edgelore.VECTORS v WHERE v.packet = p.arrival
    ) ORDER BY p.arrival LIMIT $3::bigint
    -- One that is being purged is waited for, and then gone.
    FOR KEY SHARE OF p
), added AS (
    INSERT INTO edgelore.VECTORS (packet, at) SELECT m.arrival, m.at FROM missing m
    ON CONFLICT DO NOTHING
)
SELECT
    (SELECT coalesce(max(c.id), 0) FROM edgelore.cell c),
    (SELECT coalesce(max(p.arrival), 0) FROM edgelore.packet p),
    count(*), max(m.arrival) FROM missing m
