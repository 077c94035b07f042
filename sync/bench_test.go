package dirsync

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
)

// people makes up a source as LDAP gives it: groups of 40, members by DN, 500
// entries a page.
func people(users, groups, edges int) []directory.Page {
	var pages []directory.Page
	var page directory.Page
	add := func(u directory.Upsert) {
		if page.Upserts = append(page.Upserts, u); len(page.Upserts) == 500 {
			pages, page = append(pages, page), directory.Page{}
		}
	}
	dn := func(i int) string { return fmt.Sprintf("uid=person%06d,ou=people,dc=example,dc=com", i) }
	for i := range users {
		add(user(fmt.Sprintf("%08x-1111-4222-8333-444455556666", i), dn(i),
			directory.AttrUserName, fmt.Sprintf("person%06d", i), directory.AttrDisplayName, fmt.Sprintf("Person Number %d", i),
			directory.AttrMail, fmt.Sprintf("person%06d@example.com", i), directory.AttrEnabled, "true",
			directory.AttrManager, string(directory.ByDN(dn(i/10))), "ou", fmt.Sprintf("unit%d", i%200), "employeeType", "staff"))
	}
	for g := range groups {
		id := fmt.Sprintf("%08x-aaaa-4bbb-8ccc-ddddeeeeffff", g)
		add(group(id, fmt.Sprintf("cn=group%05d,ou=groups,dc=example,dc=com", g), directory.AttrDisplayName, fmt.Sprintf("group%05d", g), directory.AttrGroupKind, "security"))
		m := directory.Members{Group: directory.ObjectID(id), Whole: true}
		for k := range edges / groups {
			m.Add = append(m.Add, directory.ByDN(dn((g*7919+k*104729)%users)))
		}
		page.Members = append(page.Members, m)
	}
	return append(pages, page)
}

// Of a round without change over 55,000 entries and 200,000 memberships, this is
// all but the reading.
func BenchmarkMirror_unchanged_round(b *testing.B) {
	pages := people(50_000, 5_000, 200_000)
	before := liveBytes()
	m := loaded(b, openStore(b), "s")
	round(b, m, "s", directory.Full, pages...)
	live := float64(liveBytes()-before) / 1e6
	c := &counting{MirrorStore: m.store}
	m.store = c
	for b.Loop() {
		round(b, m, "s", directory.Full, pages...)
	}
	b.ReportMetric(live, "MB-live")
	require.Zero(b, c.commits)
	runtime.KeepAlive(m)
}

func BenchmarkMirror_load(b *testing.B) {
	st := openStore(b)
	round(b, loaded(b, st, "s"), "s", directory.Full, people(50_000, 5_000, 200_000)...)
	for b.Loop() {
		require.Equal(b, 55_000, loaded(b, st, "s").Size("s").Objects)
	}
}

func liveBytes() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

const benchModel = `
environments:
  sales:
    business_units: {HQ: {}}
    tables: {account: {ownership: user_or_team}}
    roles: {Salesperson: {privileges: {account: {all: user, read: business_unit}}}}
`

const benchRules = `
environments: {sales: {}}
rules:
  - name: people
    match: {source: corp, users: 'user.employeeType == "staff"'}
    user: {environment: sales, business_unit: HQ, manager: '{{ user.manager }}'}
  - name: teams
    match: {source: corp, group: 'group*'}
    team: {environment: sales, business_unit: HQ, roles: [Salesperson]}
` + wide

func benchRig(b *testing.B, users int) *rig {
	r := newRig(b, benchModel, benchRules)
	r.source.says(directory.Full, people(users, users/10, users*4)...)
	r.mustSync()
	return r
}

// One membership that comes and goes, from the source's page to the engine's
// snapshot, with both commits to disk: with 5,000 and with 50,000 users, turn by
// turn, so that whatever else the machine does weighs on both alike.
func BenchmarkSync_one_membership(b *testing.B) {
	sizes := [...]int{5_000, 50_000}
	var rigs [len(sizes)]*rig
	var took [len(sizes)][]time.Duration
	for i, users := range sizes {
		rigs[i] = benchRig(b, users)
	}
	runtime.GC()
	g := directory.ObjectID(fmt.Sprintf("%08x-aaaa-4bbb-8ccc-ddddeeeeffff", 1))
	for b.Loop() {
		for i, r := range rigs {
			took[i] = append(took[i], comesAndGoes(b, r, g, benchDN(sizes[i]-1)))
		}
	}
	small, large := median(took[0]), median(took[1])
	b.ReportMetric(float64(small.Microseconds()), "µs-at-5000")
	b.ReportMetric(float64(large.Microseconds()), "µs-at-50000")
	b.ReportMetric(float64(large)/float64(small), "ratio")
}

// comesAndGoes synchronizes a member who comes, and who goes again, and returns
// what each took on average.
func comesAndGoes(b *testing.B, r *rig, group directory.ObjectID, member directory.Ref) (took time.Duration) {
	far := []directory.Ref{member}
	for _, m := range [...]directory.Members{{Group: group, Add: far}, {Group: group, Remove: far}} {
		r.source.says(directory.Delta, directory.Page{Members: []directory.Members{m}})
		began := time.Now()
		report := r.mustSync()
		took += time.Since(began) / 2
		require.Equal(b, 1, report.Plan.Len())
	}
	return took
}

func benchDN(i int) directory.Ref {
	return directory.ByDN(fmt.Sprintf("uid=person%06d,ou=people,dc=example,dc=com", i))
}

func median(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)/2]
}

// One member that comes and goes, in a group of 5 and in one of 50,000, from the
// source's page to the commit, turn by turn.
func BenchmarkSync_member_of_a_large_group(b *testing.B) {
	const users = 50_001
	sizes := [...]int{5, users - 1}
	pages := people(users, 1, 0)
	var groups [len(sizes)]directory.ObjectID
	for i, size := range sizes {
		groups[i] = directory.ObjectID(fmt.Sprintf("%08x-aaaa-4bbb-8ccc-ddddeeeeffff", 1000+i))
		m := directory.Members{Group: groups[i], Whole: true}
		for n := range size {
			m.Add = append(m.Add, benchDN(n))
		}
		pages = append(pages, directory.Page{
			Upserts: []directory.Upsert{group(string(groups[i]), fmt.Sprintf("cn=group-of-%d,ou=groups,dc=example,dc=com", size),
				directory.AttrDisplayName, fmt.Sprintf("group-of-%d", size), directory.AttrGroupKind, "security")},
			Members: []directory.Members{m},
		})
	}
	r := newRig(b, benchModel, benchRules)
	r.source.says(directory.Full, pages...)
	r.mustSync()
	runtime.GC()
	var took [len(sizes)][]time.Duration
	for b.Loop() {
		for i, g := range groups {
			took[i] = append(took[i], comesAndGoes(b, r, g, benchDN(users-1)))
		}
	}
	small, large := median(took[0]), median(took[1])
	b.ReportMetric(float64(small.Microseconds()), "µs-of-5")
	b.ReportMetric(float64(large.Microseconds()), "µs-of-50000")
	b.ReportMetric(float64(large)/float64(small), "ratio")
}

// The plan of a first synchronization of 50,000 users, 5,000 teams and 200,000
// memberships: mapping, comparing, judging; without reading and writing.
func BenchmarkPlan_first(b *testing.B) {
	r := newRig(b, benchModel, benchRules)
	r.source.says(directory.Full, people(50_000, 5_000, 200_000)...)
	_, err := r.sync.Plan(b.Context(), Options{})
	require.NoError(b, err)
	var plan *Plan
	for b.Loop() {
		r.sync.forgetEvaluation()
		report, err := r.sync.Plan(b.Context(), Options{NoRead: true})
		require.NoError(b, err)
		plan = report.Plan
	}
	b.ReportMetric(float64(plan.Len()), "changes")
}

// A full comparison with nothing to change, as after a restart.
func BenchmarkPlan_full_empty(b *testing.B) {
	r := benchRig(b, 50_000)
	for b.Loop() {
		r.sync.forgetEvaluation()
		report, err := r.sync.Plan(b.Context(), Options{NoRead: true})
		require.NoError(b, err)
		require.True(b, report.Plan.Empty())
	}
}

func BenchmarkPlan_digest(b *testing.B) {
	r := newRig(b, benchModel, benchRules)
	r.source.says(directory.Full, people(50_000, 5_000, 200_000)...)
	report, err := r.sync.Plan(b.Context(), Options{})
	require.NoError(b, err)
	for b.Loop() {
		report.Plan.computeDigest()
	}
}

// What a person waits for who has the plan of a first synchronization printed.
func BenchmarkPlan_access(b *testing.B) {
	r := newRig(b, benchModel, benchRules)
	r.source.says(directory.Full, people(50_000, 5_000, 200_000)...)
	report, err := r.sync.Plan(b.Context(), Options{})
	require.NoError(b, err)
	for b.Loop() {
		_, err := report.Plan.Access(noon)
		require.NoError(b, err)
	}
}
