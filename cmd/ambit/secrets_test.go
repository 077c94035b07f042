package main

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/configs"
	"github.com/ambit-iam/ambit/store"
)

// TestRule_SEC_5_secrets_are_in_no_log_answer_or_event sends canaries as every
// kind of credential that a daemon is given, and looks for them.
func TestRule_SEC_5_secrets_are_in_no_log_answer_or_event(t *testing.T) {
	d, log := daemonOf(t, nil)
	defer func() { require.NoError(t, d.close()) }()
	written, err := os.ReadFile(d.config.BootstrapPath())
	require.NoError(t, err)
	info, err := os.Stat(d.config.BootstrapPath())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	bootstrap := strings.TrimSpace(string(written))

	var answers strings.Builder
	canaries := []string{"canary-4711", "eyJhbGciOiJub25lIn0.canary4712.", api.BootstrapPrefix + "canary-4713", bootstrap}
	for _, token := range canaries {
		for _, path := range []string{"/v1/audit/events", "/v1/bootstrap", "/metrics", "/nowhere"} {
			c := &client{http: &http.Client{Transport: inProcess{d.api.Handler()}}, base: "http://ambit", token: token}
			if err := c.do(t.Context(), "POST", path, map[string]string{"login": "zoe"}, nil); err != nil {
				answers.WriteString(err.Error())
			}
		}
	}
	local := &client{http: &http.Client{Transport: inProcess{d.api.LocalHandler(func(context.Context) string { return "test" })}}, base: "http://ambit"}
	var events struct{ Items []any }
	require.NoError(t, local.do(t.Context(), "GET", "/v1/audit/events", nil, &events))
	require.NotEmpty(t, events.Items)
	all, err := d.store.Audit(t.Context(), store.AuditQuery{})
	require.NoError(t, err)
	var audited strings.Builder
	for _, e := range all {
		audited.WriteString(e.Object + e.Reason + string(e.Detail) + e.Actor.ID + e.Actor.Name)
	}

	t.Setenv("CANARY_DSN", "postgres://ambit:canary-4714@127.0.0.1:1/x?sslmode=disable")
	broken := *d.config
	broken.Store = configs.Store{Postgres: &configs.PostgreSQL{DSN: "env:CANARY_DSN"}}
	_, err = openStore(t.Context(), &broken)
	require.Error(t, err)
	answers.WriteString(err.Error())
	t.Setenv("CANARY_DSN", "postgres://ambit:canary-4714@[::1:bad/x")
	_, err = openStore(t.Context(), &broken)
	require.Error(t, err)
	answers.WriteString(err.Error())

	for place, text := range map[string]string{"the log": log.String(), "an answer": answers.String(), "the audit log": audited.String()} {
		require.NotContains(t, text, "canary", place)
		require.NotContains(t, text, bootstrap, place)
	}
}
