-- What lies within the radius after (distance, id) = ($10, $11), nearest first, with at most four packets
-- of the same publisher that withdraw it: one is enough.
SELECT near.id, near.distance, near.bytes,
    ARRAY(SELECT w.by FROM edgelore.withdrawal w
        WHERE w.publisher = near.publisher AND w.target = near.id ORDER BY w.by LIMIT 4),
    ARRAY(SELECT b.bytes FROM edgelore.withdrawal w JOIN edgelore.packet b ON b.id = w.by
        WHERE w.publisher = near.publisher AND w.target = near.id ORDER BY w.by LIMIT 4)
FROM (
    SELECT p.id, p.publisher, p.bytes, c.terms
        + coalesce(abs(p.severity - $5::bigint), 0)
        + coalesce(abs(p.prefixes - $6::bigint), 0)
        + coalesce(abs(p.nodes - $7::bigint), 0) AS distance
    FROM unnest($1::integer[], $2::bigint[]) AS c (cell, terms)
    JOIN edgelore.packet p ON p.cell = c.cell
        AND p.severity >= coalesce($5 - ($8::bigint - c.terms), 0)
        AND p.severity <= coalesce($5 + ($8 - c.terms), 4294967295)
        AND p.prefixes >= coalesce($6 - ($8 - c.terms), 0)
        AND p.prefixes <= coalesce($6 + ($8 - c.terms), 4294967295)
        AND p.nodes >= coalesce($7 - ($8 - c.terms), 0)
        AND p.nodes <= coalesce($7 + ($8 - c.terms), 4294967295)
    WHERE p.expires > $3::bigint AND ($4::bytea IS NULL OR p.pattern = $4)
) AS near
WHERE near.distance <= $8 AND (near.distance, near.id) > ($10::bigint, $11::bytea)
ORDER BY near.distance, near.id
LIMIT $9::bigint
