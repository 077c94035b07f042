-- +goose Up

-- What clients push into sources (SCIM). A source's changes are numbered, so that
-- its mirror can follow them (Rules SCIM-8, SRC-2).

CREATE TABLE pushed_sources (
  source TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  seq BIGINT NOT NULL
);

CREATE TABLE pushed_resources (
  source TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  kind TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  document TEXT NOT NULL,
  version BIGINT NOT NULL,
  created BIGINT NOT NULL,
  modified BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  PRIMARY KEY (source, id)
);
CREATE UNIQUE INDEX pushed_resources_name ON pushed_resources (source, kind, name);
CREATE UNIQUE INDEX pushed_resources_seq ON pushed_resources (source, seq);

CREATE TABLE pushed_members (
  source TEXT COLLATE "C" NOT NULL,
  group_id TEXT COLLATE "C" NOT NULL,
  member TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (source, group_id, member)
);
CREATE INDEX pushed_members_member ON pushed_members (source, member);

-- By what resources are found: attributes' values, folded.
CREATE TABLE pushed_values (
  source TEXT COLLATE "C" NOT NULL,
  path TEXT COLLATE "C" NOT NULL,
  value TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (source, path, value, id)
);
CREATE INDEX pushed_values_id ON pushed_values (source, id);

CREATE TABLE pushed_removals (
  source TEXT COLLATE "C" NOT NULL,
  seq BIGINT NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (source, seq)
);
