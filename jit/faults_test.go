package jit

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// TestRule_JIT_114 holds the faults that such systems usually have and that are
// this package's to avoid.
func TestRule_JIT_114_the_usual_faults(t *testing.T) {
	t.Run("eligibility is judged at the grant, not at the submission alone", func(t *testing.T) {
		w := newWorld(t)
		r := w.submit("ann", ask())
		e := w.approval("bob", r.ID)
		// Nobody reacts here: Step must find it by itself.
		w.state.Apply(access.Remove(w.state.Memberships[access.MembershipKey{Team: "closers", User: "ann"}]))
		var err error
		w.shot, err = engine.New(w.state, w.rev)
		require.NoError(t, err)
		e.Digest = w.show("bob", r.ID).Digest
		w.refused(NotEligible, e)
	})
	t.Run("a membership of a team that is gone names nobody", func(t *testing.T) {
		w := newWorld(t)
		w.state.Apply(access.Remove(w.state.Teams["closers"]))
		w.refused(NotEligible, Event{Kind: Submit, By: who("ann"), ID: "req_1", Ask: ask()})
	})
	t.Run("so are the gates", func(t *testing.T) {
		w := newWorld(t)
		r := w.submit("ann", ask())
		e := w.approval("bob", r.ID)
		u := w.user("ann")
		u.Enabled = false
		w.state.Apply(access.Put(u))
		w.refused(SubjectDisabled, func() Event { e.Digest = w.show("bob", r.ID).Digest; return e }())
	})
	t.Run("what has ended is never opened again", func(t *testing.T) {
		w := newWorld(t)
		r := w.submit("ann", ask())
		e := w.approval("bea", r.ID)
		w.approve("bob", r.ID)
		w.done(Event{Kind: Revoke, By: who("bob"), Request: r.ID, Comment: "enough"})
		for _, k := range []EventKind{Approve, Deny, Withdraw, Cancel, Show} {
			e.Kind, e.Comment = k, "again"
			w.refused(NotPending, e)
		}
		require.False(t, w.may("ann", w.now).Allowed)
	})
	t.Run("a decision after the completing one is not recorded", func(t *testing.T) {
		w := newWorld(t)
		r := w.submit("ann", ask())
		e := w.approval("bea", r.ID)
		w.approve("bob", r.ID)
		w.refused(NotPending, e)
		require.Len(t, w.get(r.ID).Decisions, 1)
	})
	t.Run("a pending request that lapsed while nothing ran takes no decision", func(t *testing.T) {
		w := newWorld(t)
		r := w.submit("ann", ask())
		e := w.approval("bob", r.ID)
		w.now = r.PendingUntil
		w.refused(NotPending, e)
		require.Empty(t, Queue(w.view(), who("bob"), w.now))
	})
	t.Run("the package has no clock, store or network", func(t *testing.T) {
		files, err := filepath.Glob("*.go")
		require.NoError(t, err)
		forbidden := regexp.MustCompile(`time\.(Now|Since|Until|After|Sleep|NewTimer|NewTicker|Tick)\(|"(os|net|net/http|log|log/slog|database/sql|context|sync)"`)
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			src, err := os.ReadFile(f)
			require.NoError(t, err)
			require.Empty(t, forbidden.FindString(string(src)), f)
		}
	})
	t.Run("an unknown event is an error and no answer", func(t *testing.T) {
		w := newWorld(t)
		r := w.submit("ann", ask())
		out, err := Step(w.view(), Event{Kind: "approve_quietly", By: who("bob"), Request: r.ID}, w.now)
		require.Error(t, err)
		require.Empty(t, out)
	})
	t.Run("instants finer than a microsecond do not open a gap", func(t *testing.T) {
		w := newWorld(t)
		r := w.submit("ann", ask())
		e := w.approval("bob", r.ID)
		w.now = w.now.Add(1999 * time.Nanosecond)
		require.Equal(t, noon.Add(time.Microsecond), w.done(e).Grant.Window.Start)
	})
}
