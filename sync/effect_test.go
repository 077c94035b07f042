package dirsync

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/engine"
)

// effectLines prints what a plan gives and takes in the environment "sales".
func effectLines(t *testing.T, p *Plan) []string {
	t.Helper()
	all, err := p.Access(noon)
	require.NoError(t, err)
	lines := []string{}
	for _, e := range all {
		if e.Environment == "sales" {
			for _, l := range e.Lines {
				lines = append(lines, l.String())
			}
		}
	}
	return lines
}

func TestPlan_Access(t *testing.T) {
	r := newRig(t, modelFile, rulesFile+wide)
	plan := func(pages ...directory.Page) *Plan {
		t.Helper()
		r.source.says(directory.Full, pages...)
		report, err := r.sync.Plan(t.Context(), Options{})
		require.NoError(t, err)
		return report.Plan
	}
	first := plan(company()...)
	t.Run("of a first plan is all that people get", func(t *testing.T) {
		require.NotEmpty(t, effectLines(t, first))
		require.Contains(t, r.text(first), "  Access gained\n")
		require.NotContains(t, r.text(first), "Access lost")
		require.Contains(t, strings.Join(effectLines(t, first), "\n"), "gain read on account")
	})
	r.mustSync()

	t.Run("of one who leaves a group is what only the group gave", func(t *testing.T) {
		pages := company()
		pages[0].Members = []directory.Members{whole("g", "dn:cn=ann")}
		p := plan(pages...)
		require.Contains(t, r.text(p), "  Access lost\n")
		require.NotContains(t, r.text(p), "Access gained")
		e := p.Environments[0]
		require.Equal(t, []access.UserID{"corp:b"}, e.snapshot.Reached(e.changes))
		for _, line := range effectLines(t, p) {
			require.Contains(t, line, "1 user loses")
		}
	})

	t.Run("of one who has it another way too is nothing", func(t *testing.T) {
		pages := company()
		second := directory.Page{
			Upserts: []directory.Upsert{group("h", "cn=h", directory.AttrDisplayName, "sales-two")},
			Members: []directory.Members{whole("h", "dn:cn=ann", "dn:cn=bob")},
		}
		r.source.says(directory.Full, append(pages, second)...)
		r.mustSync()
		second.Members[0].Add = second.Members[0].Add[:1]
		p := plan(append(pages, second)...)
		require.Equal(t, Counts{Delete: 1}, p.Counts())
		for _, line := range effectLines(t, p) {
			require.Contains(t, line, "sales-two", "only the team's own records are lost")
		}
	})

	t.Run("of a disabled account is everything", func(t *testing.T) {
		pages := company()
		pages[0].Upserts[0].Attributes[directory.AttrEnabled] = []string{"false"}
		p := plan(pages...)
		require.NotEmpty(t, effectLines(t, p))
		require.Contains(t, r.text(p), "~ user ann (enabled: true -> false)")
	})

	t.Run("of a role that a file changes reaches all who hold it", func(t *testing.T) {
		r.source.says(directory.Full, company()...)
		r.mustSync()
		r.model = strings.ReplaceAll(modelFile, "read: business_unit", "read: organization")
		r.sync.Replace(r.config())
		p := plan(company()...)
		var gains []engine.Line
		all, err := p.Access(noon)
		require.NoError(t, err)
		for _, l := range all[0].Lines {
			if l.Gain {
				gains = append(gains, l)
			}
		}
		require.Len(t, gains, 1)
		require.Equal(t, 2, gains[0].Users)
		require.Contains(t, gains[0].String(), "read on account at depth organization")
	})
}
