package api_test

// What docs/asking.md shows. Each function there is one of these, word for word.

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/tenant"
)

// follow opens Ambit's store and keeps the newest state in memory until the
// context ends.
func follow(ctx context.Context, st tenant.Store) (*tenant.Tenant, error) {
	ambit, err := tenant.Open(ctx, st, tenant.Options{})
	if err != nil {
		return nil, err
	}
	go func() { _ = ambit.Run(ctx, time.Second, tenant.WatermarkEvery) }() // it logs what fails, and goes on
	return ambit, nil
}

// mayRead asks the engine in this very process.
func mayRead(ambit *tenant.Tenant, user access.UserID, account engine.Record) (bool, error) {
	sales, err := ambit.Snapshot("sales")
	if err != nil {
		return false, err
	}
	d, err := sales.Check(engine.Question{
		User: user, Action: access.Read, Table: "account", Record: &account, Channel: engine.Interactive, At: ambit.Now(),
	})
	return d.Allowed, err // an error is not allowed, and not denied
}

// post sends a question and reads the answer.
func post(ctx context.Context, url, token string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, "POST", url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer w.Body.Close()
	if w.StatusCode != http.StatusOK {
		return fmt.Errorf("ask Ambit: %s", w.Status)
	}
	return json.NewDecoder(w.Body).Decode(answer)
}

// mayReadOverHTTP asks /v1, with the record's facts.
func mayReadOverHTTP(ctx context.Context, ambit, token, user, owner string) (bool, error) {
	var answer struct {
		Allowed bool
		Reason  string
	}
	err := post(ctx, ambit+"/v1/environments/sales/check", token, map[string]any{
		"user": user, "action": "read", "table": "account", "record": map[string]any{"id": "4711", "owner": owner},
	}, &answer)
	return answer.Allowed, err
}

// mayReadByAuthZEN asks in the words of the AuthZEN standard.
func mayReadByAuthZEN(ctx context.Context, ambit, token, user, owner string) (bool, error) {
	type object = map[string]any
	var answer struct {
		Decision bool
	}
	err := post(ctx, ambit+"/pdp/sales/access/v1/evaluation", token, object{
		"subject":  object{"type": "user", "id": user},
		"action":   object{"name": "read"},
		"resource": object{"type": "account", "id": "4711", "properties": object{"owner": owner}},
	}, &answer)
	return answer.Decision, err
}

// accounts lists those that the user may read: Ambit says which, the database finds
// them.
func accounts(ctx context.Context, ambit *tenant.Tenant, db *sql.DB, user access.UserID) ([]string, error) {
	sales, err := ambit.Snapshot("sales")
	if err != nil {
		return nil, err
	}
	f, err := sales.Filter(engine.FilterQuestion{User: user, Action: access.Read, Table: "account", At: ambit.Now()})
	if err != nil {
		return nil, err
	}
	where, args, err := f.SQL(engine.SQLite, engine.SQLColumns{ID: "id", Owner: "owner", BusinessUnit: "unit"})
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, "SELECT id FROM accounts WHERE "+where+" ORDER BY id", args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// accountsOverHTTP gets the same condition from /v1, for PostgreSQL.
func accountsOverHTTP(ctx context.Context, ambit, token, user string) (where string, args []string, err error) {
	var answer struct {
		SQL struct {
			Where string
			Args  []string
		}
	}
	err = post(ctx, ambit+"/v1/environments/sales/filter", token, map[string]any{
		"user": user, "action": "read", "table": "account",
		"sql": map[string]any{"dialect": "postgresql", "id": "id", "owner": "owner", "business_unit": "unit"},
	}, &answer)
	return answer.SQL.Where, answer.SQL.Args, err
}

func TestTheFourWaysToAskAgree(t *testing.T) {
	w := newWorld(t)
	w.put(access.BusinessUnit{Environment: sales, ID: "apac", Name: "APAC", Parent: "root", ManagedBy: access.ByFile},
		access.User{Environment: sales, ID: "dir:zoe", Login: "zoe", Name: "Zoe", BusinessUnit: "apac", Enabled: true, ManagedBy: access.ByMapping})
	token, err := w.issuer.Token("app", nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ambit, err := follow(ctx, w.store)
	require.NoError(t, err)
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "app.db"))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ExecContext(ctx, `CREATE TABLE accounts (id TEXT, owner TEXT, unit TEXT); INSERT INTO accounts VALUES ('1', 'user:dir:carla', 'emea'), ('2', 'user:dir:zoe', 'apac')`)
	require.NoError(t, err)
	found, err := accounts(ctx, ambit, db, "dir:amelie")
	require.NoError(t, err)
	require.Equal(t, []string{"1"}, found)
	where, args, err := accountsOverHTTP(ctx, w.url, token, "amelie")
	require.NoError(t, err)
	require.Contains(t, where, `"unit" = $`)
	require.Contains(t, args, "emea")
	for owner, want := range map[access.UserID]bool{"dir:carla": true, "dir:zoe": false} {
		for way, ask := range map[string]func() (bool, error){
			"library": func() (bool, error) {
				return mayRead(ambit, "dir:amelie", engine.Record{ID: "4711", Owner: owner.Principal()})
			},
			"HTTP":    func() (bool, error) { return mayReadOverHTTP(ctx, w.url, token, "amelie", owner.Principal().String()) },
			"AuthZEN": func() (bool, error) { return mayReadByAuthZEN(ctx, w.url, token, "amelie", owner.Principal().String()) },
		} {
			got, err := ask()
			require.NoError(t, err, way)
			require.Equal(t, want, got, "%s, %s", way, owner)
		}
	}
	_, err = mayReadOverHTTP(ctx, w.url, token, "nobody", "user:carla")
	require.ErrorContains(t, err, "422", "an error is not a deny")
}

func TestThePageAboutAskingShowsCodeThatRuns(t *testing.T) {
	page, err := os.ReadFile("../docs/asking.md")
	require.NoError(t, err)
	code, err := os.ReadFile("asking_test.go")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllSubmatch(page, -1)
	require.Len(t, blocks, 6)
	for _, b := range blocks {
		require.True(t, bytes.Contains(code, b[1]), "not in asking_test.go:\n%s", b[1])
	}
}

// The page names every type of problem that a question can have.
func TestThePageAboutAskingNamesTheProblems(t *testing.T) {
	page, err := os.ReadFile("../docs/asking.md")
	require.NoError(t, err)
	for _, slug := range []string{
		"cannot-judge", "environment-locked", "revision-unknown", "before-first-revision", "no-environment-then", "not-found", "forbidden",
		"operation-refused", "invalid-change", "cursor-invalid", "invalid-request", "unauthenticated", "managed-elsewhere",
	} {
		require.Contains(t, string(page), "`"+slug+"`")
	}
}
