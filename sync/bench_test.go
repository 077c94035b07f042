package dirsync

import (
	"fmt"
	"runtime"
	"testing"

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
