-- What stands beside the packets: statements about keys, and packets that nobody signed.
CREATE TABLE edgelore.beside (
    -- Rises in the order of commits: whoever takes a number holds a lock.
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('statement', 'import')),
    bytes bytea NOT NULL CHECK (octet_length(bytes) <= 65536)
);

CREATE FUNCTION edgelore.put_beside(own_kind text, content bytea) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(6351042118932);
    INSERT INTO edgelore.beside (kind, bytes) VALUES (own_kind, content);
END $$;
