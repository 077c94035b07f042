-- +goose Up

-- Every kind of object has one table. A row is one version: it holds from the
-- revision since until the revision until, which is 9223372036854775807 while it
-- has not ended. Instants are microseconds since 1970 in UTC; a column that holds
-- JSON is empty where there is nothing.
--
-- The same tables, columns and numbers are in the other database's migrations.

CREATE TABLE environments (
  environment TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  modernized BOOLEAN NOT NULL,
  keep_record_unit BOOLEAN NOT NULL,
  keep_roles BOOLEAN NOT NULL,
  share_with_previous BOOLEAN NOT NULL,
  security_group TEXT NOT NULL,
  require_licence BOOLEAN NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, until)
);
CREATE INDEX environments_since ON environments (since);
CREATE INDEX environments_until ON environments (until) WHERE until < 9223372036854775807;

CREATE TABLE business_units (
  environment TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  parent TEXT COLLATE "C" NOT NULL,
  disabled BOOLEAN NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
);
CREATE INDEX business_units_since ON business_units (since);
CREATE INDEX business_units_until ON business_units (until) WHERE until < 9223372036854775807;

CREATE TABLE tables (
  environment TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  ownership TEXT COLLATE "C" NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
);
CREATE INDEX tables_since ON tables (since);
CREATE INDEX tables_until ON tables (until) WHERE until < 9223372036854775807;

CREATE TABLE roles (
  environment TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  business_unit TEXT COLLATE "C" NOT NULL,
  inheritance TEXT COLLATE "C" NOT NULL,
  everything BOOLEAN NOT NULL,
  privileges TEXT NOT NULL,
  miscellaneous TEXT NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
);
CREATE INDEX roles_since ON roles (since);
CREATE INDEX roles_until ON roles (until) WHERE until < 9223372036854775807;

CREATE TABLE users (
  environment TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  login TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  mail TEXT COLLATE "C" NOT NULL,
  business_unit TEXT COLLATE "C" NOT NULL,
  enabled BOOLEAN NOT NULL,
  licensed BOOLEAN NOT NULL,
  admitted BOOLEAN NOT NULL,
  manager TEXT COLLATE "C" NOT NULL,
  position TEXT COLLATE "C" NOT NULL,
  person TEXT COLLATE "C" NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  origin_rule TEXT COLLATE "C" NOT NULL,
  origin_source TEXT COLLATE "C" NOT NULL,
  origin_object TEXT COLLATE "C" NOT NULL,
  origin_path TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
);
CREATE INDEX users_since ON users (since);
CREATE INDEX users_until ON users (until) WHERE until < 9223372036854775807;

CREATE TABLE teams (
  environment TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  type TEXT COLLATE "C" NOT NULL,
  business_unit TEXT COLLATE "C" NOT NULL,
  directory_group TEXT NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  origin_rule TEXT COLLATE "C" NOT NULL,
  origin_source TEXT COLLATE "C" NOT NULL,
  origin_object TEXT COLLATE "C" NOT NULL,
  origin_path TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
);
CREATE INDEX teams_since ON teams (since);
CREATE INDEX teams_until ON teams (until) WHERE until < 9223372036854775807;

CREATE TABLE memberships (
  environment TEXT COLLATE "C" NOT NULL,
  team TEXT COLLATE "C" NOT NULL,
  member TEXT COLLATE "C" NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  origin_rule TEXT COLLATE "C" NOT NULL,
  origin_source TEXT COLLATE "C" NOT NULL,
  origin_object TEXT COLLATE "C" NOT NULL,
  origin_path TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, team, member, until)
);
CREATE INDEX memberships_since ON memberships (since);
CREATE INDEX memberships_until ON memberships (until) WHERE until < 9223372036854775807;

CREATE TABLE assignments (
  environment TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  role TEXT COLLATE "C" NOT NULL,
  principal_kind TEXT COLLATE "C" NOT NULL,
  principal TEXT COLLATE "C" NOT NULL,
  business_unit TEXT COLLATE "C" NOT NULL,
  window_start BIGINT,
  window_end BIGINT,
  request TEXT COLLATE "C" NOT NULL,
  bound TEXT NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  origin_rule TEXT COLLATE "C" NOT NULL,
  origin_source TEXT COLLATE "C" NOT NULL,
  origin_object TEXT COLLATE "C" NOT NULL,
  origin_path TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
);
CREATE INDEX assignments_since ON assignments (since);
CREATE INDEX assignments_until ON assignments (until) WHERE until < 9223372036854775807;

CREATE TABLE records (
  environment TEXT COLLATE "C" NOT NULL,
  record_table TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  owner_kind TEXT COLLATE "C" NOT NULL,
  owner TEXT COLLATE "C" NOT NULL,
  business_unit TEXT COLLATE "C" NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, record_table, id, until)
);
CREATE INDEX records_since ON records (since);
CREATE INDEX records_until ON records (until) WHERE until < 9223372036854775807;

CREATE TABLE shares (
  environment TEXT COLLATE "C" NOT NULL,
  record_table TEXT COLLATE "C" NOT NULL,
  record TEXT COLLATE "C" NOT NULL,
  principal_kind TEXT COLLATE "C" NOT NULL,
  principal TEXT COLLATE "C" NOT NULL,
  rights TEXT COLLATE "C" NOT NULL,
  inherited TEXT COLLATE "C" NOT NULL,
  window_start BIGINT,
  window_end BIGINT,
  managed_by TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, record_table, record, principal_kind, principal, until)
);
CREATE INDEX shares_since ON shares (since);
CREATE INDEX shares_until ON shares (until) WHERE until < 9223372036854775807;

CREATE TABLE jit_policies (
  environment TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  document TEXT NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
);
CREATE INDEX jit_policies_since ON jit_policies (since);
CREATE INDEX jit_policies_until ON jit_policies (until) WHERE until < 9223372036854775807;

CREATE TABLE jit_requests (
  environment TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  state TEXT COLLATE "C" NOT NULL,
  requester TEXT COLLATE "C" NOT NULL,
  beneficiary TEXT COLLATE "C" NOT NULL,
  closed BOOLEAN NOT NULL,
  document TEXT NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
);
CREATE INDEX jit_requests_since ON jit_requests (since);
CREATE INDEX jit_requests_until ON jit_requests (until) WHERE until < 9223372036854775807;
CREATE INDEX jit_requests_live ON jit_requests (id) WHERE until = 9223372036854775807;
CREATE INDEX jit_requests_requester ON jit_requests (requester, id) WHERE until = 9223372036854775807;
CREATE INDEX jit_requests_beneficiary ON jit_requests (beneficiary, id) WHERE until = 9223372036854775807;

-- The one row that every commit takes, moves and gives back.
CREATE TABLE head (
  one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
  revision BIGINT NOT NULL,
  at BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  hash TEXT COLLATE "C" NOT NULL
);
INSERT INTO head (one, revision, at, seq, hash) VALUES (1, 0, 0, 0, '');

CREATE TABLE revisions (
  revision BIGINT PRIMARY KEY,
  at BIGINT NOT NULL,
  changes BIGINT NOT NULL
);
CREATE INDEX revisions_at ON revisions (at);

CREATE TABLE audit_events (
  seq BIGINT PRIMARY KEY,
  revision BIGINT NOT NULL,
  at BIGINT NOT NULL,
  actor_kind TEXT COLLATE "C" NOT NULL,
  actor TEXT COLLATE "C" NOT NULL,
  actor_name TEXT COLLATE "C" NOT NULL,
  on_behalf_of TEXT COLLATE "C" NOT NULL,
  address TEXT COLLATE "C" NOT NULL,
  operation TEXT COLLATE "C" NOT NULL,
  environment TEXT COLLATE "C" NOT NULL,
  object TEXT COLLATE "C" NOT NULL,
  result TEXT COLLATE "C" NOT NULL,
  reason TEXT COLLATE "C" NOT NULL,
  detail TEXT COLLATE "C" NOT NULL,
  correlation TEXT COLLATE "C" NOT NULL,
  changes BIGINT NOT NULL,
  changes_digest TEXT COLLATE "C" NOT NULL,
  prev TEXT COLLATE "C" NOT NULL,
  hash TEXT COLLATE "C" NOT NULL
);
CREATE INDEX audit_events_revision ON audit_events (revision);
CREATE INDEX audit_events_at ON audit_events (at);
CREATE INDEX audit_events_object ON audit_events (object, seq);
CREATE INDEX audit_events_actor ON audit_events (actor, seq);
CREATE INDEX audit_events_environment ON audit_events (environment, seq);

CREATE TABLE replies (
  caller TEXT COLLATE "C" NOT NULL,
  method TEXT COLLATE "C" NOT NULL,
  path TEXT COLLATE "C" NOT NULL,
  idempotency_key TEXT COLLATE "C" NOT NULL,
  body_digest TEXT COLLATE "C" NOT NULL,
  status BIGINT NOT NULL,
  body BYTEA,
  expires BIGINT NOT NULL,
  PRIMARY KEY (caller, method, path, idempotency_key)
);
CREATE INDEX replies_expires ON replies (expires);

CREATE TABLE mirror_objects (
  source TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  kind TEXT COLLATE "C" NOT NULL,
  dn TEXT COLLATE "C" NOT NULL,
  attributes TEXT NOT NULL,
  PRIMARY KEY (source, id)
);

CREATE TABLE mirror_edges (
  source TEXT COLLATE "C" NOT NULL,
  group_id TEXT COLLATE "C" NOT NULL,
  relation TEXT COLLATE "C" NOT NULL,
  far TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (source, group_id, relation, far)
);

CREATE TABLE mirror_status (
  source TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  cursor BYTEA,
  mid_round BOOLEAN NOT NULL,
  completed BIGINT,
  state TEXT COLLATE "C" NOT NULL
);

-- The largest time that any process has seen (Rule JIT-21).
CREATE TABLE watermark (
  one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
  at BIGINT NOT NULL
);

CREATE TABLE bootstrap (
  one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
  hash BYTEA NOT NULL,
  used BOOLEAN NOT NULL
);

-- Who leads what; a fence is never given twice (Rule REL-6).
CREATE TABLE leaders (
  name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
  fence BIGINT NOT NULL UNIQUE
);
CREATE SEQUENCE fences;
