package dirsync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
)

// asked is a source that can be asked about one object.
type asked struct {
	*fake
	says  map[directory.ObjectID][]directory.Ref // nil: there is no such object
	err   error
	times int
	// meanwhile happens after the first answer.
	meanwhile func()
}

func (a *asked) LiveGroups(_ context.Context, id directory.ObjectID) (directory.Live, error) {
	live, err := a.LiveMembers(context.Background(), id)
	live.Untold = func(g directory.Object) bool { return g.Get(directory.AttrGroupKind) == "distribution" }
	return live, err
}

func (a *asked) LiveMembers(_ context.Context, id directory.ObjectID) (directory.Live, error) {
	refs, ok := slices.Clone(a.says[id]), a.says[id] != nil
	if a.times++; a.times == 1 && a.meanwhile != nil {
		a.meanwhile()
	}
	switch {
	case a.err != nil:
		return directory.Live{}, a.err
	case !ok:
		return directory.Live{}, fmt.Errorf("%s: %w", id, directory.ErrNoObject)
	}
	return directory.Live{Refs: refs}, nil
}

// live has ann in g, in h by way of g, and in the list m, which is in l.
func live(t *testing.T) (*rig, *asked) {
	r := newRig(t, modelFile, wide+rulesFile)
	r.source.says(directory.Full, company()...)
	r.mustSync()
	delta := directory.Page{
		Upserts: []directory.Upsert{
			group("h", "cn=h", directory.AttrDisplayName, "everybody"),
			group("m", "cn=m", directory.AttrDisplayName, "mail", directory.AttrGroupKind, "distribution"),
			group("l", "cn=l", directory.AttrDisplayName, "lists", directory.AttrGroupKind, "distribution"),
		},
		Members: []directory.Members{whole("h", "dn:cn=g", "dn:cn=nobody"), whole("m", "dn:cn=ann"), whole("l", "dn:cn=m")},
	}
	r.source.says(directory.Delta, delta)
	r.mustSync()
	r.source.says(directory.Delta)
	a := &asked{fake: r.source, says: map[directory.ObjectID][]directory.Ref{
		"a": {"id:g", "id:h"}, "g": {"dn:cn=ann", "id:b"}, "h": {"dn:cn=g", "dn:cn=nobody"},
	}}
	c := r.config()
	c.Sources[0].Reader = a
	r.sync.Replace(c)
	return r, a
}

func (r *rig) live(kind directory.Kind, name string) (string, error) {
	a, err := r.sync.Live(r.t.Context(), LiveQuestion{Source: "corp", Kind: kind, Name: name})
	said := fmt.Sprintf("%s: %d", a.Object, a.Agree)
	for _, o := range a.Missing {
		said += " +" + o.String()
	}
	for _, o := range a.Extra {
		said += " -" + o.String()
	}
	if a.Gone {
		said += " gone"
	}
	require.Equal(r.t, a.Differs(), strings.Contains(said, " +") || strings.Contains(said, " -") || a.Gone)
	return said, err
}

func TestALiveCheckComparesOneUserOrGroup(t *testing.T) {
	r, a := live(t)
	all := r.everything()
	for _, c := range []struct {
		name string
		kind directory.Kind
		of   string
		edit func()
		want string
	}{
		{"a user by sign-in name", directory.KindUser, "ann", nil, "ann (a): 2"},
		{"a user by id", directory.KindUser, "a", nil, "ann (a): 2"},
		{"a user by DN", directory.KindUser, "CN=ann", nil, "ann (a): 2"},
		{"a group by name, whose members are named in two ways", directory.KindGroup, "Sales-North", nil, "sales-north (g): 2"},
		{"a member that is not mirrored is no difference where both name it", directory.KindGroup, "h", nil, "everybody (h): 2"},
		{"a group more", directory.KindUser, "ann", func() { a.says["a"] = []directory.Ref{"id:g", "id:h", "id:new"} }, "ann (a): 2 +id:new"},
		{"a group fewer", directory.KindUser, "ann", func() { a.says["a"] = []directory.Ref{"id:g"} }, "ann (a): 1 -everybody (h)"},
		{"a member more and one fewer", directory.KindGroup, "g", func() { a.says["g"] = []directory.Ref{"dn:cn=ann", "id:e"} }, "sales-north (g): 1 +eve (e) -bob (b)"},
		{"a member that nobody is", directory.KindGroup, "h", func() { a.says["h"] = []directory.Ref{"dn:cn=g"} }, "everybody (h): 1 -dn:cn=nobody"},
		{"an empty group", directory.KindGroup, "g", func() { a.says["g"] = []directory.Ref{} }, "sales-north (g): 0 -ann (a) -bob (b)"},
		{"a user who is gone", directory.KindUser, "bob", nil, "bob (b): 0 gone"},
	} {
		if c.edit != nil {
			c.edit()
		}
		a.times = 0
		said, err := r.live(c.kind, c.of)
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, said, c.name)
		want := 1
		if c.edit != nil || strings.HasSuffix(c.want, "gone") {
			want = 2
		}
		require.Equal(t, want, a.times, "%s: a difference is asked about once more", c.name)
	}
	require.Equal(t, all, r.everything(), "to ask changes nothing")
}

func TestALiveCheckSaysWhatCannotBeCompared(t *testing.T) {
	r, a := live(t)
	answer, err := r.sync.Live(t.Context(), LiveQuestion{Source: "corp", Kind: directory.KindUser, Name: "ann"})
	require.NoError(t, err)
	require.Equal(t, 1, answer.Untold, "of the list she is in; what that is in cannot be looked through to")
	_, err = r.live(directory.KindUser, "nobody")
	require.ErrorIs(t, err, ErrNotMirrored)
	_, err = r.live(directory.KindGroup, "ann")
	require.ErrorIs(t, err, ErrNotMirrored, "a user is no group")
	a.err = fmt.Errorf("cut: %w", directory.ErrIncomplete)
	_, err = r.live(directory.KindUser, "ann")
	require.ErrorIs(t, err, directory.ErrIncomplete, "an answer that is not whole is none (Rule SRC-1)")
	_, err = r.sync.Live(t.Context(), LiveQuestion{Source: "cloud", Kind: directory.KindUser, Name: "ann"})
	require.ErrorIs(t, err, ErrNoSource)
	r.sync.Replace(r.config())
	_, err = r.live(directory.KindUser, "ann")
	require.ErrorIs(t, err, ErrNotLive)

	r.source.says(directory.Delta, directory.Page{Upserts: []directory.Upsert{user("n", "cn=n", directory.AttrUserName, "ann2", directory.AttrMail, "one@x"), user("o", "cn=o", directory.AttrMail, "one@x")}})
	r.mustSync()
	c := r.config()
	c.Sources[0].Reader = a
	r.sync.Replace(c)
	_, err = r.live(directory.KindUser, "one@x")
	require.ErrorIs(t, err, ErrAmbiguous)
}

func TestWhatChangesDuringALiveCheckIsNoDifference(t *testing.T) {
	for name, change := range map[string]func(*rig, *asked){
		"before the first answer, and the round tells of it": func(r *rig, a *asked) {
			a.says["g"] = []directory.Ref{"id:a"}
			r.source.says(directory.Delta, directory.Page{Members: []directory.Members{whole("g", "dn:cn=ann")}})
		},
		"after the first answer, and the round tells of it": func(r *rig, a *asked) {
			a.says["g"] = []directory.Ref{"id:a", "id:e"}
			a.meanwhile = func() {
				a.says["g"] = []directory.Ref{"id:a"}
				r.source.says(directory.Delta, directory.Page{Members: []directory.Members{whole("g", "dn:cn=ann")}})
			}
		},
		"after the round": func(r *rig, a *asked) {
			a.says["g"] = []directory.Ref{"id:a"}
			r.source.does(func(_ context.Context, _ directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
				a.says["g"] = []directory.Ref{"id:a", "id:b", "id:e"}
				return errors.Join(begin(directory.Delta), yield(directory.Page{Complete: true, Members: []directory.Members{whole("g", "dn:cn=ann")}}))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, a := live(t)
			change(r, a)
			said, err := r.live(directory.KindGroup, "g")
			require.NoError(t, err)
			require.Equal(t, "sales-north (g): 1", said)
		})
	}
}
