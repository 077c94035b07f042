-- +goose Up

-- The rest of the access model: hierarchy and column security, access modes,
-- relationships, access team templates.

ALTER TABLE environments ADD COLUMN per_app_plan BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE environments ADD COLUMN kind TEXT COLLATE "C" NOT NULL DEFAULT 'production';
ALTER TABLE environments ADD COLUMN hierarchy TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE environments ADD COLUMN templates_per_table BIGINT NOT NULL DEFAULT 0;
ALTER TABLE environments ADD COLUMN non_interactive_users BIGINT NOT NULL DEFAULT 0;
ALTER TABLE environments ADD COLUMN locked BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE tables ADD COLUMN system BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE tables ADD COLUMN access_teams BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE tables ADD COLUMN columns TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN kind TEXT COLLATE "C" NOT NULL DEFAULT 'person';
ALTER TABLE users ADD COLUMN access_mode TEXT COLLATE "C" NOT NULL DEFAULT 'read_write';
ALTER TABLE users ADD COLUMN application TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN tenant_administrator BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE teams ADD COLUMN for_record TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE records ADD COLUMN links TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE records ADD COLUMN inactive BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE shares ADD COLUMN along TEXT COLLATE "C" NOT NULL DEFAULT '';

CREATE TABLE relationships (
  environment TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  child_table TEXT COLLATE "C" NOT NULL,
  parent_table TEXT COLLATE "C" NOT NULL,
  many_to_many BOOLEAN NOT NULL,
  cascades TEXT COLLATE "C" NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
);
CREATE INDEX relationships_since ON relationships (since);
CREATE INDEX relationships_until ON relationships (until) WHERE until < 9223372036854775807;

CREATE TABLE access_team_templates (
  environment TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  record_table TEXT COLLATE "C" NOT NULL,
  rights TEXT COLLATE "C" NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
);
CREATE INDEX access_team_templates_since ON access_team_templates (since);
CREATE INDEX access_team_templates_until ON access_team_templates (until) WHERE until < 9223372036854775807;

CREATE TABLE positions (
  environment TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  parent TEXT COLLATE "C" NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
);
CREATE INDEX positions_since ON positions (since);
CREATE INDEX positions_until ON positions (until) WHERE until < 9223372036854775807;

CREATE TABLE column_profiles (
  environment TEXT COLLATE "C" NOT NULL,
  id TEXT COLLATE "C" NOT NULL,
  name TEXT COLLATE "C" NOT NULL,
  columns TEXT COLLATE "C" NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, id, until)
);
CREATE INDEX column_profiles_since ON column_profiles (since);
CREATE INDEX column_profiles_until ON column_profiles (until) WHERE until < 9223372036854775807;

CREATE TABLE column_profile_members (
  environment TEXT COLLATE "C" NOT NULL,
  profile TEXT COLLATE "C" NOT NULL,
  principal_kind TEXT COLLATE "C" NOT NULL,
  principal TEXT COLLATE "C" NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, profile, principal_kind, principal, until)
);
CREATE INDEX column_profile_members_since ON column_profile_members (since);
CREATE INDEX column_profile_members_until ON column_profile_members (until) WHERE until < 9223372036854775807;

CREATE TABLE column_shares (
  environment TEXT COLLATE "C" NOT NULL,
  record_table TEXT COLLATE "C" NOT NULL,
  record TEXT COLLATE "C" NOT NULL,
  column_name TEXT COLLATE "C" NOT NULL,
  principal_kind TEXT COLLATE "C" NOT NULL,
  principal TEXT COLLATE "C" NOT NULL,
  can_read BOOLEAN NOT NULL,
  can_update BOOLEAN NOT NULL,
  managed_by TEXT COLLATE "C" NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL DEFAULT 9223372036854775807,
  PRIMARY KEY (environment, record_table, record, column_name, principal_kind, principal, until)
);
CREATE INDEX column_shares_since ON column_shares (since);
CREATE INDEX column_shares_until ON column_shares (until) WHERE until < 9223372036854775807;
