-- How far the nearest packets are. Runs inside a transaction.

-- The smallest radius known to hold `wanted` packets, at most `radius`. Records of each cell are read from
-- the severity asked for on, up and down, in growing pages: a packet is at least as far as its severity is,
-- so nothing beyond the pages is among the nearest once these are nearer than all of it.
CREATE FUNCTION edgelore.reach(
    cells integer[], distances bigint[], now_secs bigint, asked bytea,
    own_severity bigint, own_prefixes bigint, own_nodes bigint, radius bigint, wanted bigint
) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    page bigint := 512;
    -- What is not read is at least as far as this; null when everything was read.
    front bigint;
    counted bigint;
    farthest bigint;
BEGIN
    LOOP
        WITH records AS MATERIALIZED (
            SELECT c.cell, p.upward, p.expires, p.pattern, c.terms + abs(p.severity - own_severity) AS least,
                c.terms + abs(p.severity - own_severity)
                + coalesce(abs(p.prefixes - own_prefixes), 0)
                + coalesce(abs(p.nodes - own_nodes), 0) AS distance
            FROM unnest(cells, distances) AS c (cell, terms)
            CROSS JOIN LATERAL (
                (SELECT true AS upward, u.severity, u.prefixes, u.nodes, u.expires, u.pattern
                FROM edgelore.packet u
                WHERE u.cell = c.cell AND u.severity >= own_severity
                    AND u.severity <= own_severity + (radius - c.terms)
                ORDER BY u.severity LIMIT page)
                UNION ALL
                (SELECT false, d.severity, d.prefixes, d.nodes, d.expires, d.pattern
                FROM edgelore.packet d
                WHERE d.cell = c.cell AND d.severity < own_severity
                    AND d.severity >= own_severity - (radius - c.terms)
                ORDER BY d.severity DESC LIMIT page)
            ) AS p
        )
        SELECT
            (SELECT min(f.front) FROM (
                SELECT max(r.least) AS front FROM records r
                GROUP BY r.cell, r.upward HAVING count(*) = page
            ) AS f),
            count(*), max(n.distance)
        INTO front, counted, farthest
        FROM (
            SELECT r.distance FROM records r
            WHERE r.distance <= radius AND r.expires > now_secs AND (asked IS NULL OR r.pattern = asked)
            ORDER BY r.distance LIMIT wanted
        ) AS n;
        IF counted = wanted THEN
            radius := farthest;
        END IF;
        IF front IS NULL OR radius <= front THEN
            RETURN radius;
        END IF;
        page := page * 4;
    END LOOP;
END $$;
