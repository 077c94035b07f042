-- +goose Up

-- Every kind of object has one table. A row is one version: it holds from the
-- revision since until the revision until, which is 9223372036854775807 while it
-- has not ended. Instants are microseconds since 1970 in UTC; a column that holds
-- JSON is empty where there is nothing.
--
-- The same tables, columns and numbers are in the other database's migrations.

CREATE TABLE environments (
  environment TEXT NOT NULL,
  name TEXT NOT NULL,
  modernized INTEGER NOT NULL,
  keep_record_unit INTEGER NOT NULL,
  keep_roles INTEGER NOT NULL,
  share_with_previous INTEGER NOT NULL,
  security_group TEXT NOT NULL,
  require_licence INTEGER NOT NULL,
  managed_by TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX environments_since ON environments (since);
CREATE INDEX environments_until ON environments (until) WHERE until < 9223372036854775807;

CREATE TABLE business_units (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  parent TEXT NOT NULL,
  disabled INTEGER NOT NULL,
  managed_by TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX business_units_since ON business_units (since);
CREATE INDEX business_units_until ON business_units (until) WHERE until < 9223372036854775807;

CREATE TABLE tables (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  ownership TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX tables_since ON tables (since);
CREATE INDEX tables_until ON tables (until) WHERE until < 9223372036854775807;

CREATE TABLE roles (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  business_unit TEXT NOT NULL,
  inheritance TEXT NOT NULL,
  everything INTEGER NOT NULL,
  privileges TEXT NOT NULL,
  miscellaneous TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX roles_since ON roles (since);
CREATE INDEX roles_until ON roles (until) WHERE until < 9223372036854775807;

CREATE TABLE users (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  login TEXT NOT NULL,
  name TEXT NOT NULL,
  mail TEXT NOT NULL,
  business_unit TEXT NOT NULL,
  enabled INTEGER NOT NULL,
  licensed INTEGER NOT NULL,
  admitted INTEGER NOT NULL,
  manager TEXT NOT NULL,
  position TEXT NOT NULL,
  person TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  origin_rule TEXT NOT NULL,
  origin_source TEXT NOT NULL,
  origin_object TEXT NOT NULL,
  origin_path TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX users_since ON users (since);
CREATE INDEX users_until ON users (until) WHERE until < 9223372036854775807;

CREATE TABLE teams (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  type TEXT NOT NULL,
  business_unit TEXT NOT NULL,
  directory_group TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  origin_rule TEXT NOT NULL,
  origin_source TEXT NOT NULL,
  origin_object TEXT NOT NULL,
  origin_path TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX teams_since ON teams (since);
CREATE INDEX teams_until ON teams (until) WHERE until < 9223372036854775807;

CREATE TABLE memberships (
  environment TEXT NOT NULL,
  team TEXT NOT NULL,
  member TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  origin_rule TEXT NOT NULL,
  origin_source TEXT NOT NULL,
  origin_object TEXT NOT NULL,
  origin_path TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, team, member, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX memberships_since ON memberships (since);
CREATE INDEX memberships_until ON memberships (until) WHERE until < 9223372036854775807;

CREATE TABLE assignments (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  role TEXT NOT NULL,
  principal_kind TEXT NOT NULL,
  principal TEXT NOT NULL,
  business_unit TEXT NOT NULL,
  window_start INTEGER,
  window_end INTEGER,
  request TEXT NOT NULL,
  bound TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  origin_rule TEXT NOT NULL,
  origin_source TEXT NOT NULL,
  origin_object TEXT NOT NULL,
  origin_path TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX assignments_since ON assignments (since);
CREATE INDEX assignments_until ON assignments (until) WHERE until < 9223372036854775807;

CREATE TABLE records (
  environment TEXT NOT NULL,
  record_table TEXT NOT NULL,
  id TEXT NOT NULL,
  owner_kind TEXT NOT NULL,
  owner TEXT NOT NULL,
  business_unit TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, record_table, id, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX records_since ON records (since);
CREATE INDEX records_until ON records (until) WHERE until < 9223372036854775807;

CREATE TABLE shares (
  environment TEXT NOT NULL,
  record_table TEXT NOT NULL,
  record TEXT NOT NULL,
  principal_kind TEXT NOT NULL,
  principal TEXT NOT NULL,
  rights TEXT NOT NULL,
  inherited TEXT NOT NULL,
  window_start INTEGER,
  window_end INTEGER,
  managed_by TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, record_table, record, principal_kind, principal, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX shares_since ON shares (since);
CREATE INDEX shares_until ON shares (until) WHERE until < 9223372036854775807;

CREATE TABLE jit_policies (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  document TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
) STRICT;
CREATE INDEX jit_policies_since ON jit_policies (since);
CREATE INDEX jit_policies_until ON jit_policies (until) WHERE until < 9223372036854775807;

CREATE TABLE jit_requests (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  state TEXT NOT NULL,
  requester TEXT NOT NULL,
  beneficiary TEXT NOT NULL,
  closed INTEGER NOT NULL,
  document TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
) STRICT;
CREATE INDEX jit_requests_since ON jit_requests (since);
CREATE INDEX jit_requests_until ON jit_requests (until) WHERE until < 9223372036854775807;
CREATE INDEX jit_requests_live ON jit_requests (id) WHERE until = 9223372036854775807;
CREATE INDEX jit_requests_requester ON jit_requests (requester, id) WHERE until = 9223372036854775807;
CREATE INDEX jit_requests_beneficiary ON jit_requests (beneficiary, id) WHERE until = 9223372036854775807;

-- The one row that every commit takes, moves and gives back.
CREATE TABLE head (
  one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  revision INTEGER NOT NULL,
  at INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  hash TEXT NOT NULL
) STRICT;
INSERT INTO head (one, revision, at, seq, hash) VALUES (1, 0, 0, 0, '');

CREATE TABLE revisions (
  revision INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  changes INTEGER NOT NULL
) STRICT;
CREATE INDEX revisions_at ON revisions (at);

CREATE TABLE audit_events (
  seq INTEGER PRIMARY KEY,
  revision INTEGER NOT NULL,
  at INTEGER NOT NULL,
  actor_kind TEXT NOT NULL,
  actor TEXT NOT NULL,
  actor_name TEXT NOT NULL,
  on_behalf_of TEXT NOT NULL,
  address TEXT NOT NULL,
  operation TEXT NOT NULL,
  environment TEXT NOT NULL,
  object TEXT NOT NULL,
  result TEXT NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  correlation TEXT NOT NULL,
  changes INTEGER NOT NULL,
  changes_digest TEXT NOT NULL,
  prev TEXT NOT NULL,
  hash TEXT NOT NULL
) STRICT;
CREATE INDEX audit_events_revision ON audit_events (revision);
CREATE INDEX audit_events_at ON audit_events (at);
CREATE INDEX audit_events_object ON audit_events (object, seq);
CREATE INDEX audit_events_actor ON audit_events (actor, seq);
CREATE INDEX audit_events_environment ON audit_events (environment, seq);

CREATE TABLE replies (
  caller TEXT NOT NULL,
  method TEXT NOT NULL,
  path TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  body_digest TEXT NOT NULL,
  status INTEGER NOT NULL,
  body BLOB,
  expires INTEGER NOT NULL,
  PRIMARY KEY (caller, method, path, idempotency_key)
) STRICT;
CREATE INDEX replies_expires ON replies (expires);

CREATE TABLE mirror_objects (
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  dn TEXT NOT NULL,
  attributes TEXT NOT NULL,
  PRIMARY KEY (source, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE mirror_edges (
  source TEXT NOT NULL,
  group_id TEXT NOT NULL,
  relation TEXT NOT NULL,
  far TEXT NOT NULL,
  PRIMARY KEY (source, group_id, relation, far)
) STRICT, WITHOUT ROWID;

CREATE TABLE mirror_status (
  source TEXT NOT NULL PRIMARY KEY,
  cursor BLOB,
  mid_round INTEGER NOT NULL,
  completed INTEGER,
  state TEXT NOT NULL
) STRICT;

-- The largest time that any process has seen (Rule JIT-21).
CREATE TABLE watermark (
  one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  at INTEGER NOT NULL
) STRICT;

CREATE TABLE bootstrap (
  one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  hash BLOB NOT NULL,
  used INTEGER NOT NULL
) STRICT;

-- Who leads what; a fence is never given twice (Rule REL-6).
CREATE TABLE leaders (
  name TEXT NOT NULL PRIMARY KEY,
  fence INTEGER NOT NULL UNIQUE
) STRICT;
