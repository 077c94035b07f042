package engine_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

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
		s, err := engine.New(table.State, 1)
		require.NoError(t, err)
		for _, c := range table.Cases {
			if c.Rule != id {
				continue
			}
			ran++
			t.Run(table.File+"/"+c.Name, func(t *testing.T) {
				r := enginetest.Reference{State: table.State, Revision: 1}
				decide(t, s, c, c.Question)
				agree(t, s, r, c.Question)
				if c.Registered != nil {
					decide(t, s, c, *c.Registered)
					agree(t, s, r, *c.Registered)
				}
			})
		}
	}
	require.NotZero(t, ran, "no decision table has a case of rule %s", id)
}

func decide(t *testing.T, s *engine.Snapshot, c enginetest.Case, q engine.Question) {
	e, err := s.Explain(q, 0)
	if c.Error != "" {
		require.ErrorContains(t, err, c.Error)
		d, _ := s.Check(q)
		require.Equal(t, engine.Decision{}, d, "an error denies")
		return
	}
	require.NoError(t, err)
	require.Equal(t, c.Answer, e.Reason, "%s", e)
	require.Equal(t, c.Answer == engine.Allowed, e.Allowed)
	if c.Depth != 0 || q.Record == nil && q.Privilege == "" && e.Allowed {
		require.Equal(t, c.Depth, e.Depth)
	}
	require.True(t, c.Until.Equal(e.ValidUntil), "until %v: %s", c.Until, e)
	if c.By != nil {
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

func TestRule_OWN_1(t *testing.T)    { rule(t, "OWN-1") }
func TestRule_OWN_2(t *testing.T)    { rule(t, "OWN-2") }
func TestRule_OWN_3(t *testing.T)    { rule(t, "OWN-3") }
func TestRule_OWN_4(t *testing.T)    { rule(t, "OWN-4") }
func TestRule_OWN_5(t *testing.T)    { rule(t, "OWN-5") }
func TestRule_OWN_6(t *testing.T)    { rule(t, "OWN-6") }
func TestRule_OWN_7(t *testing.T)    { rule(t, "OWN-7") }
func TestRule_OWN_8(t *testing.T)    { rule(t, "OWN-8") }
func TestRule_OWN_9(t *testing.T)    { rule(t, "OWN-9") }
func TestRule_BU_2(t *testing.T)     { rule(t, "BU-2") }
func TestRule_BU_3(t *testing.T)     { rule(t, "BU-3") }
func TestRule_BU_5(t *testing.T)     { rule(t, "BU-5") }
func TestRule_BU_6(t *testing.T)     { rule(t, "BU-6") }
func TestRule_BU_7(t *testing.T)     { rule(t, "BU-7") }
func TestRule_BU_9(t *testing.T)     { rule(t, "BU-9") }
func TestRule_BU_10(t *testing.T)    { rule(t, "BU-10") }
func TestRule_ROLE_1(t *testing.T)   { rule(t, "ROLE-1") }
func TestRule_ROLE_4(t *testing.T)   { rule(t, "ROLE-4") }
func TestRule_ROLE_5(t *testing.T)   { rule(t, "ROLE-5") }
func TestRule_ROLE_6(t *testing.T)   { rule(t, "ROLE-6") }
func TestRule_ROLE_7(t *testing.T)   { rule(t, "ROLE-7") }
func TestRule_ROLE_8(t *testing.T)   { rule(t, "ROLE-8") }
func TestRule_ROLE_9(t *testing.T)   { rule(t, "ROLE-9") }
func TestRule_ROLE_10(t *testing.T)  { rule(t, "ROLE-10") }
func TestRule_ROLE_11(t *testing.T)  { rule(t, "ROLE-11") }
func TestRule_ROLE_13(t *testing.T)  { rule(t, "ROLE-13") }
func TestRule_TEAM_5(t *testing.T)   { rule(t, "TEAM-5") }
func TestRule_TEAM_10(t *testing.T)  { rule(t, "TEAM-10") }
func TestRule_SHARE_1(t *testing.T)  { rule(t, "SHARE-1") }
func TestRule_SHARE_2(t *testing.T)  { rule(t, "SHARE-2") }
func TestRule_SHARE_4(t *testing.T)  { rule(t, "SHARE-4") }
func TestRule_SHARE_5(t *testing.T)  { rule(t, "SHARE-5") }
func TestRule_SHARE_6(t *testing.T)  { rule(t, "SHARE-6") }
func TestRule_SHARE_7(t *testing.T)  { rule(t, "SHARE-7") }
func TestRule_SHARE_10(t *testing.T) { rule(t, "SHARE-10") }
func TestRule_EVAL_1(t *testing.T)   { rule(t, "EVAL-1") }
func TestRule_EVAL_2(t *testing.T)   { rule(t, "EVAL-2") }
func TestRule_EVAL_3(t *testing.T)   { rule(t, "EVAL-3") }
func TestRule_EVAL_5(t *testing.T)   { rule(t, "EVAL-5") }
func TestRule_EVAL_9(t *testing.T)   { rule(t, "EVAL-9") }
func TestRule_LIC_1(t *testing.T)    { rule(t, "LIC-1") }
func TestRule_ESG_1(t *testing.T)    { rule(t, "ESG-1") }
func TestRule_JIT_24(t *testing.T)   { rule(t, "JIT-24") }
func TestRule_JIT_25(t *testing.T)   { rule(t, "JIT-25") }
func TestRule_JIT_62(t *testing.T)   { rule(t, "JIT-62") }

func TestEveryCaseOfTheTablesBelongsToATest(t *testing.T) {
	tables, err := decisions()
	require.NoError(t, err)
	tested := []string{
		"OWN-1", "OWN-2", "OWN-3", "OWN-4", "OWN-5", "OWN-6", "OWN-7", "OWN-8", "OWN-9", "BU-2", "BU-3", "BU-5", "BU-6", "BU-7", "BU-9", "BU-10",
		"ROLE-1", "ROLE-4", "ROLE-5", "ROLE-6", "ROLE-7", "ROLE-8", "ROLE-9", "ROLE-10", "ROLE-11", "ROLE-13", "TEAM-5", "TEAM-10",
		"SHARE-1", "SHARE-2", "SHARE-4", "SHARE-5", "SHARE-6", "SHARE-7", "SHARE-10", "EVAL-1", "EVAL-2", "EVAL-3", "EVAL-5", "EVAL-9",
		"LIC-1", "ESG-1", "JIT-24", "JIT-25", "JIT-62",
	}
	for _, table := range tables {
		for _, c := range table.Cases {
			require.Contains(t, tested, c.Rule, "%s: %s", table.File, c.Name)
		}
	}
}
