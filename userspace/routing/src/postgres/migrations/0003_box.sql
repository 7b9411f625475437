-- All coordinates in one index: what lies outside the box around a radius is passed over in it, without a look
-- at the packet. Runs inside a transaction.

CREATE INDEX packet_box ON edgelore.packet (cell, severity, prefixes, nodes);
DROP INDEX edgelore.packet_near;
