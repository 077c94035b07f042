-- +goose Up

-- What clients push into sources (SCIM). A source's changes are numbered, so that
-- its mirror can follow them (Rules SCIM-8, SRC-2).

CREATE TABLE pushed_sources (
  source TEXT NOT NULL PRIMARY KEY,
  seq INTEGER NOT NULL
) STRICT;

CREATE TABLE pushed_resources (
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  document TEXT NOT NULL,
  version INTEGER NOT NULL,
  created INTEGER NOT NULL,
  modified INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (source, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX pushed_resources_name ON pushed_resources (source, kind, name);
CREATE UNIQUE INDEX pushed_resources_seq ON pushed_resources (source, seq);

CREATE TABLE pushed_members (
  source TEXT NOT NULL,
  group_id TEXT NOT NULL,
  member TEXT NOT NULL,
  PRIMARY KEY (source, group_id, member)
) STRICT, WITHOUT ROWID;
CREATE INDEX pushed_members_member ON pushed_members (source, member);

-- By what resources are found: attributes' values, folded.
CREATE TABLE pushed_values (
  source TEXT NOT NULL,
  path TEXT NOT NULL,
  value TEXT NOT NULL,
  id TEXT NOT NULL,
  PRIMARY KEY (source, path, value, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX pushed_values_id ON pushed_values (source, id);

CREATE TABLE pushed_removals (
  source TEXT NOT NULL,
  seq INTEGER NOT NULL,
  id TEXT NOT NULL,
  PRIMARY KEY (source, seq)
) STRICT, WITHOUT ROWID;
