-- +goose Up

-- The rest of the access model: hierarchy and column security, access modes,
-- relationships, access team templates.

ALTER TABLE environments ADD COLUMN per_app_plan INTEGER NOT NULL DEFAULT 0;
ALTER TABLE environments ADD COLUMN kind TEXT NOT NULL DEFAULT 'production';
ALTER TABLE environments ADD COLUMN hierarchy TEXT NOT NULL DEFAULT '';
ALTER TABLE environments ADD COLUMN templates_per_table INTEGER NOT NULL DEFAULT 0;
ALTER TABLE environments ADD COLUMN non_interactive_users INTEGER NOT NULL DEFAULT 0;
ALTER TABLE environments ADD COLUMN locked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tables ADD COLUMN system INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tables ADD COLUMN access_teams INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tables ADD COLUMN columns TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN kind TEXT NOT NULL DEFAULT 'person';
ALTER TABLE users ADD COLUMN access_mode TEXT NOT NULL DEFAULT 'read_write';
ALTER TABLE users ADD COLUMN application TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN tenant_administrator INTEGER NOT NULL DEFAULT 0;
ALTER TABLE teams ADD COLUMN for_record TEXT NOT NULL DEFAULT '';
ALTER TABLE records ADD COLUMN links TEXT NOT NULL DEFAULT '';
ALTER TABLE records ADD COLUMN inactive INTEGER NOT NULL DEFAULT 0;
ALTER TABLE shares ADD COLUMN along TEXT NOT NULL DEFAULT '';

CREATE TABLE relationships (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  child_table TEXT NOT NULL,
  parent_table TEXT NOT NULL,
  many_to_many INTEGER NOT NULL,
  cascades TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX relationships_since ON relationships (since);
CREATE INDEX relationships_until ON relationships (until) WHERE until < 9223372036854775807;

CREATE TABLE access_team_templates (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  record_table TEXT NOT NULL,
  rights TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX access_team_templates_since ON access_team_templates (since);
CREATE INDEX access_team_templates_until ON access_team_templates (until) WHERE until < 9223372036854775807;

CREATE TABLE positions (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  parent TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX positions_since ON positions (since);
CREATE INDEX positions_until ON positions (until) WHERE until < 9223372036854775807;

CREATE TABLE column_profiles (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  columns TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX column_profiles_since ON column_profiles (since);
CREATE INDEX column_profiles_until ON column_profiles (until) WHERE until < 9223372036854775807;

CREATE TABLE column_profile_members (
  environment TEXT NOT NULL,
  profile TEXT NOT NULL,
  principal_kind TEXT NOT NULL,
  principal TEXT NOT NULL,
  managed_by TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, profile, principal_kind, principal, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX column_profile_members_since ON column_profile_members (since);
CREATE INDEX column_profile_members_until ON column_profile_members (until) WHERE until < 9223372036854775807;

CREATE TABLE column_shares (
  environment TEXT NOT NULL,
  record_table TEXT NOT NULL,
  record TEXT NOT NULL,
  column_name TEXT NOT NULL,
  principal_kind TEXT NOT NULL,
  principal TEXT NOT NULL,
  can_read INTEGER NOT NULL,
  can_update INTEGER NOT NULL,
  managed_by TEXT NOT NULL,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, record_table, record, column_name, principal_kind, principal, until)
) STRICT, WITHOUT ROWID;
CREATE INDEX column_shares_since ON column_shares (since);
CREATE INDEX column_shares_until ON column_shares (until) WHERE until < 9223372036854775807;
