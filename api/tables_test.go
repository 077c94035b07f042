package api_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
	"github.com/ambit-iam/ambit/store"
)

// TestTheDecisionTablesOverHTTP puts every organisation of the decision tables into
// the store, and every case to the API; and to AuthZEN, where it has a form for it.
// What the engine decides is not decided otherwise by what is around it.
func TestTheDecisionTablesOverHTTP(t *testing.T) {
	tables, err := enginetest.Tables("../testdata/decisions")
	require.NoError(t, err)
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) // of the cases that name no instant
	w := newWorldAt(t, noon)
	var now *access.State
	asked, evaluated := 0, 0
	for _, table := range tables {
		for _, c := range table.Cases {
			if c.Refused != "" { // its changes are, so there is nothing to ask
				continue
			}
			t.Run(table.File+"/"+c.Name, func(t *testing.T) {
				w.t = t
				if c.State != now {
					w.become(now, c.State)
					now = c.State
				}
				if c.Ruling != nil && !c.Ruling.At.Equal(noon) {
					t.Skip("operations are of now")
				}
				if c.Error != "" && strings.Contains(c.Error, "without its owning business unit") {
					t.Skip("over HTTP it is the owner's where it is absent")
				}
				asked++
				face := overHTTP{w, c.State}
				c.Run(t, face)
				if c.Ruling == nil && c.Columns == nil && c.FilteredBy == nil && c.Rights == nil && c.Who == nil && c.Question.At.Equal(noon) {
					evaluated++
					for _, q := range c.Questions() {
						face.evaluate(q, c)
					}
				}
			})
		}
	}
	w.t = t
	t.Logf("%d cases asked, %d of them by AuthZEN", asked, evaluated)
	require.Greater(t, asked, 300)
	require.Greater(t, evaluated, 200)
}

// become puts one organisation in the place of another, past the rules for changes:
// the tables have states that no changes make.
func (w *world) become(before, after *access.State) {
	w.t.Helper()
	var puts, removals []access.Change
	for _, o := range enginetest.Objects(after) {
		puts = append(puts, access.Put(o))
	}
	puts = append(puts, access.Put(after.Environment))
	if before != nil {
		for _, o := range enginetest.Objects(before) {
			removals = append(removals, access.Remove(o))
		}
		removals = append(removals, access.Remove(before.Environment))
	}
	for _, changes := range [][]access.Change{removals, puts} {
		newest, err := w.store.Newest(w.t.Context())
		require.NoError(w.t, err)
		_, err = w.store.Commit(w.t.Context(), store.Commit{Base: newest.Revision, At: w.wall, Changes: changes, Events: []audit.Event{
			{Actor: audit.Actor{Kind: audit.System, ID: "test"}, Operation: "test.become", Result: audit.Done},
		}})
		require.NoError(w.t, err)
		require.NoError(w.t, w.tenant.Follow(w.t.Context()))
	}
}

// overHTTP is the API as the subject of a decision table.
type overHTTP struct {
	*world
	state *access.State
}

func (o overHTTP) path(rest string) string {
	return "/v1/environments/" + url.PathEscape(string(o.state.Environment.ID)) + "/" + rest
}

// post asks; a problem is an error with its words.
func (o overHTTP) post(path string, body, answer any) error {
	got := o.as("app", "POST", path, body)
	if got.status >= 300 {
		p := got.problem(o.t)
		if slices.Contains([]int{http.StatusUnprocessableEntity, http.StatusLocked}, p.Status) {
			return errors.New(p.Detail)
		}
		require.Fail(o.t, "a problem that no question makes", "%s", got.body)
	}
	return json.Unmarshal(got.body, answer)
}

func record(r *engine.Record) *api.Record {
	if r == nil {
		return nil
	}
	out := &api.Record{ID: r.ID, BusinessUnit: string(r.BusinessUnit), Registered: r.Registered}
	if r.Owner != (access.Principal{}) {
		out.Owner = r.Owner.String()
	}
	return out
}

func spoken(q engine.Question) api.Asked {
	return api.Asked{Moment: api.Moment{At: q.At}, Question: api.Question{
		User: string(q.User), Action: q.Action, Table: string(q.Table), Record: record(q.Record), Privilege: q.Privilege,
		Channel: q.Channel, Impersonator: string(q.Impersonator), Columns: q.Columns,
	}}
}

func (o overHTTP) Check(q engine.Question) (engine.Decision, error) {
	var a api.Answer
	if err := o.post(o.path("check"), spoken(q), &a); err != nil {
		return engine.Decision{}, err
	}
	d := engine.Decision{Allowed: a.Allowed, Reason: a.Reason, OfImpersonator: a.OfImpersonator, ValidUntil: a.ValidUntil, Revision: a.Revision}
	if a.Depth != nil {
		d.Depth = *a.Depth
	}
	return d, nil
}

func (o overHTTP) Columns(q engine.Question) ([]enginetest.Column, error) {
	var a api.ColumnsAnswer
	if err := o.post(o.path("columns"), spoken(q), &a); err != nil {
		return nil, err
	}
	var out []enginetest.Column
	for _, c := range a.Columns {
		out = append(out, enginetest.Column{
			Name: c.Column, Read: c.Read, Update: c.Update, Create: c.Create, Unmasked: c.Unmasked, Mask: c.Mask,
			Alone: string(c.Shown), Listed: string(c.ShownInList),
		})
	}
	return out, nil
}

func (o overHTTP) Rights(q engine.Question) (access.Rights, error) {
	var a api.RightsAnswer
	err := o.post(o.path("rights"), spoken(q), &a)
	return a.Rights, err
}

func (o overHTTP) Who(q engine.Question) (found []access.UserID, err error) {
	ask := api.WhoQuestion{
		Action: q.Action, Table: q.Table, Record: record(q.Record), Privilege: q.Privilege, Channel: q.Channel, Limit: 2, Moment: api.Moment{At: q.At},
	}
	for {
		var a api.WhoAnswer
		if err := o.post(o.path("who"), ask, &a); err != nil {
			return nil, err
		}
		for _, u := range a.Users {
			found = append(found, access.UserID(u.ID))
		}
		if ask.Cursor = a.NextCursor; ask.Cursor == "" {
			return found, nil
		}
	}
}

func (o overHTTP) Filter(q engine.Question, by []string) (engine.Reason, error) {
	var a api.FilterAnswer
	err := o.post(o.path("filter"), api.FilterQuestion{
		User: string(q.User), Action: q.Action, Table: q.Table, Channel: q.Channel, Impersonator: string(q.Impersonator), By: by, Moment: api.Moment{At: q.At},
	}, &a)
	return a.Reason, err
}

// Rule asks by an operation's dry run, for the person.
func (o overHTTP) Rule(x enginetest.Ruling) (may bool, refusedBy string, err error) {
	body := object{"as": x.User, "dry_run": true}
	if x.Asks != "give" && !x.Record.Registered {
		body["record"] = record(&x.Record)
	}
	verb := x.Asks
	switch x.Asks {
	case "share":
		body["rights"], body["principal"] = x.Rights, access.Everybody.String()
	case "revoke":
		verb, body["principal"] = "unshare", x.Principal.String()
	case "assign":
		body["owner"] = x.Principal.String()
	case "set_unit":
		verb, body["business_unit"] = "move", x.Unit
	case "link":
		body["relationship"], body["parent"], body["creating"] = x.Relationship, x.Parent.ID, x.Creating
		if !x.Parent.Registered {
			body["parent_record"] = record(&x.Parent)
		}
	case "clear":
		verb, body["relationship"] = "unlink", x.Relationship
	case "add_to_template":
		verb, body["template"], body["user"] = "join", x.Template, x.User
	case "share_column":
		verb, body["column"], body["principal"] = "share-column", x.Column, access.Everybody.String()
		body["read"], body["update"] = x.Rights.Has(access.Read), x.Rights.Has(access.Write)
	case "give":
		body["to"], body["business_unit"] = x.User.Principal().String(), x.Unit
	default:
		return false, "", fmt.Errorf("no operation %q", x.Asks)
	}
	id := cmp.Or(string(x.Record.ID), "new")
	path := o.path("records/" + url.PathEscape(string(x.Table)) + "/" + url.PathEscape(id) + "/actions/" + verb)
	if x.Asks == "give" {
		path = o.path("roles/" + url.PathEscape(string(x.Role)) + "/actions/give")
	}
	got := o.as("admin", "POST", path, body)
	if got.status >= 300 {
		return false, "", errors.New(got.problem(o.t).Detail)
	}
	var out api.Outcome
	err = json.Unmarshal(got.body, &out)
	return out.Allowed, out.Rule, err
}

// evaluate puts the question to AuthZEN, which asks of now.
func (o overHTTP) evaluate(q engine.Question, c enginetest.Case) {
	resource := object{"type": q.Table}
	if q.Privilege != "" {
		resource = object{"type": "privilege", "id": q.Privilege}
	}
	if q.Record != nil {
		resource["id"] = q.Record.ID
		if !q.Record.Registered {
			properties := object{"business_unit": q.Record.BusinessUnit}
			if q.Record.Owner != (access.Principal{}) {
				properties["owner"] = q.Record.Owner.String()
			}
			resource["properties"] = properties
		}
	}
	got := o.as("app", "POST", "/pdp/"+url.PathEscape(string(o.state.Environment.ID))+"/access/v1/evaluation", object{
		"subject": object{"type": "user", "id": q.User}, "resource": resource, "action": object{"name": q.Action.String(), "properties": object{"columns": q.Columns}},
		"context": object{"channel": q.Channel, "impersonator": q.Impersonator},
	})
	if c.Error != "" {
		require.GreaterOrEqual(o.t, got.status, http.StatusBadRequest, "%s", got.body)
		return
	}
	var d struct {
		Decision bool
		Context  struct {
			Reason         engine.Reason
			OfImpersonator bool      `json:"of_impersonator"`
			ValidUntil     time.Time `json:"valid_until"`
		}
	}
	got.into(o.t, &d)
	require.Equal(o.t, c.Answer == engine.Allowed, d.Decision)
	require.Equal(o.t, c.Answer, d.Context.Reason)
	require.Equal(o.t, c.OfImpersonator, d.Context.OfImpersonator)
	require.True(o.t, c.Until.Equal(d.Context.ValidUntil))
}
