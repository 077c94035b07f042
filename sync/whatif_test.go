package dirsync

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
)

// whatIf plans with edited files, which do not stay.
func (r *rig) whatIf(modelText, rulesText string) (*Plan, string) {
	r.t.Helper()
	m, rules := r.model, r.rules
	r.model, r.rules = modelText, rulesText
	c := r.config()
	r.model, r.rules = m, rules
	plan, err := r.sync.WhatIf(r.t.Context(), c)
	require.NoError(r.t, err)
	return plan, r.text(plan)
}

func TestRule_PLAN_3_what_if_asks_no_source_and_applies_nothing(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	r.source.says(directory.Full, company()...)
	r.mustSync()
	before, reads, log := r.everything(), len(r.source.calls), len(r.events())

	edited := strings.Replace(rulesFile, "roles: [Salesperson]", "roles: [Manager]", 1)
	plan, text := r.whatIf(modelFile, edited)
	require.Contains(t, text, "+ assignment Manager to sales-north")
	require.Contains(t, text, "Access lost")
	require.Equal(t, 2, plan.Len(), "one role for the other")

	plan, text = r.whatIf(modelFile, rulesFile)
	require.True(t, plan.Empty())
	require.Contains(t, text, "as the directories and these files say")

	// The rule for people matches nobody any more: held, but for no person to accept.
	_, text = r.whatIf(modelFile, strings.Replace(rulesFile, "has(user.ou)", `user.shoe == "43"`, 1)+"guards: {remove_users: {max: 0}}")
	require.Contains(t, text, "A sync with these files would be held")
	require.NotContains(t, text, "--accept-plan")
	require.Contains(t, text, `source "corp" has not been asked for shoe`)

	require.Len(t, r.source.calls, reads, "no source was asked")
	require.Equal(t, before, r.everything())
	require.Len(t, r.events(), log, "nor was anything noted")

	// What comes next is as if nobody had asked.
	r.source.says(directory.Delta, directory.Page{Members: []directory.Members{{Group: "g", Remove: []directory.Ref{"dn:cn=ann"}}}})
	_, err := r.sync.Plan(t.Context(), Options{})
	require.NoError(t, err)
	r.whatIf(modelFile, edited)
	r.source.says(directory.Delta)
	r.mustSync()
	require.Equal(t, []string{"corp:b"}, r.group())
	require.Len(t, r.lines(access.KindAssignment), 3)
}

func TestWhatIfOfAModel(t *testing.T) {
	r := newRig(t, modelFile, rulesFile)
	r.source.says(directory.Full, company()...)
	r.mustSync()
	_, text := r.whatIf(strings.Replace(modelFile, "read: business_unit", "read: organization", 1), rulesFile)
	require.Contains(t, text, "~ role Salesperson")
	require.Contains(t, text, "Access gained")
}

// fileEdits are what is written in the property's files, and instead.
var fileEdits = [][2]string{
	{"roles: [Salesperson, Manager]", "roles: [Manager]"},
	{"roles: [Salesperson, Manager]", "roles: []"},
	{"group: 'sales-*'", "group: '*'"},
	{"nested: true, roles", "nested: false, roles"},
	{"business_unit: North", "business_unit: South"},
	{"name: teams", "name: groups"},
	{"'has(user.ou)'", "'user.ou == \"North\"'"},
	{"'has(user.ou)'", "'user.enabled'"},
	{"manager: '{{ user.manager }}'", "manager: '', login: '{{ user.ou }}-{{ user.userName }}'"},
	{"{source: corp, group: Gate, nested: all}", "{source: corp, group: Gate, nested: none}"},
	{"read: business_unit", "read: organization"},
	{"members: [ann]", "members: [bob, u1]"},
	{"role: Manager, user: bob", "role: Salesperson, user: u2"},
	{"South: {}", "South: {}, West: {}"},
	{"      Salesperson: {", "      Seller: {privileges: {account: {read: user}}}\n      Salesperson: {"},
	{"  - name: teams", "  - {name: more, match: {source: corp, group: 'sales-x'}, team: {environment: sales, business_unit: HQ, membership: members, roles: [Manager]}}\n  - name: teams"},
}

// What a mapping and model would do is what a sync does that has them from the
// start, to the byte, and leaves no trace in what the sync does next.
func TestRule_PLAN_3_what_if_says_what_a_sync_with_the_files_would(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t, modelFile, propertyRules)
		w := world{}
		for step := range rapid.IntRange(1, 2).Draw(rt, "steps") {
			w = drawStep(rt, r, w, step > 0)
			read, err := r.sync.Plan(t.Context(), Options{})
			require.NoError(rt, err)
			if rapid.Bool().Draw(rt, "apply") {
				_, err := r.sync.Sync(t.Context(), Options{NoRead: true, Accept: read.Plan.Digest(), Reason: "it is meant", Actor: audit.Actor{Kind: audit.Local}})
				if err != nil {
					require.ErrorIs(rt, err, ErrHeld)
				}
			}
			inForce := r.config()
			modelText, rulesText := r.model, r.rules
			for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(fileEdits)-1), 0, 3, rapid.ID).Draw(rt, "edits") {
				e := fileEdits[i]
				r.model, r.rules = strings.Replace(r.model, e[0], e[1], 1), strings.Replace(r.rules, e[0], e[1], 1)
			}
			edited := r.config()
			r.model, r.rules = modelText, rulesText

			plan, err := r.sync.WhatIf(t.Context(), edited)
			require.NoError(rt, err)
			got, err := plan.JSON(noon)
			require.NoError(rt, err)
			fresh, err := New(r.db, r.tenant, edited, SyncerOptions{}).Plan(t.Context(), Options{NoRead: true})
			require.NoError(rt, err)
			fresh.Plan.Findings = append(fresh.Plan.Findings, r.sync.notRead(edited.Rules)...)
			sortFindings(fresh.Plan.Findings)
			want, err := fresh.Plan.JSON(noon)
			require.NoError(rt, err)
			require.Equal(rt, string(want), string(got))

			next, err := r.sync.Plan(t.Context(), Options{NoRead: true})
			require.NoError(rt, err)
			fresh, err = New(r.db, r.tenant, inForce, SyncerOptions{}).Plan(t.Context(), Options{NoRead: true})
			require.NoError(rt, err)
			got, err = next.Plan.JSON(noon)
			require.NoError(rt, err)
			want, err = fresh.Plan.JSON(noon)
			require.NoError(rt, err)
			require.Equal(rt, string(want), string(got))
		}
	})
}
