-- +goose Up

-- Rows lie as they come here; the other database's number 5 brings that about.
SELECT 1;
