package dirsync

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
)

// bySID makes teams of one domain's groups, and has the people of two.
const bySID = rulesFile + `
  - name: cloud people
    match: {source: cloud, users: 'true'}
    user: {environment: sales, business_unit: South}
` + wide

// bySIDNested makes teams of both domains' groups, those within them included.
const bySIDNested = `
environments: {sales: {}}
rules:
  - name: people
    match: {source: corp, users: 'true'}
    user: {environment: sales, business_unit: North}
  - name: cloud people
    match: {source: cloud, users: 'true'}
    user: {environment: sales, business_unit: South}
  - name: teams
    match: {source: corp, group: 'sales-*'}
    team: {environment: sales, business_unit: North, nested: true}
  - name: cloud teams
    match: {source: cloud, group: 'sales-*'}
    team: {environment: sales, business_unit: South}
` + wide

// twoDomains is a rig with a second source.
func twoDomains(t testing.TB, rules string) (r *rig, cloud *fake) {
	r, cloud = newRig(t, modelFile, rules), &fake{}
	c := r.config()
	c.Sources = append(c.Sources, Source{ID: "cloud", Reader: cloud})
	r.sync.Replace(c)
	return r, cloud
}

func standIn(id, sid string) directory.Upsert {
	return directory.Upsert{Object: entry(id, "cn="+sid, directory.KindOther, directory.AttrSID, sid)}
}

func TestRule_AD_19_a_member_of_another_domain_stays_until_that_domain_says_otherwise(t *testing.T) {
	const sid = "S-1-5-21-1-2-3-1104"
	r, cloud := twoDomains(t, bySID)
	r.source.says(directory.Full, append(company(), directory.Page{
		Upserts: []directory.Upsert{standIn("f", sid), standIn("w", "S-1-5-11")},
		Members: []directory.Members{whole("g", "dn:cn=ann", "dn:cn=bob", "id:f", "id:w")},
	})...)
	cat := func(sid string) directory.Page {
		return directory.Page{Upserts: []directory.Upsert{user("c", "", directory.AttrUserName, "cat", directory.AttrSID, sid), user("d", "", directory.AttrUserName, "dan")}}
	}
	cut := func(err error, pages ...directory.Page) {
		cloud.does(func(_ context.Context, _ directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
			if err := begin(directory.Full); err != nil {
				return err
			}
			for _, p := range pages {
				if err := yield(p); err != nil {
					return err
				}
			}
			return err
		})
	}
	const membership = "corp:g:members_and_guests/cloud:c"
	pending := "members of the group whom it names by SID and no source has are pending: 1 (" + sid + ")"

	cut(directory.ErrUnreachable)
	report, err := r.sync.Sync(t.Context(), Options{})
	require.ErrorIs(t, err, directory.ErrUnreachable)
	require.NotContains(t, r.lines(access.KindMembership), membership)
	require.Contains(t, r.text(report.Plan), pending)
	require.Contains(t, r.text(report.Plan), "members of the group that are no users or groups of a domain count for nobody: 1 (S-1-5-11)")

	cloud.says(directory.Full, cat(sid))
	report = r.mustSync()
	require.Contains(t, r.lines(access.KindMembership), membership)
	require.Contains(t, r.text(report.Plan), "through "+sid)
	require.NotContains(t, r.text(report.Plan), pending)

	was := r.everything()
	for _, fault := range []func(){
		func() { cut(directory.ErrUnreachable) },
		func() { cut(directory.ErrIncomplete, directory.Page{Upserts: cat(sid).Upserts[1:]}) },
		func() { cut(nil, directory.Page{}) },
	} {
		for range 2 {
			fault()
			_, err := r.sync.Sync(t.Context(), Options{})
			require.Error(t, err)
			require.Equal(t, was, r.everything())
			full, err := New(r.db, r.tenant, r.sync.config, SyncerOptions{}).Plan(t.Context(), Options{NoRead: true})
			require.NoError(t, err)
			require.True(t, full.Plan.Empty(), r.text(full.Plan))
		}
	}
	// What the store had of it is lost, and only half of it can be read again.
	require.NoError(t, r.db.DropMirror(t.Context(), "cloud"))
	r.sync = New(r.db, r.tenant, r.sync.config, SyncerOptions{})
	cut(directory.ErrIncomplete, directory.Page{Upserts: cat(sid).Upserts[1:]})
	_, err = r.sync.Sync(t.Context(), Options{})
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.Equal(t, was, r.everything())

	cloud.says(directory.Full, cat(sid+"5"))
	require.Contains(t, r.text(r.mustSync().Plan), "- membership")
	require.NotContains(t, r.lines(access.KindMembership), membership, "the SID is another's")
	cloud.says(directory.Delta, cat(sid))
	r.mustSync()
	require.Contains(t, r.lines(access.KindMembership), membership, "and back")
	cloud.says(directory.Delta, directory.Page{Removed: []directory.ObjectID{"c"}})
	report = r.mustSync()
	require.NotContains(t, r.lines(access.KindMembership), membership, "the user is gone")
	require.Contains(t, r.text(report.Plan), pending)
}

// drawDomain draws people, what stands for others, and groups of both.
func drawDomain(t *rapid.T) []directory.Page {
	sids := rapid.SampledFrom([]string{"S-1-5-21-1-1", "S-1-5-21-1-2", "S-1-5-21-2-1", "S-1-5-11"})
	p := directory.Page{Upserts: []directory.Upsert{user("id9", "", directory.AttrUserName, "nine")}} // a domain without users would be held
	for n := range 6 {
		id := fmt.Sprintf("id%d", n)
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0, 1:
			p.Upserts = append(p.Upserts, user(id, "", directory.AttrUserName, rapid.StringMatching(`[a-z]{6}`).Draw(t, "login"), "ou", "North", directory.AttrSID, sids.Draw(t, "sid")))
		case 2:
			p.Upserts = append(p.Upserts, standIn(id, sids.Draw(t, "sid")))
		case 3:
			p.Upserts = append(p.Upserts, group(id, "", directory.AttrDisplayName, "sales-"+id, directory.AttrSID, sids.Draw(t, "sid")))
			for _, far := range rapid.SliceOfNDistinct(rapid.IntRange(0, 5), 0, 4, rapid.ID).Draw(t, "members") {
				p.Members = append(p.Members, members(id, directory.ByID(directory.ObjectID(fmt.Sprintf("id%d", far)))))
			}
		}
	}
	return []directory.Page{p}
}

// Two domains are followed through complete and incomplete rounds: what is followed
// by change is what a full look gives, and an incomplete round takes nobody away.
func TestRule_AD_19_two_domains_by_change_end_where_a_full_look_does(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r, cloud := twoDomains(t, bySIDNested)
		r.source.says(directory.Full, drawDomain(rt)...)
		cloud.says(directory.Full, drawDomain(rt)...)
		r.mustSync()
		for range rapid.IntRange(1, 5).Draw(rt, "steps") {
			source := rapid.SampledFrom([]*fake{r.source, cloud}).Draw(rt, "source")
			whole := rapid.IntRange(0, 2).Draw(rt, "whole") > 0
			pages := drawDomain(rt)
			if source.says(directory.Full, pages...); !whole {
				source.does(func(_ context.Context, _ directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
					if err := begin(directory.Full); err != nil {
						return err
					}
					return yield(pages[0])
				})
			}
			_, err := r.sync.Sync(t.Context(), Options{})
			require.NotErrorIs(rt, err, ErrHeld)
			if !whole {
				require.ErrorIs(rt, err, directory.ErrIncomplete)
			}
			again, err := r.sync.Plan(t.Context(), Options{NoRead: true})
			require.NoError(rt, err)
			require.True(rt, again.Plan.Empty(), "applied twice: %s", r.text(again.Plan))
			full, err := New(r.db, r.tenant, r.sync.config, SyncerOptions{}).Plan(t.Context(), Options{NoRead: true})
			require.NoError(rt, err)
			require.True(rt, full.Plan.Empty(), "in full: %s", r.text(full.Plan))
			require.Equal(rt, full.Plan.Findings, again.Plan.Findings)
		}
	})
}
