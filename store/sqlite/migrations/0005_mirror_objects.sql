-- +goose Up

-- A source tells of its objects in the order of random ids. Rows that lie in that
-- order have every page of the table written anew with each page of the source;
-- these lie as they come, and only the index is in order.

CREATE TABLE mirror_objects_as_they_come (
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  dn TEXT NOT NULL,
  attributes TEXT NOT NULL,
  PRIMARY KEY (source, id)
) STRICT;
INSERT INTO mirror_objects_as_they_come SELECT source, id, kind, dn, attributes FROM mirror_objects;
DROP TABLE mirror_objects;
ALTER TABLE mirror_objects_as_they_come RENAME TO mirror_objects;
