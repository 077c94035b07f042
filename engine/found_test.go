package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/engine/enginetest"
)

// difference is what the engine and the reference, or two engines, say of one thing.
type difference struct {
	state     *access.State
	asked     enginetest.Asked
	got, want string
}

func asking(about string, qs ...engine.Question) *enginetest.Asked {
	return &enginetest.Asked{About: about, Questions: qs}
}

func differ(st *access.State, load load, asked enginetest.Asked) *difference {
	got, want := answers(st, load, asked)
	return &difference{st, asked, got, want}
}

// answers says in one text each what the engine and the reference answer. Where
// the organisation cannot be loaded, only Load tells.
func answers(st *access.State, load load, asked enginetest.Asked) (got, want string) {
	s, err := load(st, 7)
	if asked.About == "Load" {
		return fmt.Sprint("loaded: ", err), "loaded: <nil>"
	}
	if err != nil {
		return "", ""
	}
	r := enginetest.Reference{State: st, Revision: 7}
	if asked.About == "Ruling" {
		rule := func(s enginetest.Subject) string {
			may, by, err := s.Rule(*asked.Ruling)
			return say(fmt.Sprint(may, " ", by), err)
		}
		return rule(s), rule(r)
	}
	both := func(ask func(enginetest.Subject) (any, error)) (got, want string) { return say(ask(s)), say(ask(r)) }
	q := asked.Questions[0]
	switch asked.About {
	case "Check":
		return both(func(s enginetest.Subject) (any, error) { return s.Check(q) })
	case "Columns":
		return both(func(s enginetest.Subject) (any, error) { return s.Columns(q) })
	case "Rights":
		return both(func(s enginetest.Subject) (any, error) { return s.Rights(q) })
	case "Who":
		return both(func(s enginetest.Subject) (any, error) { return s.Who(q) })
	case "Filter":
		return both(func(s enginetest.Subject) (any, error) { return s.Filter(q, asked.By) })
	case "WhatTeam":
		return bothOnTeam(st, s, r, q)
	case "Selects":
		f, err := s.Filtered(q, asked.By)
		selects, wantErr := r.Selects(q, asked.By)
		return say(err == nil && f.Selects(*q.Record), err), say(selects, wantErr)
	case "Explain":
		// There is an origin exactly when Check allows (Rule EVAL-8).
		e, err := s.Explain(q, -1)
		d, wantErr := r.Check(q)
		return say(fmt.Sprint(e.Decision, len(e.Origins) > 0), err), say(fmt.Sprint(d, d.Allowed), wantErr)
	case "Apply":
		return advanced(st, s, load, asked)
	case "CheckAll":
		var each, all []string
		for _, a := range s.CheckAll(asked.Questions) {
			each = append(each, say(a.Decision, a.Err))
		}
		for _, q := range asked.Questions {
			all = append(all, say(r.Check(q)))
		}
		return strings.Join(each, "\n"), strings.Join(all, "\n")
	}
	panic("internal error: no such thing to ask: " + asked.About)
}

// advanced says what a candidate that made the changes answers, and one that is
// loaded after them.
func advanced(st *access.State, s candidate, load load, asked enginetest.Asked) (got, want string) {
	next, rev := enginetest.Clone(st), access.Revision(7)
	var err error
	for _, changes := range asked.Changes {
		rev++
		next.Apply(changes...)
		if s, err = s.Advanced(changes, rev); err != nil {
			break
		}
	}
	fresh, freshErr := load(next, rev)
	switch {
	case freshErr != nil:
		return "", ""
	case err != nil:
		return "error: " + err.Error(), everything(fresh, asked.Questions[0])
	}
	return everything(s, asked.Questions[0]), everything(fresh, asked.Questions[0])
}

// say is one text for what is answered alike.
func say(v any, err error) string {
	switch {
	case errors.Is(err, engine.ErrLocked):
		return "error: locked"
	case errors.Is(err, engine.ErrUnknown):
		return "error: unknown"
	case err != nil:
		return "error: cannot be judged"
	}
	if v, ok := v.([]access.UserID); ok && v == nil {
		return "[]"
	}
	b, err := json.Marshal(v)
	return fmt.Sprint(string(b), err)
}

// kind tells an error, by its text, from an answer, so that a difference does not
// become another one while it shrinks.
func kind(said string) string {
	if strings.HasPrefix(said, "error") || strings.HasPrefix(said, "loaded") {
		return said
	}
	return ""
}

// keep shrinks a difference and writes it: as a decision table, if a case of one
// fails because of it, and otherwise with the organisation as it is.
func keep(dir string, seed uint64, d *difference, load load) (string, error) {
	differs := func(st *access.State, asked enginetest.Asked) bool {
		got, want := answers(st, load, asked)
		return got != want && kind(got) == kind(d.got) && kind(want) == kind(d.want)
	}
	asked := enginetest.ShrinkAsked(d.asked, func(a enginetest.Asked) bool { return differs(d.state, a) })
	st := enginetest.Shrink(d.state, func(st *access.State) bool { return differs(st, asked) })
	name := fmt.Sprintf("%s of seed %d", asked.About, seed)
	if file, err := enginetest.Found(dir, name, st, asked); err == nil {
		table, err := enginetest.ReadTable(file)
		if err != nil {
			return "", err
		}
		c := table.Cases[0]
		s, err := load(c.State, 1)
		if err != nil || !passes(c, s) && passes(c, enginetest.Reference{State: c.State}) {
			return file, err
		}
		if err := os.Remove(file); err != nil {
			return "", err
		}
	}
	return enginetest.Kept{Name: name, Seed: seed, State: st, Asked: asked}.Keep(dir)
}

// passes tells whether the subject answers as the case says.
func passes(c enginetest.Case, s enginetest.Subject) bool {
	var o outcome
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(&o, s)
	}()
	<-done
	return !o.failed
}

// outcome is a test of which only the end is of interest.
type outcome struct{ failed bool }

func (o *outcome) Errorf(string, ...any) { o.failed = true }
func (o *outcome) FailNow() {
	o.failed = true
	runtime.Goexit()
}

// stays tells whether the engine decides all that the folder keeps as the reference
// does, and how much that is.
func stays(t *testing.T, tables []enginetest.Table, kept []enginetest.Kept, load load) bool {
	well := true
	for _, table := range tables {
		for _, c := range table.Cases {
			s, err := load(c.State, 1)
			if require.NoError(t, err); !passes(c, s) {
				well = false
			}
		}
	}
	for _, k := range kept {
		got, want := answers(k.State, load, k.Asked)
		well = well && got == want
	}
	return well
}

// broken is an engine with a fault of one kind.
type broken struct {
	candidate
	fault string
}

func (b broken) Check(q engine.Question) (engine.Decision, error) {
	d, err := b.candidate.Check(q)
	if b.fault == "Check" && d.Allowed && q.Action == access.Delete {
		d.Allowed, d.Reason = false, engine.NoAccess
	}
	return d, err
}

// CheckAll takes two questions of one user for the same.
func (b broken) CheckAll(qs []engine.Question) []engine.Answer {
	all := b.candidate.CheckAll(qs)
	for i := 1; b.fault == "CheckAll" && i < len(all); i++ {
		if qs[i].User == qs[i-1].User {
			all[i] = all[i-1]
		}
	}
	return all
}

func (b broken) Columns(q engine.Question) ([]enginetest.Column, error) {
	all, err := b.candidate.Columns(q)
	for i := range all {
		switch b.fault {
		case "Columns":
			all[i].Alone = "clear"
		case "Columns, beyond what a case tells":
			all[i].Create = true
		}
	}
	return all, err
}

func (b broken) Rights(q engine.Question) (access.Rights, error) {
	r, err := b.candidate.Rights(q)
	switch {
	case b.fault == "Rights" && r.Has(access.Write):
		r |= access.RightsOf(access.Delete)
	case b.fault == "Rights, in error":
		err = nil
	}
	return r, err
}

func (b broken) Who(q engine.Question) ([]access.UserID, error) {
	all, err := b.candidate.Who(q)
	if b.fault == "Who" && len(all) > 1 {
		all = all[1:]
	}
	return all, err
}

func (b broken) WhatTeam(id access.TeamID, at time.Time) (engine.TeamWhat, error) {
	w, err := b.candidate.WhatTeam(id, at)
	if b.fault == "WhatTeam" {
		w.Held = slices.DeleteFunc(w.Held, func(h engine.Held) bool { return h.Depth == access.Basic && h.Team == engine.Named{} })
	}
	return w, err
}

func (b broken) Filter(q engine.Question, by []string) (engine.Reason, error) {
	f, err := b.Filtered(q, by)
	return f.Reason, err
}

func (b broken) Filtered(q engine.Question, by []string) (engine.Filter, error) {
	if b.fault == "Filter" {
		by = nil
	}
	f, err := b.candidate.Filtered(q, by)
	if b.fault == "Selects" {
		f.All = slices.Clone(f.All)
		for i := range f.All {
			f.All[i].Users = nil
		}
	}
	return f, err
}

func (b broken) Rule(x enginetest.Ruling) (bool, string, error) {
	may, by, err := b.candidate.Rule(x)
	if b.fault == "Ruling" && by == "SHARE-3" {
		may, by = true, ""
	}
	return may, by, err
}

func (b broken) Explain(q engine.Question, limit int) (engine.Explanation, error) {
	e, err := b.candidate.Explain(q, limit)
	if b.fault == "Explain" && q.Action == access.Delete {
		e.Origins = nil
	}
	return e, err
}

// Advanced forgets that memberships end.
func (b broken) Advanced(changes []access.Change, rev access.Revision) (candidate, error) {
	if b.fault == "Apply" {
		changes = slices.DeleteFunc(slices.Clone(changes), func(c access.Change) bool {
			return c.Delete && c.Object.ObjectKind() == access.KindMembership
		})
	}
	s, err := b.candidate.Advanced(changes, rev)
	return broken{s, b.fault}, err
}

// What is found by chance is kept so that a test fails for as long as the engine has
// the fault, and no longer.
func TestRule_EVAL_12_EveryKindOfDifferenceIsKept(t *testing.T) {
	for fault, form := range map[string]string{
		"Load": ".json", "Check": ".yaml", "CheckAll": ".json", "Columns": ".yaml", "Columns, beyond what a case tells": ".json",
		"Rights": ".yaml", "Rights, in error": ".json", "Who": ".yaml", "Filter": ".json", "Selects": ".json", "Ruling": ".yaml",
		"Explain": ".json", "Apply": ".json", "WhatTeam": ".json",
	} {
		t.Run(fault, func(t *testing.T) {
			bad := func(st *access.State, rev access.Revision) (candidate, error) {
				s, err := loaded(st, rev)
				for _, team := range st.Teams {
					if fault == "Load" && team.Type == access.AccessTeam {
						err = errors.New("no access teams")
					}
				}
				return broken{s, fault}, err
			}
			seed := uint64(0)
			_, d := compare(seed, 50, bad)
			for ; d == nil; _, d = compare(seed, 50, bad) {
				seed++
			}
			about, _, _ := strings.Cut(fault, ",")
			require.Equal(t, about, d.asked.About)
			before := len(enginetest.Objects(d.state))
			dir := t.TempDir()
			file, err := keep(dir, seed, d, bad)
			require.NoError(t, err)
			require.Equal(t, form, file[len(file)-len(form):])
			kept, err := enginetest.AllKept(dir)
			require.NoError(t, err)
			var tables []enginetest.Table
			if len(kept) == 0 {
				tables, err = enginetest.Tables(dir)
				require.NoError(t, err)
				require.Less(t, len(enginetest.Objects(tables[0].State)), before/2)
			} else {
				require.Less(t, len(enginetest.Objects(kept[0].State)), before/2)
				require.Less(t, len(kept[0].Asked.Questions), 6)
				require.LessOrEqual(t, len(slices.Concat(kept[0].Asked.Changes...)), 1)
			}
			require.Equal(t, 1, len(kept)+len(tables))
			require.True(t, stays(t, tables, kept, loaded), "without the fault it stays decided")
			if fault == "Load" {
				_, err := bad(kept[0].State, 1)
				require.Error(t, err)
				return
			}
			require.False(t, stays(t, tables, kept, bad), "with the fault it does not")
		})
	}
}
