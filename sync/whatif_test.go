package dirsync

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
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
	require.Equal(t, log, len(r.events()), "nor was anything noted")

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
