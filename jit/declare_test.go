package jit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/document"
)

func load(t *testing.T, name string, w *world) ([]Policy, error) {
	src, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	sources, err := ParsePolicies(name, src)
	if err != nil {
		return nil, err
	}
	var out []Policy
	var faults document.Faults
	names := NewNames(w.state)
	for _, s := range sources {
		p, err := s.Policy(names)
		var f document.Faults
		if errors.As(err, &f) {
			faults = append(faults, f...)
			continue
		}
		require.NoError(t, err)
		out = append(out, p)
	}
	return out, faults.Err()
}

func TestRule_JIT_9_a_policy_file_is_read_with_its_defaults(t *testing.T) {
	w := newWorld(t)
	got, err := load(t, "ok_policies.yaml", w)
	require.NoError(t, err)
	require.Len(t, got, 2)
	want := basePolicy()
	want.Version, want.ManagedBy = 0, ""
	require.Equal(t, want, got[0])
	require.Equal(t, Policy{
		Environment: env, ID: "asia-managers", Name: "Managers in Asia", Role: "manager", Scope: Scope{BusinessUnit: "asia"},
		Eligible: []Subject{{User: "cleo"}, {Team: access.BusinessUnitID("sales").DefaultTeam()}},
		Stages: []Stage{
			{Approvers: []Subject{{Manager: true}, {Role: "decider"}}, Fallback: []Subject{{User: "bob"}}, Quorum: 1},
			{Approvers: []Subject{{Team: "deciders"}}, Quorum: 2},
		},
		MinDuration: Duration(10 * time.Minute), MaxDuration: 4 * hour, DefaultDuration: 2 * hour, PendingTTL: 12 * hour, JustificationMin: 0,
		Ticket: "CHG-[0-9]{6}", Late: Reject, DenyQuorum: 2, MaxDirectoryAge: hour, OneApproverSuffices: true,
	}, got[1])
}

func TestRule_JIT_9_the_faults_of_a_policy_file_say_where_and_what_to_do(t *testing.T) {
	files, err := filepath.Glob("testdata/bad_*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		name := filepath.Base(f)
		t.Run(strings.TrimSuffix(strings.TrimPrefix(name, "bad_"), ".yaml"), func(t *testing.T) {
			w := newWorld(t)
			for i, unit := range []access.BusinessUnitID{"asia", "root"} {
				w.must(access.Put(access.Team{Environment: env, ID: access.TeamID(fmt.Sprintf("bidders-%d", i)), Name: "Bidders", BusinessUnit: unit, ManagedBy: access.ByFile}))
			}
			_, err := load(t, name, w)
			require.Error(t, err)
			want := strings.TrimSuffix(f, ".yaml") + ".txt"
			if os.Getenv("UPDATE") != "" {
				require.NoError(t, os.WriteFile(want, []byte(err.Error()+"\n"), 0o644))
			}
			expected, readErr := os.ReadFile(want)
			require.NoError(t, readErr)
			require.Equal(t, string(expected), err.Error()+"\n")
		})
	}
}

func TestRule_JIT_9_files_and_environment_are_made_equal(t *testing.T) {
	w := newWorld(t)
	want, err := load(t, "ok_policies.yaml", w)
	require.NoError(t, err)
	changes, err := PlanPolicies(w.state, want)
	require.NoError(t, err)
	require.Len(t, changes, 1, "the first is there already")
	w.must(changes...)
	changes, err = PlanPolicies(w.state, want)
	require.NoError(t, err)
	require.Empty(t, changes, "planning twice changes nothing")

	want[1].MaxDuration = 3 * hour
	changes, err = PlanPolicies(w.state, want[1:])
	require.NoError(t, err)
	require.Len(t, changes, 2)
	require.Equal(t, 2, changes[0].Object.(Policy).Version)
	require.True(t, changes[1].Delete)

	rival := want[0]
	rival.ID = "rival"
	twice := want[1]
	_, err = PlanPolicies(w.state, append(want, rival, twice))
	var faults PolicyErrors
	require.ErrorAs(t, err, &faults)
	require.Contains(t, err.Error(), "rival")
	require.Contains(t, err.Error(), "declared twice")

	byAPI := want[0]
	byAPI.ID, byAPI.ManagedBy, byAPI.Version, byAPI.Scope = "made-here", access.ByAPI, 1, Scope{BusinessUnit: "asia", Subtree: true}
	w.must(access.Put(byAPI))
	changes, err = PlanPolicies(w.state, want[:1])
	require.NoError(t, err)
	for _, c := range changes {
		require.NotEqual(t, "made-here", c.Object.ObjectKey(), "what the API made stays")
	}
	byAPI.ManagedBy = ""
	_, err = PlanPolicies(w.state, []Policy{want[0], byAPI})
	require.ErrorContains(t, err, "over the API")
}

func TestRule_JIT_9_a_policy_written_over_the_API_is_checked_as_a_file_is(t *testing.T) {
	w := newWorld(t)
	for path, change := range map[string]func(*Policy){
		"id":                     func(p *Policy) { p.ID, p.Scope = "a policy", Scope{BusinessUnit: "asia"} },
		"name":                   func(p *Policy) { p.Name = strings.Repeat("n", 201) },
		"role":                   func(p *Policy) { p.Role = "nobody" },
		"scope.business_unit":    func(p *Policy) { p.Scope.BusinessUnit = "nowhere" },
		"eligible":               func(p *Policy) { p.Eligible = nil },
		"eligible[0]":            func(p *Policy) { p.Eligible = []Subject{{Role: "decider"}} },
		"eligible[0].user":       func(p *Policy) { p.Eligible = []Subject{{User: "gone"}} },
		"eligible[0].team":       func(p *Policy) { p.Eligible = []Subject{{Team: "gone"}} },
		"stages":                 func(p *Policy) { p.Stages = nil },
		"stages[0].approvers":    func(p *Policy) { p.Stages = []Stage{{Quorum: 1}} },
		"stages[0].approvers[0]": func(p *Policy) { p.Stages[0].Approvers = []Subject{{User: "bob", Manager: true}} },
		"stages[0].quorum":       func(p *Policy) { p.Stages[0] = Stage{Approvers: []Subject{{User: "bob"}, {User: "bob"}}, Quorum: 2} },
		"stages[0].fallback":     func(p *Policy) { p.Stages[0].Fallback = []Subject{{User: "bob"}} },
		"stages[0].fallback[0].manager": func(p *Policy) {
			p.Stages[0] = Stage{Approvers: []Subject{{Manager: true}}, Fallback: []Subject{{Manager: true}}, Quorum: 1}
		},
		"deny_quorum":       func(p *Policy) { p.DenyQuorum = -1 },
		"min_duration":      func(p *Policy) { p.MinDuration = -1 },
		"default_duration":  func(p *Policy) { p.DefaultDuration = Duration(time.Minute) },
		"max_duration":      func(p *Policy) { p.MaxDuration = Duration(30 * time.Minute) },
		"pending_ttl":       func(p *Policy) { p.PendingTTL = -1 },
		"max_directory_age": func(p *Policy) { p.MaxDirectoryAge = 366 * 24 * hour },
		"justification_min": func(p *Policy) { p.JustificationMin = maxText + 1 },
		"ticket":            func(p *Policy) { p.Ticket = "CHG-(" },
		"late":              func(p *Policy) { p.Late = "never" },
	} {
		p := basePolicy()
		change(&p)
		faults := p.Check(w.state)
		require.Len(t, faults, 1, path)
		require.Equal(t, path, faults[0].Path)
	}
	p := basePolicy()
	p.Role = "local"
	w.must(access.Put(access.Role{Environment: env, ID: "local", Name: "local", BusinessUnit: "asia", ManagedBy: access.ByFile}))
	require.Equal(t, "scope.business_unit", p.Check(w.state)[0].Path)
	require.Contains(t, p.Check(w.state)[0].Problem, "ROLE-2")
}

func TestATicketMustMatchWhole(t *testing.T) {
	re, err := ticketPattern("CHG-1|INC-2")
	require.NoError(t, err)
	for ticket, ok := range map[string]bool{"CHG-1": true, "INC-2": true, "CHG-12": false, "xINC-2": false, "CHG-1\n": false} {
		require.Equal(t, ok, re.MatchString(ticket), "%q", ticket)
	}
}

func FuzzParsePolicies(f *testing.F) {
	for _, name := range []string{"ok_policies.yaml", "bad_everything.yaml"} {
		src, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(f, err)
		f.Add(src)
	}
	f.Add([]byte(`{"policies": [{"id": "x"}]}`))
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		sources, err := ParsePolicies("fuzz.yaml", src)
		if err != nil {
			var faults document.Faults
			require.ErrorAs(t, err, &faults)
			require.NotEmpty(t, faults)
			return
		}
		names := NewNames(w.state)
		for _, s := range sources {
			if p, err := s.Policy(names); err == nil {
				for _, fault := range p.Check(w.state) {
					require.NotEmpty(t, fault.Overlaps, "what was read is valid: %v", fault)
				}
			}
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"2h", "PT2H30M", "P1W", "P1DT1S", "1.5h", "-PT1H"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		require.Positive(t, d)
		again, err := ParseDuration(d.String())
		require.NoError(t, err)
		require.Equal(t, d, again)
		text, err := d.MarshalText()
		require.NoError(t, err)
		again, err = ParseDuration(string(text))
		require.NoError(t, err)
		require.Equal(t, d, again)
	})
}
