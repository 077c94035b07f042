-- +goose Up

-- What synchronizations did, with their plans (Rule PLAN-7).

CREATE TABLE runs (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  ended BIGINT NOT NULL,
  result TEXT COLLATE "C" NOT NULL,
  sources TEXT COLLATE "C" NOT NULL,
  document TEXT NOT NULL,
  plan_text TEXT NOT NULL,
  plan_file BYTEA
);
CREATE INDEX runs_ended ON runs (ended);
