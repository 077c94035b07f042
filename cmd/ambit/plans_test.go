package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/api/oidctest"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/store"
	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/tenant"
)

// office is a daemon, spoken to over HTTP, that reads a file of people: sellers, who
// are in a team, and those who administer Ambit. It synchronizes when it is asked to.
type office struct {
	t      *testing.T
	d      *daemon
	issuer *oidctest.Issuer
	url    string
}

const (
	officeModel = `
environments:
  sales:
    business_units: {HQ: {}}
    tables: {account: {ownership: user_or_team}}
    roles:
      Salesperson: {privileges: {account: {read: business_unit}}}
      Sales Manager: {privileges: {account: {read: business_unit, write: business_unit, delete: business_unit}}}
`
	officeRules = `
environments: {ambit: {}, sales: {}}
rules:
  - name: staff
    match: {source: staff, users: 'true'}
    user: {environment: sales, business_unit: HQ, person: '{{ user.employee }}'}
  - name: keepers
    match: {source: staff, users: 'user.keeper == "yes"'}
    user: {environment: ambit, business_unit: Ambit, person: '{{ user.employee }}'}
  - name: sales teams
    match: {source: staff, group: 'Sales *'}
    team: {environment: sales, business_unit: HQ, roles: [Salesperson]}
  - name: administrators
    match: {source: staff, group: Administrators}
    team: {environment: ambit, business_unit: Ambit, roles: [Ambit Administrator]}
`
	// olga and otto administer Ambit, and everybody sells.
	officeStaff = `{"users": [
  {"id": "1", "userName": "olga", "displayName": "Olga", "keeper": "yes", "employee": "e1"},
  {"id": "2", "userName": "otto", "displayName": "Otto", "keeper": "yes", "employee": "e2"},
  {"id": "3", "userName": "ada", "displayName": "Ada", "employee": "e3"},
  {"id": "4", "userName": "ben", "displayName": "Ben", "employee": "e4"}],
 "groups": [
  {"id": "7", "displayName": "Administrators", "members": ["1", "2"]},
  {"id": "8", "displayName": "Sales HQ", "members": ["1", "2", "3", "4"]}]}`
)

func officeOf(t *testing.T) *office {
	t.Helper()
	o := &office{t: t}
	o.d, _, o.issuer = daemonBelieving(t, "{sqlite: ambit.db}", map[string]string{"model.yaml": officeModel, "mapping.yaml": officeRules, "staff.json": officeStaff}, `
model: [model.yaml]
sources:
  - id: staff
    file: {format: json, users: {paths: [staff.json]}, groups: {paths: [staff.json]}}
`)
	server := httptest.NewServer(o.d.api.Handler())
	t.Cleanup(func() {
		server.Close()
		require.NoError(t, o.d.close())
	})
	o.url = server.URL
	_, err := o.d.sync.Sync(t.Context(), dirsync.Options{})
	require.NoError(t, err)
	return o
}

// says has the source say something else.
func (o *office) says(staff string) {
	o.t.Helper()
	require.NoError(o.t, os.WriteFile(o.d.config.File("staff.json"), []byte(staff), 0o600))
}

// ask posts to the daemon as somebody.
func (o *office) ask(who, path string, body any) (status int, answer []byte) {
	o.t.Helper()
	token, err := o.issuer.Token(who, nil)
	require.NoError(o.t, err)
	text, err := json.Marshal(body)
	require.NoError(o.t, err)
	r, err := http.NewRequestWithContext(o.t.Context(), "POST", o.url+path, strings.NewReader(string(text)))
	require.NoError(o.t, err)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	got, err := http.DefaultClient.Do(r)
	require.NoError(o.t, err)
	defer got.Body.Close()
	answer, err = io.ReadAll(got.Body)
	require.NoError(o.t, err)
	return got.StatusCode, answer
}

// done is what comes of a request that succeeds.
func (o *office) done(who, path string, body any) (a api.SyncAnswer) {
	o.t.Helper()
	status, answer := o.ask(who, path, body)
	require.Equal(o.t, http.StatusOK, status, "%s", answer)
	require.NoError(o.t, json.Unmarshal(answer, &a))
	return a
}

// refused is the problem of a request that is refused, and that changes nothing.
func (o *office) refused(who, path string, body any, status int, kind string) *api.Problem {
	o.t.Helper()
	before := o.d.tenant.Revision()
	p := o.problem(who, path, body, status, kind)
	require.Equal(o.t, before, o.d.tenant.Revision(), "nothing is written")
	return p
}

// problem is that of a request that is refused.
func (o *office) problem(who, path string, body any, status int, kind string) *api.Problem {
	o.t.Helper()
	got, answer := o.ask(who, path, body)
	p := &api.Problem{}
	require.NoError(o.t, json.Unmarshal(answer, p), "%s", answer)
	require.Equal(o.t, status, got, "%s", answer)
	require.Equal(o.t, "urn:ambit:problem:"+kind, p.Type, "%s", p.Detail)
	return p
}

// teamSize is how many people are in the team of salespeople.
func (o *office) teamSize() (n int) {
	o.t.Helper()
	require.NoError(o.t, o.d.tenant.Read(func(v tenant.View) error {
		s, err := v.State("sales")
		n = len(s.Memberships)
		return err
	}))
	return n
}

func TestRule_PLAN_3_what_edited_files_would_do_is_asked_over_HTTP(t *testing.T) {
	o := officeOf(t)
	require.NoError(t, os.Remove(o.d.config.File("staff.json"))) // it is not asked
	before := o.d.tenant.Revision()
	edited := strings.Replace(officeRules, "[Salesperson]", "[Salesperson, Sales Manager]", 1)
	a := o.done("olga", "/v1/what-if", api.WhatIfRequest{Mapping: &api.FileText{Name: "edited.yaml", Text: edited}, Details: true})
	require.Equal(t, 1, a.Changes, "%s", a.Text)
	require.Contains(t, a.Text, "+ assignment Sales Manager to Sales HQ")
	require.Contains(t, a.Text, "Access gained")
	require.Contains(t, string(a.Plan), `"access":`)
	require.False(t, a.Applied)
	wide := strings.Replace(officeModel, "Salesperson: {privileges: {account: {read: business_unit}}}", "Salesperson: {privileges: {account: {read: organization}}}", 1)
	a = o.done("olga", "/v1/what-if", api.WhatIfRequest{Model: []api.FileText{{Name: "wide.yaml", Text: wide}}})
	require.Contains(t, a.Text, "~ role Salesperson")
	require.Zero(t, o.done("olga", "/v1/what-if", api.WhatIfRequest{}).Changes)
	require.Equal(t, before, o.d.tenant.Revision())

	p := o.refused("olga", "/v1/what-if", api.WhatIfRequest{Mapping: &api.FileText{Name: "edited.yaml", Text: strings.Replace(officeRules, "[Salesperson]", "[Salesprson]", 1)}}, http.StatusUnprocessableEntity, "invalid-files")
	require.Len(t, p.Errors, 1)
	require.Regexp(t, `^edited\.yaml:\d+:\d+$`, p.Errors[0].Pointer)
	require.Contains(t, p.Errors[0].Detail, `unknown role "Salesprson"`)
	_ = o.refused("ada", "/v1/what-if", api.WhatIfRequest{}, http.StatusForbidden, "forbidden")
}

func TestRule_PLAN_2_a_plan_that_the_mirror_has_left_behind_is_refused_over_HTTP(t *testing.T) {
	o := officeOf(t)
	o.says(strings.Replace(officeStaff, `"1", "2", "3", "4"`, `"1", "2", "3"`, 1))
	a := o.done("olga", "/v1/plan", api.SyncRequest{File: true})
	written, err := dirsync.ReadPlan("monday.plan", a.File)
	require.NoError(t, err)
	require.Equal(t, a.Digest, written.Digest)

	o.says(strings.Replace(officeStaff, `"1", "2", "3", "4"`, `"1", "2", "4"`, 1))
	o.done("otto", "/v1/plan", api.SyncRequest{}) // which reads
	p := o.refused("olga", "/v1/sync", api.SyncRequest{Plan: &written}, http.StatusConflict, "plan-moved")
	require.Contains(t, p.Detail, "source staff was read again")
	require.Contains(t, p.Members["hint"], "make the plan anew")
	require.Equal(t, 4, o.teamSize())

	o.says(strings.Replace(officeStaff, `"1", "2", "3", "4"`, `"1", "2", "3"`, 1))
	o.done("otto", "/v1/plan", api.SyncRequest{})
	require.True(t, o.done("olga", "/v1/sync", api.SyncRequest{Plan: &written}).Applied, "it is what a sync would do again")
	require.Equal(t, 3, o.teamSize())
	_ = o.refused("olga", "/v1/sync", api.SyncRequest{Plan: &written}, http.StatusConflict, "plan-moved")
}

func TestRule_PLAN_6_whoever_accepts_over_HTTP_says_why(t *testing.T) {
	o := officeOf(t)
	o.says(strings.Replace(officeStaff, `"1", "2", "3", "4"`, "", 1))
	status, body := o.ask("olga", "/v1/sync", api.SyncRequest{})
	require.Equal(t, http.StatusConflict, status, "%s", body)
	held := o.refused("olga", "/v1/sync", api.SyncRequest{}, http.StatusConflict, "plan-held")
	digest := fmt.Sprint(held.Members["digest"])
	require.Contains(t, held.Members["hint"], digest)
	for _, reason := range []string{"", " \t"} {
		p := o.refused("olga", "/v1/sync", api.SyncRequest{AcceptPlan: digest, Reason: reason}, http.StatusUnprocessableEntity, "reason-required")
		require.Contains(t, p.Members["hint"], "--reason")
	}
	other := "sha256:" + strings.Repeat("0", 64)
	p := o.refused("olga", "/v1/sync", api.SyncRequest{AcceptPlan: other, Reason: "dissolved"}, http.StatusConflict, "plan-held")
	require.Contains(t, p.Detail, "not the accepted one any more: it is "+digest)
	_ = o.refused("ada", "/v1/sync", api.SyncRequest{AcceptPlan: digest, Reason: "dissolved"}, http.StatusForbidden, "forbidden")
	require.Equal(t, 4, o.teamSize())
	require.True(t, o.done("olga", "/v1/sync", api.SyncRequest{AcceptPlan: digest, Reason: "dissolved"}).Applied)
	require.Zero(t, o.teamSize())
	events, err := o.d.store.Audit(t.Context(), store.AuditQuery{Operation: "sync.plan.accepted"})
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.Equal(t, "dissolved", events[0].Reason)
	require.Equal(t, audit.User, events[0].Actor.Kind)
}

// TestRule_SEC_12_nobody_accepts_a_plan_that_gives_them_more lets somebody who
// administers Ambit edit the mapping, and accept what comes of it: as the person who
// has more by it, by the same account and by another one of theirs, and as somebody
// else.
func TestRule_SEC_12_nobody_accepts_a_plan_that_gives_them_more(t *testing.T) {
	for name, c := range map[string]struct{ member, account string }{
		"by the same account":          {"1", "staff:1"},
		"by another of their accounts": {"5", "staff:5"},
	} {
		t.Run(name, func(t *testing.T) {
			o := officeOf(t)
			staff := strings.Replace(officeStaff, `"employee": "e4"}]`, `"employee": "e4"},
  {"id": "5", "userName": "olga.second", "displayName": "Olga, too", "employee": "e1"}]`, 1)
			require.NotEqual(t, officeStaff, staff)
			o.says(strings.Replace(staff, `"groups": [`, `"groups": [{"id": "9", "displayName": "Managers", "members": []},`, 1))
			o.done("olga", "/v1/sync", api.SyncRequest{})
			edited := officeRules + `
  - name: managers
    match: {source: staff, group: Managers}
    team: {environment: sales, business_unit: HQ, roles: [Sales Manager]}
guards: {privileged: {roles: [Sales Manager], max: 0}}
`
			require.NoError(t, os.WriteFile(o.d.config.File("mapping.yaml"), []byte(edited), 0o600))
			require.NoError(t, o.d.reload())
			o.done("olga", "/v1/sync", api.SyncRequest{})
			o.says(strings.Replace(staff, `"groups": [`, `"groups": [{"id": "9", "displayName": "Managers", "members": ["`+c.member+`"]},`, 1))
			_ = o.problem("olga", "/v1/sync", api.SyncRequest{}, http.StatusConflict, "plan-held")
			digest := fmt.Sprint(o.refused("otto", "/v1/sync", api.SyncRequest{}, http.StatusConflict, "plan-held").Members["digest"])
			accept := api.SyncRequest{AcceptPlan: digest, Reason: "she is the new manager"}
			p := o.problem("olga", "/v1/sync", accept, http.StatusForbidden, "self-approval")
			require.Contains(t, p.Detail, "in environment sales")
			require.Contains(t, fmt.Sprint(p.Members["accounts"]), c.account)
			require.Equal(t, []any{"otto"}, p.Members["may"])
			require.Contains(t, p.Members["hint"], "ask otto")
			require.Equal(t, dirsync.PlanHeld, o.d.sync.Status().Plan.State)
			events, err := o.d.store.Audit(t.Context(), store.AuditQuery{Operation: "sync.acceptance.refused"})
			require.NoError(t, err)
			require.Len(t, events, 1)
			require.Equal(t, audit.Refused, events[0].Result)
			require.Equal(t, "staff:1", events[0].Actor.ID)
			require.True(t, o.done("otto", "/v1/sync", accept).Applied, "for whom it changes nothing")
		})
	}
}

// TestRule_SEC_12_where_everybody_gains_the_host_accepts accepts what gives all who
// could accept more, on the host itself.
func TestRule_SEC_12_where_everybody_gains_the_host_accepts(t *testing.T) {
	o := officeOf(t)
	edited := strings.Replace(officeRules, "[Salesperson]", "[Salesperson, Sales Manager]", 1) + "guards: {privileged: {roles: [Sales Manager], max: 0}}\n"
	require.NoError(t, os.WriteFile(o.d.config.File("mapping.yaml"), []byte(edited), 0o600))
	require.NoError(t, o.d.reload())
	_ = o.problem("olga", "/v1/sync", api.SyncRequest{}, http.StatusConflict, "plan-held")
	digest := fmt.Sprint(o.refused("olga", "/v1/sync", api.SyncRequest{}, http.StatusConflict, "plan-held").Members["digest"])
	accept := api.SyncRequest{AcceptPlan: digest, Reason: "all are managers now"}
	p := o.problem("otto", "/v1/sync", accept, http.StatusForbidden, "self-approval")
	require.Empty(t, p.Members["may"])
	require.Contains(t, p.Members["hint"], "whoever runs Ambit's server may")

	local := httptest.NewServer(o.d.api.LocalHandler(func(context.Context) string { return "root" }))
	defer local.Close()
	o.url = local.URL
	require.True(t, o.done("", "/v1/sync", accept).Applied)
}
