package engine_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
)

var decisions = sync.OnceValues(func() ([]enginetest.Table, error) { return enginetest.Tables("../testdata/decisions") })

// rule runs every case of the decision tables that shows the rule.
func rule(t *testing.T, id string) {
	tables, err := decisions()
	require.NoError(t, err)
	ran := 0
	for _, table := range tables {
		for _, c := range table.Cases {
			if c.Rule != id {
				continue
			}
			ran++
			t.Run(table.File+"/"+c.Name, func(t *testing.T) {
				s, err := engine.New(c.State, 1)
				require.NoError(t, err)
				c.Run(t, subject{s})
				if c.Refused == "" && c.Ruling == nil && c.FilteredBy == nil && c.Answer != engine.Unknown {
					for _, q := range c.Questions() {
						agree(t, s, enginetest.Reference{State: c.State, Revision: 1}, q)
						explained(t, s, c, q)
						filtered(t, s, c, q)
					}
				}
			})
		}
	}
	require.NotZero(t, ran, "no decision table has a case of rule %s", id)
}

// explained fails unless Explain gives the decision, and what the case says of its
// origins or of what is missing.
func explained(t *testing.T, s *engine.Snapshot, c enginetest.Case, q engine.Question) {
	e, err := s.Explain(q, 0)
	require.NoError(t, err)
	d, err := s.Check(q)
	require.NoError(t, err)
	require.Equal(t, d, e.Decision)
	if len(c.By) > 0 {
		require.True(t, slices.ContainsFunc(e.Origins, func(o engine.Origin) bool {
			return !slices.ContainsFunc(c.By, func(r string) bool { return !slices.Contains(o.Rules, r) })
		}), "no origin rests on all of %v:\n%s", c.By, e)
	}
	if c.Missing != nil {
		var got []string
		for _, m := range e.Missing {
			got = append(got, m.String())
		}
		require.Equal(t, c.Missing, got[:min(len(got), len(c.Missing))])
	}
}

// filtered fails unless the filter selects the case's record exactly when it is
// allowed (Rule EVAL-7).
func filtered(t *testing.T, s *engine.Snapshot, c enginetest.Case, q engine.Question) {
	if q.Record == nil || q.Record.Registered || q.Action == access.Create || len(q.Columns) > 0 {
		return
	}
	f, err := s.Filter(filterOf(q, nil))
	require.NoError(t, err)
	require.Equal(t, c.Answer == engine.Allowed, f.Selects(*q.Record), "%+v", f)
}

func TestRule_OWN_1(t *testing.T)    { rule(t, "OWN-1") }
func TestRule_OWN_2(t *testing.T)    { rule(t, "OWN-2") }
func TestRule_OWN_3(t *testing.T)    { rule(t, "OWN-3") }
func TestRule_OWN_4(t *testing.T)    { rule(t, "OWN-4") }
func TestRule_OWN_5(t *testing.T)    { rule(t, "OWN-5") }
func TestRule_OWN_6(t *testing.T)    { rule(t, "OWN-6") }
func TestRule_OWN_7(t *testing.T)    { rule(t, "OWN-7") }
func TestRule_OWN_8(t *testing.T)    { rule(t, "OWN-8") }
func TestRule_OWN_9(t *testing.T)    { rule(t, "OWN-9") }
func TestRule_OWN_10(t *testing.T)   { rule(t, "OWN-10") }
func TestRule_OWN_11(t *testing.T)   { rule(t, "OWN-11") }
func TestRule_OWN_12(t *testing.T)   { rule(t, "OWN-12") }
func TestRule_OWN_13(t *testing.T)   { rule(t, "OWN-13") }
func TestRule_OWN_14(t *testing.T)   { rule(t, "OWN-14") }
func TestRule_BU_1(t *testing.T)     { rule(t, "BU-1") }
func TestRule_BU_2(t *testing.T)     { rule(t, "BU-2") }
func TestRule_BU_3(t *testing.T)     { rule(t, "BU-3") }
func TestRule_BU_4(t *testing.T)     { rule(t, "BU-4") }
func TestRule_BU_5(t *testing.T)     { rule(t, "BU-5") }
func TestRule_BU_6(t *testing.T)     { rule(t, "BU-6") }
func TestRule_BU_7(t *testing.T)     { rule(t, "BU-7") }
func TestRule_BU_8(t *testing.T)     { rule(t, "BU-8") }
func TestRule_BU_9(t *testing.T)     { rule(t, "BU-9") }
func TestRule_BU_10(t *testing.T)    { rule(t, "BU-10") }
func TestRule_BU_11(t *testing.T)    { rule(t, "BU-11") }
func TestRule_ROLE_1(t *testing.T)   { rule(t, "ROLE-1") }
func TestRule_ROLE_2(t *testing.T)   { rule(t, "ROLE-2") }
func TestRule_ROLE_3(t *testing.T)   { rule(t, "ROLE-3") }
func TestRule_ROLE_4(t *testing.T)   { rule(t, "ROLE-4") }
func TestRule_ROLE_5(t *testing.T)   { rule(t, "ROLE-5") }
func TestRule_ROLE_6(t *testing.T)   { rule(t, "ROLE-6") }
func TestRule_ROLE_7(t *testing.T)   { rule(t, "ROLE-7") }
func TestRule_ROLE_8(t *testing.T)   { rule(t, "ROLE-8") }
func TestRule_ROLE_9(t *testing.T)   { rule(t, "ROLE-9") }
func TestRule_ROLE_10(t *testing.T)  { rule(t, "ROLE-10") }
func TestRule_ROLE_11(t *testing.T)  { rule(t, "ROLE-11") }
func TestRule_ROLE_12(t *testing.T)  { rule(t, "ROLE-12") }
func TestRule_ROLE_13(t *testing.T)  { rule(t, "ROLE-13") }
func TestRule_ROLE_14(t *testing.T)  { rule(t, "ROLE-14") }
func TestRule_ROLE_15(t *testing.T)  { rule(t, "ROLE-15") }
func TestRule_TEAM_1(t *testing.T)   { rule(t, "TEAM-1") }
func TestRule_TEAM_2(t *testing.T)   { rule(t, "TEAM-2") }
func TestRule_TEAM_3(t *testing.T)   { rule(t, "TEAM-3") }
func TestRule_TEAM_5(t *testing.T)   { rule(t, "TEAM-5") }
func TestRule_TEAM_6(t *testing.T)   { rule(t, "TEAM-6") }
func TestRule_TEAM_7(t *testing.T)   { rule(t, "TEAM-7") }
func TestRule_TEAM_8(t *testing.T)   { rule(t, "TEAM-8") }
func TestRule_TEAM_9(t *testing.T)   { rule(t, "TEAM-9") }
func TestRule_TEAM_10(t *testing.T)  { rule(t, "TEAM-10") }
func TestRule_SHARE_1(t *testing.T)  { rule(t, "SHARE-1") }
func TestRule_SHARE_2(t *testing.T)  { rule(t, "SHARE-2") }
func TestRule_SHARE_3(t *testing.T)  { rule(t, "SHARE-3") }
func TestRule_SHARE_4(t *testing.T)  { rule(t, "SHARE-4") }
func TestRule_SHARE_5(t *testing.T)  { rule(t, "SHARE-5") }
func TestRule_SHARE_6(t *testing.T)  { rule(t, "SHARE-6") }
func TestRule_SHARE_7(t *testing.T)  { rule(t, "SHARE-7") }
func TestRule_SHARE_8(t *testing.T)  { rule(t, "SHARE-8") }
func TestRule_SHARE_9(t *testing.T)  { rule(t, "SHARE-9") }
func TestRule_SHARE_10(t *testing.T) { rule(t, "SHARE-10") }
func TestRule_REL_1(t *testing.T)    { rule(t, "REL-1") }
func TestRule_REL_2(t *testing.T)    { rule(t, "REL-2") }
func TestRule_REL_3(t *testing.T)    { rule(t, "REL-3") }
func TestRule_EVAL_1(t *testing.T)   { rule(t, "EVAL-1") }
func TestRule_EVAL_2(t *testing.T)   { rule(t, "EVAL-2") }
func TestRule_EVAL_3(t *testing.T)   { rule(t, "EVAL-3") }
func TestRule_EVAL_4(t *testing.T)   { rule(t, "EVAL-4") }
func TestRule_EVAL_5(t *testing.T)   { rule(t, "EVAL-5") }
func TestRule_EVAL_6(t *testing.T)   { rule(t, "EVAL-6") }
func TestRule_EVAL_7(t *testing.T)   { rule(t, "EVAL-7") }
func TestRule_EVAL_8(t *testing.T)   { rule(t, "EVAL-8") }
func TestRule_EVAL_9(t *testing.T)   { rule(t, "EVAL-9") }
func TestRule_EVAL_10(t *testing.T)  { rule(t, "EVAL-10") }
func TestRule_EVAL_11(t *testing.T)  { rule(t, "EVAL-11") }
func TestRule_FLS_1(t *testing.T)    { rule(t, "FLS-1") }
func TestRule_FLS_2(t *testing.T)    { rule(t, "FLS-2") }
func TestRule_FLS_3(t *testing.T)    { rule(t, "FLS-3") }
func TestRule_FLS_4(t *testing.T)    { rule(t, "FLS-4") }
func TestRule_FLS_5(t *testing.T)    { rule(t, "FLS-5") }
func TestRule_FLS_6(t *testing.T)    { rule(t, "FLS-6") }
func TestRule_FLS_7(t *testing.T)    { rule(t, "FLS-7") }
func TestRule_FLS_8(t *testing.T)    { rule(t, "FLS-8") }
func TestRule_FLS_9(t *testing.T)    { rule(t, "FLS-9") }
func TestRule_HIER_1(t *testing.T)   { rule(t, "HIER-1") }
func TestRule_HIER_2(t *testing.T)   { rule(t, "HIER-2") }
func TestRule_HIER_3(t *testing.T)   { rule(t, "HIER-3") }
func TestRule_HIER_4(t *testing.T)   { rule(t, "HIER-4") }
func TestRule_HIER_5(t *testing.T)   { rule(t, "HIER-5") }
func TestRule_HIER_6(t *testing.T)   { rule(t, "HIER-6") }
func TestRule_HIER_7(t *testing.T)   { rule(t, "HIER-7") }
func TestRule_HIER_8(t *testing.T)   { rule(t, "HIER-8") }
func TestRule_HIER_9(t *testing.T)   { rule(t, "HIER-9") }
func TestRule_ESG_1(t *testing.T)    { rule(t, "ESG-1") }
func TestRule_ESG_3(t *testing.T)    { rule(t, "ESG-3") }
func TestRule_ESG_5(t *testing.T)    { rule(t, "ESG-5") }
func TestRule_LIC_1(t *testing.T)    { rule(t, "LIC-1") }
func TestRule_ACC_1(t *testing.T)    { rule(t, "ACC-1") }
func TestRule_ACC_2(t *testing.T)    { rule(t, "ACC-2") }
func TestRule_ACC_3(t *testing.T)    { rule(t, "ACC-3") }
func TestRule_ACC_4(t *testing.T)    { rule(t, "ACC-4") }
func TestRule_ACC_5(t *testing.T)    { rule(t, "ACC-5") }
func TestRule_JIT_E_1(t *testing.T)  { rule(t, "JIT-E-1") }
func TestRule_JIT_E_2(t *testing.T)  { rule(t, "JIT-E-2") }
func TestRule_JIT_E_3(t *testing.T)  { rule(t, "JIT-E-3") }
func TestRule_JIT_E_4(t *testing.T)  { rule(t, "JIT-E-4") }
func TestRule_CMK_3(t *testing.T)    { rule(t, "CMK-3") }
func TestRule_JIT_24(t *testing.T)   { rule(t, "JIT-24") }
func TestRule_JIT_25(t *testing.T)   { rule(t, "JIT-25") }
func TestRule_JIT_62(t *testing.T)   { rule(t, "JIT-62") }

// ruled finds the rules whose cases a test of this file runs.
var ruled = regexp.MustCompile(`rule\(t, "([A-Z]+(?:-E)?-\d+)"\)`)

func TestEveryCaseOfTheTablesBelongsToATest(t *testing.T) {
	src, err := os.ReadFile("decisions_test.go")
	require.NoError(t, err)
	tested := map[string]bool{"EVAL-12": true} // what random questions found
	for _, m := range ruled.FindAllStringSubmatch(string(src), -1) {
		tested[m[1]] = true
	}
	tables, err := decisions()
	require.NoError(t, err)
	for _, table := range tables {
		for _, c := range table.Cases {
			require.True(t, tested[c.Rule], "%s: %s: %s", c.Rule, table.File, c.Name)
		}
	}
}

// What random organisations have brought to light once is decided alike for good.
func TestRule_EVAL_12_WhatWasFoundStaysDecided(t *testing.T) {
	tables, err := decisions()
	require.NoError(t, err)
	for _, table := range tables {
		if strings.HasPrefix(table.File, "found") {
			t.Run(table.File, func(t *testing.T) {
				for _, c := range table.Cases {
					s, err := engine.New(c.State, 1)
					require.NoError(t, err)
					c.Run(t, subject{s})
				}
			})
		}
	}
	kept, err := enginetest.AllKept("../testdata/decisions/found")
	require.NoError(t, err)
	for _, k := range kept {
		t.Run(k.Name, func(t *testing.T) {
			got, want := answers(k.State, loaded, k.Asked)
			require.Equal(t, want, got)
		})
	}
}
