-- +goose Up

-- What synchronizations did, with their plans (Rule PLAN-7).

CREATE TABLE runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  ended INTEGER NOT NULL,
  result TEXT NOT NULL,
  sources TEXT NOT NULL,
  document TEXT NOT NULL,
  plan_text TEXT NOT NULL,
  plan_file BLOB
) STRICT;
CREATE INDEX runs_ended ON runs (ended);
