-- Plans are made once a connection, maybe for empty tables. So whatever looks a packet up names the rows that it
-- looks for, which leaves only an index: what a plan costs does not depend on when it was made. Runs inside a
-- transaction.

-- As it was: stores packets that arrived together, after purging some of what has expired. One row for each
-- id: 1 when it is new, 0 when it was there, -1 when there is no room. The ids are different ones.
CREATE OR REPLACE FUNCTION edgelore.store(
    own_space bytea, ids bytea[], publishers bytea[], coarse text[], exacts text[],
    severities bigint[], prefix_counts bigint[], node_counts bigint[], expiries bigint[],
    patterns bytea[], contents bytea[], withdrawing bytea[], targets bytea[],
    now_secs bigint, packets_max bigint, purge_max integer
) RETURNS TABLE (stored bytea, fate integer) LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off AS $$
DECLARE
    emptied integer[];
    known bytea[];
    room bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(6351042118931);

    WITH gone AS (
        DELETE FROM edgelore.packet p WHERE p.arrival = ANY (ARRAY(
            SELECT e.arrival FROM edgelore.packet e
            WHERE e.expires <= now_secs ORDER BY e.expires LIMIT purge_max
        )) RETURNING p.cell
    )
    SELECT array_agg(DISTINCT gone.cell) INTO emptied FROM gone;
    DELETE FROM edgelore.cell c WHERE c.id = ANY (emptied)
        AND (SELECT p.arrival FROM edgelore.packet p WHERE p.cell = c.id LIMIT 1) IS NULL;
    -- What was planted under a packet's name gives way to the packet.
    DELETE FROM edgelore.packet p
        WHERE p.id = ANY (ids) AND p.bytes <> contents[array_position(ids, p.id)];

    known := ARRAY(SELECT p.id FROM edgelore.packet p WHERE p.id = ANY (ids));
    SELECT greatest(packets_max - a.packets, 0) INTO room FROM edgelore.amount a;
    INSERT INTO edgelore.cell (space, path)
        SELECT DISTINCT own_space, f.path FROM (
            SELECT o.path FROM unnest(ids, coarse) WITH ORDINALITY AS o (id, path, place)
            WHERE o.id <> ALL (known) ORDER BY o.place LIMIT room
        ) AS f
        ON CONFLICT DO NOTHING;

    RETURN QUERY
    WITH offered AS (
        SELECT * FROM unnest(
            ids, publishers, coarse, exacts, severities, prefix_counts, node_counts, expiries,
            patterns, contents
        ) WITH ORDINALITY AS o (
            id, publisher, path, exact, severity, prefixes, nodes, expires, pattern, bytes, place
        )
    ), added AS (
        INSERT INTO edgelore.packet (
            id, publisher, cell, exact, severity, prefixes, nodes, expires, pattern, bytes
        )
        SELECT o.id, o.publisher,
            (SELECT c.id FROM edgelore.cell c WHERE c.space = own_space AND c.path = o.path),
            o.exact, o.severity, o.prefixes, o.nodes, o.expires, o.pattern, o.bytes
        FROM offered o WHERE o.id <> ALL (known) ORDER BY o.place LIMIT room
        RETURNING id
    )
    SELECT o.id, CASE WHEN o.id = ANY (known) THEN 0 WHEN a.id IS NOT NULL THEN 1 ELSE -1 END
    FROM offered o LEFT JOIN added a ON a.id = o.id;

    INSERT INTO edgelore.withdrawal (publisher, target, by)
        SELECT p.publisher, w.target, w.by FROM unnest(withdrawing, targets) AS w (by, target)
        CROSS JOIN LATERAL (
            SELECT s.publisher FROM edgelore.packet s WHERE s.id = w.by LIMIT 1
        ) AS p
        ON CONFLICT DO NOTHING;
    -- The number alone: a notification holds less than a packet may take.
    PERFORM pg_notify('edgelore', (SELECT coalesce(max(p.arrival), 0) FROM edgelore.packet p)::text);
END $$;
