-- What lies within the radius after (distance, id) = ($10, $11), nearest first, with at most four packets
-- of the same publisher that withdraw it: one is enough. What comes first lies within a smaller radius,
-- in which there are as many.
SELECT near.id, near.distance, near.bytes,
    ARRAY(SELECT w.by FROM edgelore.withdrawal w
        WHERE w.publisher = near.publisher AND w.target = near.id ORDER BY w.by LIMIT 4),
    ARRAY(SELECT b.bytes FROM edgelore.withdrawal w JOIN edgelore.packet b ON b.id = w.by
        WHERE w.publisher = near.publisher AND w.target = near.id ORDER BY w.by LIMIT 4)
FROM (
    SELECT p.id, p.publisher, p.bytes, r.radius, c.terms
        + coalesce(abs(p.severity - $5), 0)
        + coalesce(abs(p.prefixes - $6::bigint), 0)
        + coalesce(abs(p.nodes - $7::bigint), 0) AS distance
    FROM (
        SELECT CASE WHEN $10::bigint < 0 AND $5::bigint IS NOT NULL
            THEN edgelore.reach($1::integer[], $2::bigint[], $3::bigint, $4::bytea,
                $5, $6, $7, $8::bigint, $9::bigint)
            ELSE $8 END AS radius
        OFFSET 0
    ) AS r
    CROSS JOIN unnest($1, $2) AS c (cell, terms)
    JOIN edgelore.packet p ON p.cell = c.cell
        AND p.severity >= coalesce($5 - (r.radius - c.terms), 0)
        AND p.severity <= coalesce($5 + (r.radius - c.terms), 4294967295)
    WHERE p.expires > $3 AND ($4 IS NULL OR p.pattern = $4)
) AS near
WHERE near.distance <= near.radius AND (near.distance, near.id) > ($10, $11::bytea)
ORDER BY near.distance, near.id
LIMIT $9
