package jit

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
)

// move is one thing that can happen. event is nil for what is not a person's.
type move struct {
	name  string
	event func(w *world) Event
	other func(w *world)
}

// moves are those of three people (Ann asks, Bob and Bea decide, two must
// approve), a directory, a role's editor and the clock, over two requests.
func moves() []move {
	const one, two = "req_1", "req_2"
	person := func(name string, e Event) move {
		return move{name: name, event: func(*world) Event { return e }}
	}
	approve := func(u access.UserID, id string) move {
		return move{name: string(u) + " approves " + id, event: func(w *world) Event {
			e := Event{Kind: Approve, By: who(u), Request: id, ID: "dec_" + string(u) + id + w.now.Format("150405") + string(rune('a'+w.rev%20))}
			if out, err := Step(w.view(), Event{Kind: Show, By: who(u), Request: id}, w.now); err == nil {
				require.NoError(w.t, w.commit(out.Changes, out.Events))
				e.Digest = out.Evidence.Digest
			}
			return e
		}}
	}
	closers := access.MembershipKey{Team: "closers", User: "ann"}
	member := access.Membership{Environment: env, Team: "closers", User: "ann", ManagedBy: access.ByMapping, Origin: access.Origin{Source: "ad", Object: "closers"}}
	return []move{
		person("ann asks", Event{Kind: Submit, By: who("ann"), ID: one, Ask: ask()}),
		person("ann asks for later", Event{Kind: Submit, By: who("ann"), ID: two, Ask: ask(func(a *Ask) { a.Start = noon.Add(2 * time.Hour) })}),
		approve("bob", one), approve("bea", one), approve("bob", two), approve("bea", two), approve("ann", one),
		person("bob denies", Event{Kind: Deny, By: who("bob"), Request: one, ID: "dec_deny", Comment: "no"}),
		person("bob withdraws", Event{Kind: Withdraw, By: who("bob"), Request: one}),
		person("ann cancels", Event{Kind: Cancel, By: who("ann"), Request: one}),
		person("ann gives back", Event{Kind: Relinquish, By: who("ann"), Request: one}),
		person("bea revokes", Event{Kind: Revoke, By: who("bea"), Request: two, Comment: "enough"}),
		{name: "ann leaves or joins the group", other: func(w *world) {
			if m, ok := w.state.Memberships[closers]; ok {
				w.must(access.Remove(m))
			} else {
				w.must(access.Put(member))
			}
		}},
		{name: "bob loses or gets the authority", other: func(w *world) {
			m := access.Membership{Environment: env, Team: "deciders", User: "bob", ManagedBy: access.ByMapping}
			if was, ok := w.state.Memberships[access.MembershipKey{Team: "deciders", User: "bob"}]; ok {
				w.must(access.Remove(was))
			} else {
				w.must(access.Put(m))
			}
		}},
		{name: "the role changes", other: func(w *world) {
			r := w.state.Roles["manager"]
			more := access.Privilege{Table: "team", Action: access.Read, Depth: access.Local}
			if i := slices.Index(r.Privileges, more); i >= 0 {
				r.Privileges = r.Privileges[:i]
			} else {
				r.Privileges = append(r.Privileges[:2:2], more)
			}
			w.must(access.Put(r))
		}},
		{name: "two hours pass", other: func(w *world) { w.now = w.now.Add(2 * time.Hour) }},
		{name: "the sweeper runs", other: func(w *world) { w.sweep() }},
	}
}

func (w *world) sweep() {
	out, _ := Sweep(w.view(), w.now, 100)
	require.NoError(w.t, w.commit(out.Changes, out.Events))
}

// make plays the move and says how it ended: the slug of a refusal, or "".
func (m move) make(w *world) string {
	if m.event == nil {
		m.other(w)
		return ""
	}
	_, refusal := w.do(m.event(w))
	if refusal != nil {
		return refusal.Slug
	}
	return ""
}

// key tells worlds apart by all that can bear on what happens next.
func (w *world) key() string {
	all := map[string]any{"now": w.now, "roles": w.state.Roles["manager"]}
	for k, a := range w.state.Assignments {
		all["a/"+string(k)] = a
	}
	for k := range w.state.Memberships {
		all["m/"+string(k.Team)+"/"+string(k.User)] = true
	}
	for _, r := range w.requests() {
		for i := range r.Decisions {
			r.Decisions[i].ID = "" // an id bears on nothing
		}
		all["r/"+r.ID] = r
	}
	b, err := json.Marshal(all)
	require.NoError(w.t, err)
	return string(b)
}

// requests lists copies of all requests, open and closed.
func (w *world) requests() []Request {
	var out []Request
	for _, r := range w.view().judge(w.now).requests(func(Request) bool { return true }) {
		out = append(out, clone(r))
	}
	for _, r := range w.closed {
		out = append(out, clone(r))
	}
	return out
}

// hold checks what must be true of every world, and of the step from before to it.
func (w *world) hold(t require.TestingT, before *world) {
	requests := map[string]Request{}
	for _, r := range w.requests() {
		requests[r.ID] = r
	}
	// No allow outside an effective window, and no deny inside one.
	var instants []time.Time
	for _, r := range requests {
		if r.Grant != nil {
			for _, edge := range []time.Time{r.Grant.Window.Start, r.Grant.Window.End} {
				instants = append(instants, edge.Add(-time.Microsecond), edge, edge.Add(time.Microsecond))
			}
		}
	}
	for _, at := range append(instants, w.now) {
		open := false
		for _, r := range requests {
			open = open || r.Grant != nil && r.Grant.Ended == nil && r.Grant.Window.Holds(at)
		}
		if !at.Before(w.now) {
			require.Equal(t, open, w.may("ann", at).Allowed, "at %s", at)
		}
	}
	// Grants and assignments are one to one.
	grants := 0
	for _, r := range requests {
		require.Equal(t, r.State == Approved, r.Grant != nil)
		if r.Grant != nil && r.Grant.Ended == nil {
			grants++
			require.Equal(t, r.Grant.Window, w.state.Assignments[r.Grant.Assignment].Window)
		}
	}
	for _, a := range w.state.Assignments {
		if a.Request != "" {
			grants--
		}
	}
	require.Zero(t, grants)
	// Every stored change of state has its audit event, and every event its change.
	counts := map[string]int{}
	for _, op := range w.operations() {
		counts[op]++
	}
	want := map[string]int{}
	for _, r := range requests {
		want["jit.request.submitted"]++
		if r.State != Pending {
			want["jit.request."+string(r.State)]++
		}
		if r.Grant != nil {
			want["jit.grant.created"]++
			if r.Grant.Ended != nil {
				want["jit.grant.ended"]++
			}
		}
	}
	for _, op := range []string{
		"jit.request.submitted", "jit.request.approved", "jit.request.denied", "jit.request.cancelled", "jit.request.lapsed",
		"jit.request.void", "jit.grant.created", "jit.grant.ended",
	} {
		require.Equal(t, want[op], counts[op], op)
	}
	if before == nil {
		return
	}
	for _, was := range before.requests() {
		is, ok := requests[was.ID]
		require.True(t, ok)
		if was.Closed() {
			require.Equal(t, was, is, "what is final stays")
		}
		if was.State != Pending {
			require.Equal(t, was.State, is.State)
		}
		if was.Grant == nil && is.Grant != nil {
			w.backed(t, is)
		}
		if was.Grant != nil {
			require.Equal(t, was.Grant.Window, is.Grant.Window, "a window is never moved")
		}
	}
}

// backed checks that a grant that was just made has enough decisions, reading
// only what is stored.
func (w *world) backed(t require.TestingT, r Request) {
	voices := map[string]bool{}
	for _, d := range r.Decisions {
		_, selected := w.state.Memberships[access.MembershipKey{Team: "deciders", User: d.By}]
		if d.Approve && d.Withdrawn.IsZero() && !d.Lapsed && selected && d.Digest == r.Digest && w.user(d.By).Enabled {
			voices[w.user(d.By).Person] = true
		}
	}
	require.NotContains(t, voices, "p-ann")
	require.Len(t, voices, 2)
	_, eligible := w.state.Memberships[access.MembershipKey{Team: "closers", User: "ann"}]
	require.True(t, eligible)
}

func twoApprovers(t require.TestingT) *world {
	p := basePolicy()
	p.Stages[0].Quorum, p.Version = 2, 2
	p.PendingTTL = 5 * hour
	return newWorld(t, access.Put(p))
}

// TestRule_JIT_111 goes through every interleaving of the moves, joining those
// that lead to the same place. At each place it also checks that a judgement that
// is never committed (a crash) leaves no trace, and that sweeping first changes no
// answer (Rule JIT-70).
func TestRule_JIT_111_no_interleaving_breaks_the_rules(t *testing.T) {
	depth := 6
	if testing.Short() {
		depth = 4
	}
	type place struct {
		w    *world
		path []string
	}
	seen := map[string]bool{}
	layer := []place{{w: twoApprovers(t)}}
	granted := 0
	for d := range depth {
		var next []place
		for _, p := range layer {
			swept := p.w.fork()
			swept.sweep()
			for _, m := range moves() {
				w := p.w.fork()
				path := append(slices.Clone(p.path), m.name)
				func() {
					defer func() {
						if t.Failed() {
							t.Logf("after: %s", strings.Join(path, ", "))
						}
					}()
					result := m.make(w)
					w.hold(t, p.w)
					if m.event == nil {
						return
					}
					other := swept.fork()
					require.Equal(t, result, m.make(other), "sweeping first changes the answer")
				}()
				k := w.key()
				if seen[k] {
					continue
				}
				seen[k] = true
				for _, r := range w.requests() {
					if r.Grant != nil {
						granted++
						break
					}
				}
				next = append(next, place{w, path})
			}
		}
		layer = next
		t.Logf("%d events: %d places", d+1, len(seen))
	}
	require.Positive(t, granted)
}

func TestRule_JIT_3_a_judgement_that_is_not_committed_leaves_no_trace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := twoApprovers(t)
		for range rapid.IntRange(0, 12).Draw(t, "moves") {
			all := moves()
			all[rapid.IntRange(0, len(all)-1).Draw(t, "move")].make(w)
		}
		before := w.key()
		for _, m := range moves() {
			if m.event == nil {
				continue
			}
			e := m.event(w.fork())
			first, err1 := Step(w.view(), e, w.now)
			second, err2 := Step(w.view(), e, w.now)
			require.Equal(t, err1, err2)
			require.Equal(t, first, second, "the same question has the same answer")
			require.Equal(t, before, w.key())
		}
	})
}

// TestRule_JIT_111_properties plays long random games, with random gaps of time.
func TestRule_JIT_111_properties_of_long_games(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := twoApprovers(t)
		all := moves()
		for i := range rapid.IntRange(0, 4).Draw(t, "begun") { // so that many games come to a grant
			all[i].make(w)
		}
		for range rapid.IntRange(1, 30).Draw(t, "moves") {
			before := w.fork()
			w.now = w.now.Add(time.Duration(rapid.SampledFrom([]int64{0, 1, int64(time.Microsecond), int64(7 * time.Minute), int64(time.Hour)}).Draw(t, "gap"))).Truncate(time.Microsecond)
			all[rapid.IntRange(0, len(all)-1).Draw(t, "move")].make(w)
			w.hold(t, before)
		}
	})
}

func TestAGateIsTheEngines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		u, e := w.user("ann"), w.state.Environment
		u.Enabled, u.Licensed, u.Admitted = rapid.Bool().Draw(t, "enabled"), rapid.Bool().Draw(t, "licensed"), rapid.Bool().Draw(t, "admitted")
		e.RequireLicence = rapid.Bool().Draw(t, "licence")
		if rapid.Bool().Draw(t, "group") {
			e.SecurityGroup = &access.GroupRef{Source: "ad", Group: "g"}
		}
		changes := append(put(u), access.Put(e))
		for _, id := range []access.BusinessUnitID{"europe", "sales"} {
			b := w.state.BusinessUnits[id]
			b.Disabled = rapid.Bool().Draw(t, string(id))
			changes = append(changes, access.Put(b))
		}
		w.must(changes...)
		gate := w.view().judge(w.now).gate(u)
		got := string(w.may("ann", w.now).Reason)
		if gate == "" {
			require.Contains(t, []string{"no_privilege", "no_access", "allowed"}, got)
		} else {
			require.Equal(t, gate, got)
		}
	})
}

// TestReactNamesOnlyOpenRequests: whatever a changeset does, React answers with
// requests that it could change, and answering twice adds nothing.
func TestReactSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := twoApprovers(t)
		all := moves()
		for range rapid.IntRange(0, 10).Draw(t, "moves") {
			all[rapid.IntRange(0, len(all)-1).Draw(t, "move")].make(w)
		}
		var pool []access.Change
		for _, m := range slices.Collect(maps.Values(w.state.Memberships)) {
			pool = append(pool, access.Remove(m))
		}
		for _, u := range []access.UserID{"ann", "bob", "bea", "zoe"} {
			x := w.user(u)
			x.Enabled = false
			pool = append(pool, access.Put(x))
		}
		pool = append(pool, access.Remove(w.state.Roles["manager"]))
		n := rapid.IntRange(0, len(pool)).Draw(t, "n")
		chosen := rapid.Permutation(pool).Draw(t, "changes")[:n]
		full, err := w.state.Expand(chosen)
		if errors.As(err, new(*access.Invalid)) {
			return
		}
		require.NoError(t, err)
		more, _, err := React(w.state, full, w.now)
		require.NoError(t, err)
		again, events, err := React(w.state, append(full, more...), w.now)
		require.NoError(t, err)
		require.Empty(t, again)
		for _, e := range events {
			require.NotEqual(t, "jit.grant.ended", e.Operation)
		}
	})
}
