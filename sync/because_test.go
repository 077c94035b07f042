package dirsync

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
)

// because tells of each cause who gains and loses, and the persons by login.
func because(t *testing.T, p *Plan) (byCause []string, persons []string) {
	t.Helper()
	all, err := p.Access(noon)
	require.NoError(t, err)
	for _, e := range all {
		if e.Environment == "sales" {
			for _, c := range e.Causes {
				byCause = append(byCause, fmt.Sprintf("%s +%d -%d", c.Text, c.Gain, c.Lose))
				require.NotEmpty(t, c.Lines)
			}
			require.Len(t, e.Users, min(e.UserCount, maxUsers))
			for _, u := range e.Users {
				persons = append(persons, u.Login)
			}
		}
	}
	return byCause, persons
}

func TestRule_PLAN_4_access_is_told_by_rule_and_by_person(t *testing.T) {
	r := newRig(t, modelFile, rulesFile+wide)
	r.source.says(directory.Full, company()...)
	r.mustSync()
	plan := func() *Plan {
		t.Helper()
		report, err := r.sync.Plan(t.Context(), Options{})
		require.NoError(t, err)
		return report.Plan
	}

	t.Run("who leaves a group loses by the rule of its team", func(t *testing.T) {
		pages := company()
		pages[0].Members = []directory.Members{whole("g", "dn:cn=ann", "dn:cn=eve")}
		r.source.says(directory.Full, pages...)
		p := plan()
		causes, persons := because(t, p)
		require.Equal(t, []string{`rule "teams" +1 -1`}, causes)
		require.Equal(t, []string{"bob", "eve"}, persons)
		text := r.text(p)
		require.Contains(t, text, "  By rule\n    rule \"teams\": 1 gain, 1 lose\n  By person\n    bob loses ")
		require.Contains(t, text, "    eve gains read on account at depth business_unit in North (rule \"teams\")\n")
		raw, err := p.JSON(noon)
		require.NoError(t, err)
		var out struct {
			Access []struct {
				Causes []struct{ Rule string }
			}
		}
		require.NoError(t, json.Unmarshal(raw, &out))
		require.Equal(t, "teams", out.Access[0].Causes[0].Rule)
	})

	t.Run("who is disabled loses by the rule that places people", func(t *testing.T) {
		pages := company()
		pages[0].Upserts[1].Attributes[directory.AttrEnabled] = []string{"false"}
		r.source.says(directory.Full, pages...)
		causes, persons := because(t, plan())
		require.Equal(t, []string{`rule "people" +0 -1`}, causes)
		require.Equal(t, []string{"bob"}, persons)
	})

	t.Run("a role that a file changes is the cause for all who hold it, whom no change names", func(t *testing.T) {
		r.source.says(directory.Full, company()...)
		before := r.model
		r.model = strings.ReplaceAll(modelFile, "read: business_unit", "read: organization")
		r.sync.Replace(r.config())
		causes, persons := because(t, plan())
		require.Equal(t, []string{`role "Salesperson" is changed +2 -0`}, causes)
		require.Equal(t, []string{"ann", "bob"}, persons)
		r.model = before
		r.sync.Replace(r.config())
	})

	t.Run("a rule that gives another role is the cause", func(t *testing.T) {
		r.rules = strings.Replace(rulesFile, "roles: [Salesperson]", "roles: [Manager]", 1) + wide
		r.sync.Replace(r.config())
		causes, _ := because(t, plan())
		require.Equal(t, []string{`rule "teams" +2 -2`}, causes)
		r.rules = rulesFile + wide
		r.sync.Replace(r.config())
	})

	t.Run("of many, the first hundred are named, and all are counted", func(t *testing.T) {
		r.source.says(directory.Full, people(300, 0, 0)...)
		r.rules = strings.Replace(rulesFile, "business_unit: '{{ user.ou }}'", "business_unit: North", 1) + wide
		r.sync.Replace(r.config())
		r.mustSync()
		everybody := group("g", "cn=g", directory.AttrDisplayName, "sales-north")
		members := directory.Members{Group: "g", Whole: true}
		for i := range 300 {
			members.Add = append(members.Add, directory.ByDN(fmt.Sprintf("uid=person%06d,ou=people,dc=example,dc=com", i)))
		}
		r.source.says(directory.Delta, directory.Page{Upserts: []directory.Upsert{everybody}, Members: []directory.Members{members}})
		p := plan()
		causes, persons := because(t, p)
		require.Equal(t, []string{`rule "teams" +300 -0`}, causes)
		require.Len(t, persons, maxUsers)
		require.Equal(t, "person000000", persons[0])
		require.Contains(t, r.text(p), "    … and 290 more users\n")
	})
}
