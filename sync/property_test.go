package dirsync

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/tenant"
)

// drawEdit changes a source a little.
func drawEdit(t *rapid.T, w world) world {
	out := world{objects: map[directory.ObjectID]directory.Object{}, edges: map[directory.Edge]bool{}}
	for id, o := range w.objects {
		out.objects[id] = o
	}
	for e := range w.edges {
		out.edges[e] = true
	}
	for range rapid.IntRange(1, 4).Draw(t, "edits") {
		n := rapid.IntRange(0, 11).Draw(t, "object")
		id := directory.ObjectID(fmt.Sprintf("id%02d", n))
		switch rapid.IntRange(0, 4).Draw(t, "edit") {
		case 0:
			delete(out.objects, id)
		case 1, 2:
			dn := fmt.Sprintf("cn=n%d", rapid.SampledFrom([]int{n, n, n, n + 1}).Draw(t, "dn"))
			if n < 8 {
				out.objects[id] = entry(string(id), dn, directory.KindUser,
					directory.AttrUserName, rapid.SampledFrom([]string{fmt.Sprintf("u%d", n), fmt.Sprintf("u%d", n), "ann", "bob"}).Draw(t, "login"),
					"ou", rapid.SampledFrom([]string{"North", "South", "HQ", "Nowhere"}).Draw(t, "ou"),
					directory.AttrEnabled, fmt.Sprint(rapid.Bool().Draw(t, "enabled")),
					directory.AttrManager, string(directory.ByDN(fmt.Sprintf("cn=n%d", rapid.IntRange(0, 7).Draw(t, "manager")))))
			} else {
				out.objects[id] = entry(string(id), dn, directory.KindGroup,
					directory.AttrDisplayName, rapid.SampledFrom([]string{"sales-x", fmt.Sprintf("sales-%d", n), "other", "Gate"}).Draw(t, "name"))
			}
		default:
			far := fmt.Sprintf("n%d", rapid.IntRange(0, 11).Draw(t, "far"))
			e := directory.Edge{Group: directory.ObjectID(fmt.Sprintf("id%02d", rapid.IntRange(8, 11).Draw(t, "group"))), Far: directory.ByDN("cn=" + far)}
			if out.edges[e] {
				delete(out.edges, e)
			} else {
				out.edges[e] = true
			}
		}
	}
	return out
}

const propertyRules = `
environments: {sales: {security_group: {source: corp, group: Gate, nested: all}}}
rules:
  - name: people
    match: {source: corp, users: 'has(user.ou)'}
    user: {environment: sales, business_unit: '{{ user.ou }}', manager: '{{ user.manager }}'}
  - name: teams
    match: {source: corp, group: 'sales-*'}
    team: {environment: sales, business_unit: North, nested: true, roles: [Salesperson, Manager]}
` + wide

// A synchronizer that has followed a history of changes, of the source and of
// people over the API, leaves what one would that starts from nothing, to the
// byte; and what it has applied it does not want to apply again.
func TestSync_by_change_ends_where_a_full_one_does(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t, modelFile, propertyRules)
		w := world{}
		for step := range rapid.IntRange(1, 6).Draw(rt, "steps") {
			w = drawStep(rt, r, w, step > 0)
			report, err := r.sync.Sync(t.Context(), Options{})
			for err != nil {
				// A gate that is empty holds every plan: a person accepts it.
				require.ErrorIs(rt, err, ErrHeld)
				report, err = r.sync.Sync(t.Context(), Options{NoRead: true, Accept: report.Plan.Digest(), Reason: "it is meant", Actor: audit.Actor{Kind: audit.Local}})
			}
			again, err := r.sync.Plan(t.Context(), Options{NoRead: true})
			require.NoError(rt, err)
			require.True(rt, again.Plan.Empty(), "applied twice: %s", r.text(again.Plan))

			fresh := New(r.db, r.tenant, r.config(), SyncerOptions{})
			full, err := fresh.Plan(t.Context(), Options{NoRead: true})
			require.NoError(rt, err)
			require.True(rt, full.Plan.Empty(), "in full: %s", r.text(full.Plan))
			require.Equal(rt, full.Plan.Findings, again.Plan.Findings)
			require.Equal(rt, dump(fresh.mirror, "corp"), dump(r.sync.mirror, "corp"))
		}
	})
}

// drawOthers changes something over the API.
func drawOthers(t *rapid.T, r *rig) {
	_, err := r.tenant.Update(r.t.Context(), func(v tenant.View) (tenant.Changeset, error) {
		s, err := v.State("sales")
		if err != nil {
			return tenant.Changeset{}, nil
		}
		set := tenant.Changeset{Events: []audit.Event{{Actor: audit.Actor{Kind: audit.User, ID: "x"}, Operation: "test", Result: audit.Done}}}
		put := func(o access.Object) { set.Changes = append(set.Changes, access.Put(o)) }
		switch rapid.IntRange(0, 3).Draw(t, "other") {
		case 0:
			put(access.Table{Environment: "sales", ID: "contact", Name: "Contact", ManagedBy: access.ByAPI})
		case 1:
			login := rapid.SampledFrom([]string{"u1", "u2", "ann"}).Draw(t, "login")
			if _, taken := s.UserByLogin(login); !taken {
				put(access.User{Environment: "sales", ID: access.UserID("made-" + login), Login: login, Name: login, BusinessUnit: "hq", Enabled: true, ManagedBy: access.ByAPI})
			}
		case 2:
			for _, o := range s.Memberships {
				set.Changes = append(set.Changes, access.Remove(o))
				break
			}
		case 3:
			for _, o := range s.Users {
				set.Changes = append(set.Changes, access.Remove(o))
				break
			}
		}
		return set, nil
	})
	require.NoError(t, err)
}

// FuzzParseRow: a reference that no pin was written into comes back as it is, and
// one that was gives back its pin.
func FuzzParseRow(f *testing.F) {
	f.Add("cn=sales,dc=example", "42", false)
	f.Add(heldPrefix+"x", "a b/%", true)
	f.Fuzz(func(t *testing.T, far, id string, stale bool) {
		_, _ = parseRow(directory.Ref(far)) // whatever is stored, it must not panic
		prefix := heldPrefix
		if stale {
			prefix = stalePrefix
		}
		back, p := parseRow(directory.Ref(prefix + url.PathEscape(id) + " " + far))
		require.Equal(t, directory.Ref(far), back)
		require.Equal(t, pin{id: directory.ObjectID(id), stale: stale}, p)
	})
}

// drawStep edits what the source says, and at times what others have said, and has
// the source say it, whole or what is new in it. It returns the world that then is.
func drawStep(t *rapid.T, r *rig, w world, delta bool) world {
	now := drawEdit(t, w)
	mode, pages := directory.Full, now.pages()
	if delta && rapid.Bool().Draw(t, "delta") {
		mode = directory.Delta
		now = now.after(w)
		pages = w.difference(now)
	}
	if rapid.IntRange(0, 3).Draw(t, "by others") == 0 {
		drawOthers(t, r)
	}
	r.source.says(mode, pages...)
	return now
}
