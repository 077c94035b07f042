package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/api/oidctest"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/jit"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/store/sqlite"
	"github.com/ambit-iam/ambit/store/sqlstore"
	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/tenant"
)

// world is a server over a real SQLite store and a real issuer, with one
// environment "sales": amelie may read accounts of her unit, bruno approves.
type world struct {
	t      *testing.T
	store  *sqlstore.DB
	tenant *tenant.Tenant
	issuer *oidctest.Issuer
	api    *api.Server
	url    string
	source string // of which the user claim holds ids; empty: it holds sign-in names
	wall   time.Time
	mono   time.Duration
	sync   api.Synchronizer
	// answerable is why no environment is answered for.
	answerable error
	// viewed, if set, is called once for each time that a question looks at the newest
	// state, while it does.
	viewed func()
}

const audience = "ambit-test"

func newWorld(t *testing.T, without ...access.UserID) *world {
	t.Helper()
	return newWorldAt(t, time.Now(), without...)
}

func newWorldAt(t *testing.T, now time.Time, without ...access.UserID) *world {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	w := &world{t: t, wall: now, sync: still{}}
	var err error
	w.issuer, err = oidctest.Start(dir, audience)
	require.NoError(t, err)
	t.Cleanup(w.issuer.Close)
	w.store, err = sqlite.Open(ctx, filepath.Join(dir, "ambit.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.store.Close()) })
	w.tenant, err = tenant.Open(ctx, w.store, tenant.Options{
		React:   jit.React,
		Wall:    func() time.Time { return w.wall },
		Elapsed: func() time.Duration { return w.mono },
	})
	require.NoError(t, err)
	w.put(slices.DeleteFunc(objects(), func(o access.Object) bool {
		switch o := o.(type) {
		case access.User:
			return slices.Contains(without, o.ID)
		case access.Assignment:
			return slices.Contains(without, access.UserID(o.Principal.ID))
		}
		return false
	})...)
	w.serve(w.store, nil)
	return w
}

// serve starts the server over a store, logging to log if it is not nil.
func (w *world) serve(over api.Store, log io.Writer) {
	w.t.Helper()
	var logger *slog.Logger
	if log != nil {
		logger = slog.New(slog.NewTextHandler(log, nil))
	}
	var err error
	w.api, err = api.New(api.Options{
		Tenant: w.tenant, Store: over, Sync: w.sync, Version: "test", Logger: logger,
		Answerable: func(access.EnvironmentID, time.Time) error {
			if w.viewed != nil {
				w.viewed()
			}
			return w.answerable
		},
		Authentication: &api.Authentication{
			Issuer: w.issuer.URL, Audience: audience, Algorithms: []string{"ES256"}, UserClaim: "preferred_username", Source: w.source, CAFile: w.issuer.CAFile,
		},
	})
	require.NoError(w.t, err)
	server := httptest.NewServer(w.api.Handler())
	w.t.Cleanup(server.Close)
	w.url = server.URL
}

// pass lets the world's clock go on.
func (w *world) pass(d time.Duration) { w.wall, w.mono = w.wall.Add(d), w.mono+d }

func (w *world) put(all ...access.Object) {
	w.t.Helper()
	_, err := w.tenant.Update(context.Background(), func(tenant.View) (tenant.Changeset, error) {
		set := tenant.Changeset{Events: []audit.Event{{Actor: audit.Actor{Kind: audit.System, ID: "test"}, Operation: "test.prepare", Result: audit.Done}}}
		for _, o := range all {
			set.Changes = append(set.Changes, access.Put(o))
		}
		return set, nil
	})
	require.NoError(w.t, err)
}

const sales access.EnvironmentID = "sales"

func objects() []access.Object {
	all := model.Ambit()
	all = append(all,
		access.Environment{ID: sales, Name: "Sales", ManagedBy: access.ByFile},
		access.BusinessUnit{Environment: sales, ID: "root", Name: "Root", ManagedBy: access.ByFile},
		access.BusinessUnit{Environment: sales, ID: "emea", Name: "EMEA", Parent: "root", ManagedBy: access.ByFile},
		access.Table{Environment: sales, ID: "account", Name: "Account", ManagedBy: access.ByFile},
		access.Role{
			Environment: sales, ID: "salesperson", Name: "Salesperson", BusinessUnit: "root", ManagedBy: access.ByFile,
			Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: access.Local}, {Table: "account", Action: access.Write, Depth: access.Basic}},
		},
		access.Role{
			Environment: sales, ID: "manager", Name: "Sales Manager", BusinessUnit: "root", ManagedBy: access.ByFile,
			Privileges: []access.Privilege{{Table: "account", Action: access.Write, Depth: access.Local}, {Table: "account", Action: access.Delete, Depth: access.Local}},
		},
	)
	for _, login := range []string{"amelie", "bruno", "carla", "dora"} {
		all = append(all,
			access.User{Environment: sales, ID: access.UserID("dir:" + login), Login: login, Name: strings.ToUpper(login[:1]) + login[1:], BusinessUnit: "emea", Enabled: true, ManagedBy: access.ByMapping},
			access.Assignment{Environment: sales, ID: access.AssignmentID("sales-" + login), Role: "salesperson", Principal: access.UserID("dir:" + login).Principal(), BusinessUnit: "emea", ManagedBy: access.ByMapping},
		)
	}
	for login, role := range map[string]access.RoleID{"admin": model.RoleAdministrator, "auditor": model.RoleAuditor, "app": model.RoleDecisionReader} {
		all = append(all,
			access.User{Environment: access.AmbitEnvironment, ID: access.UserID("dir:" + login), Login: login, Name: login, BusinessUnit: model.AmbitUnit, Enabled: true, ManagedBy: access.ByMapping},
			access.Assignment{Environment: access.AmbitEnvironment, ID: access.AssignmentID(login), Role: role, Principal: access.UserID("dir:" + login).Principal(), BusinessUnit: model.AmbitUnit, ManagedBy: access.ByMapping},
		)
	}
	return append(all, jit.Policy{
		Environment: sales, ID: "pol_manager", Version: 1, Name: "Managers for a while", Role: "manager", Scope: jit.Scope{BusinessUnit: "root", Subtree: true},
		Eligible: []jit.Subject{{User: "dir:amelie"}, {User: "dir:bruno"}}, Stages: []jit.Stage{{Approvers: []jit.Subject{{User: "dir:amelie"}, {User: "dir:bruno"}, {User: "dir:dora"}}, Quorum: 1}},
		MinDuration: jit.Duration(time.Second), MaxDuration: jit.Duration(8 * time.Hour), DefaultDuration: jit.Duration(time.Hour), PendingTTL: jit.Duration(24 * time.Hour),
		MaxDirectoryAge: jit.Duration(2 * time.Hour), JustificationMin: 10, Late: jit.Truncate, DenyQuorum: 1, ManagedBy: access.ByFile,
	})
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) problem(t *testing.T) *api.Problem {
	t.Helper()
	require.Equal(t, "application/problem+json", a.header.Get("Content-Type"), "%s", a.body)
	p := &api.Problem{}
	require.NoError(t, json.Unmarshal(a.body, p))
	require.Equal(t, a.status, p.Status)
	require.NotEmpty(t, p.Detail)
	return p
}

func (a answer) into(t *testing.T, v any) {
	t.Helper()
	require.Less(t, a.status, 300, "%s", a.body)
	require.NoError(t, json.Unmarshal(a.body, v))
}

// as sends a request with a token of the user's; "" sends none.
func (w *world) as(user, method, path string, body any, header ...string) answer {
	w.t.Helper()
	if user == "" {
		return w.send("", method, path, body, header...)
	}
	token, err := w.issuer.Token(user, map[string]any{"iat": w.wall.Unix(), "nbf": w.wall.Unix(), "exp": w.tenant.Now().Add(time.Hour).Unix()})
	require.NoError(w.t, err)
	return w.send(token, method, path, body, header...)
}

func (w *world) send(token, method, path string, body any, header ...string) answer {
	w.t.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	case io.Reader:
		content = b
	default:
		raw, err := json.Marshal(body)
		require.NoError(w.t, err)
		content = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, content)
	require.NoError(w.t, err)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	got, err := http.DefaultClient.Do(r)
	require.NoError(w.t, err)
	defer got.Body.Close()
	raw, err := io.ReadAll(got.Body)
	require.NoError(w.t, err)
	return answer{got.StatusCode, got.Header, raw}
}

// still is a synchronization that has no sources and never changes anything.
type still struct{}

func (still) Verify(context.Context, dirsync.VerifyOptions) (dirsync.VerifyReport, error) {
	return dirsync.VerifyReport{}, dirsync.ErrNotLeading
}

func (still) Live(_ context.Context, q dirsync.LiveQuestion) (dirsync.LiveAnswer, error) {
	return dirsync.LiveAnswer{Source: q.Source, Kind: q.Kind, Object: dirsync.LiveObject{ID: directory.ObjectID(q.Name), Name: q.Name}}, nil
}

func (still) Plan(context.Context, dirsync.Options) (dirsync.Report, error) {
	return dirsync.Report{Plan: &dirsync.Plan{}}, nil
}

func (still) Sync(context.Context, dirsync.Options) (dirsync.Report, error) {
	return dirsync.Report{Plan: &dirsync.Plan{}}, nil
}

func (still) WhatIf(context.Context, *api.FileText, []api.FileText) (*dirsync.Plan, error) {
	return &dirsync.Plan{}, nil
}
func (still) Status() dirsync.Status                      { return dirsync.Status{} }
func (still) Persons(access.EnvironmentID) bool           { return false }
func (still) Age(string, time.Time) (time.Duration, bool) { return 0, true }
