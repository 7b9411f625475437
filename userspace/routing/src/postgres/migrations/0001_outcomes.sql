-- Packets, where they lie, and what withdraws them. Runs inside a transaction; the schema is there.

CREATE TABLE edgelore.cell (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- First eight bytes of the id of the similarity definition.
    space bytea NOT NULL,
    -- The path of a coarse cell.
    path text COLLATE "C" NOT NULL,
    UNIQUE (space, path)
);

CREATE TABLE edgelore.packet (
    -- Rises in the order of commits: whoever takes a number holds the lock of edgelore.store.
    arrival bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- SHA-256 of bytes.
    id bytea NOT NULL UNIQUE CHECK (octet_length(id) = 32),
    publisher bytea NOT NULL,
    cell integer NOT NULL REFERENCES edgelore.cell,
    -- The path of the exact cell.
    exact text COLLATE "C" NOT NULL,
    -- Coordinates, in milli-units of distance from zero; no sum of them overflows.
    severity bigint NOT NULL CHECK (severity BETWEEN 0 AND 4294967295),
    prefixes bigint NOT NULL CHECK (prefixes BETWEEN 0 AND 4294967295),
    nodes bigint NOT NULL CHECK (nodes BETWEEN 0 AND 4294967295),
    -- Seconds since 1970.
    expires bigint NOT NULL,
    -- The resolution pattern; its words may hold what text may not.
    pattern bytea NOT NULL,
    bytes bytea NOT NULL
);
CREATE INDEX packet_near ON edgelore.packet (cell, severity);
CREATE INDEX packet_expires ON edgelore.packet (expires);

CREATE TABLE edgelore.withdrawal (
    publisher bytea NOT NULL,
    target bytea NOT NULL,
    by bytea NOT NULL REFERENCES edgelore.packet (id) ON DELETE CASCADE,
    PRIMARY KEY (publisher, target, by)
);
CREATE INDEX withdrawal_by ON edgelore.withdrawal (by);

-- How many packets there are, so that nobody has to count them.
CREATE TABLE edgelore.amount (packets bigint NOT NULL);
INSERT INTO edgelore.amount VALUES (0);

CREATE FUNCTION edgelore.count_packets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE edgelore.amount SET packets = packets + (SELECT count(*) FROM changed);
    ELSIF TG_OP = 'DELETE' THEN
        UPDATE edgelore.amount SET packets = packets - (SELECT count(*) FROM changed);
    ELSE
        UPDATE edgelore.amount SET packets = 0;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER packets_added AFTER INSERT ON edgelore.packet
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION edgelore.count_packets();
CREATE TRIGGER packets_removed AFTER DELETE ON edgelore.packet
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION edgelore.count_packets();
CREATE TRIGGER packets_emptied AFTER TRUNCATE ON edgelore.packet
    FOR EACH STATEMENT EXECUTE FUNCTION edgelore.count_packets();

-- Stores packets that arrived together, after purging some of what has expired. One row for each id:
-- 1 when it is new, 0 when it was there, -1 when there is no room. The ids are different ones.
CREATE FUNCTION edgelore.store(
    own_space bytea, ids bytea[], publishers bytea[], coarse text[], exacts text[],
    severities bigint[], prefix_counts bigint[], node_counts bigint[], expiries bigint[],
    patterns bytea[], contents bytea[], withdrawing bytea[], targets bytea[],
    now_secs bigint, packets_max bigint, purge_max integer
) RETURNS TABLE (stored bytea, fate integer) LANGUAGE plpgsql AS $$
DECLARE
    emptied integer[];
    room bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(6351042118931);

    WITH gone AS (
        DELETE FROM edgelore.packet p WHERE p.arrival IN (
            SELECT e.arrival FROM edgelore.packet e
            WHERE e.expires <= now_secs ORDER BY e.expires LIMIT purge_max
        ) RETURNING p.cell
    )
    SELECT array_agg(DISTINCT gone.cell) INTO emptied FROM gone;
    DELETE FROM edgelore.cell c WHERE c.id = ANY (emptied)
        AND NOT EXISTS (SELECT FROM edgelore.packet p WHERE p.cell = c.id);
    -- What was planted under a packet's name gives way to the packet.
    DELETE FROM edgelore.packet p USING unnest(ids, contents) AS o (id, bytes)
        WHERE p.id = o.id AND p.bytes <> o.bytes;

    SELECT greatest(packets_max - a.packets, 0) INTO room FROM edgelore.amount a;
    INSERT INTO edgelore.cell (space, path)
        SELECT DISTINCT own_space, f.path FROM (
            SELECT o.path FROM unnest(ids, coarse) WITH ORDINALITY AS o (id, path, place)
            WHERE NOT EXISTS (SELECT FROM edgelore.packet p WHERE p.id = o.id)
            ORDER BY o.place LIMIT room
        ) AS f
        ON CONFLICT DO NOTHING;

    RETURN QUERY
    WITH offered AS (
        SELECT * FROM unnest(
            ids, publishers, coarse, exacts, severities, prefix_counts, node_counts, expiries,
            patterns, contents
        ) WITH ORDINALITY AS o (
            id, publisher, cell, exact, severity, prefixes, nodes, expires, pattern, bytes, place
        )
    ), fresh AS (
        SELECT o.*, row_number() OVER (ORDER BY o.place) AS turn FROM offered o
        WHERE NOT EXISTS (SELECT FROM edgelore.packet p WHERE p.id = o.id)
    ), added AS (
        INSERT INTO edgelore.packet (
            id, publisher, cell, exact, severity, prefixes, nodes, expires, pattern, bytes
        )
        SELECT f.id, f.publisher, c.id, f.exact, f.severity, f.prefixes, f.nodes, f.expires,
            f.pattern, f.bytes
        FROM fresh f JOIN edgelore.cell c ON c.space = own_space AND c.path = f.cell
        WHERE f.turn <= room ORDER BY f.place
        RETURNING id
    )
    SELECT o.id, CASE WHEN a.id IS NOT NULL THEN 1 WHEN f.id IS NOT NULL THEN -1 ELSE 0 END
    FROM offered o LEFT JOIN fresh f ON f.id = o.id LEFT JOIN added a ON a.id = o.id;

    INSERT INTO edgelore.withdrawal (publisher, target, by)
        SELECT p.publisher, w.target, w.by FROM unnest(withdrawing, targets) AS w (by, target)
        JOIN edgelore.packet p ON p.id = w.by
        ON CONFLICT DO NOTHING;
    -- The number alone: a notification holds less than a packet may take.
    PERFORM pg_notify('edgelore', (SELECT coalesce(max(p.arrival), 0) FROM edgelore.packet p)::text);
END $$;

-- The highest number of arrival ever taken, after everyone who is storing now.
CREATE FUNCTION edgelore.last() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(6351042118931);
    RETURN (SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END
        FROM edgelore.packet_arrival_seq s);
END $$;
