package dirsync

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	ldapsource "github.com/ambit-iam/ambit/connectors/ldap"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/secret"
	"github.com/ambit-iam/ambit/store"
	servers "github.com/ambit-iam/ambit/testdata/rig"
)

func (r *rig) verify(o VerifyOptions) Verification {
	r.t.Helper()
	report, err := r.sync.Verify(r.t.Context(), o)
	require.NoError(r.t, err)
	require.Len(r.t, report.Sources, 1)
	return report.Sources[0]
}

func texts(v Verification) []string {
	out := []string{}
	for _, d := range v.Differences {
		out = append(out, fmt.Sprintf("%s (%s): %s", d.Object, d.Name, d.Text))
	}
	return out
}

func TestVerify_by_reading_finds_every_kind_of_difference(t *testing.T) {
	r := newRig(t, modelFile, wide+rulesFile)
	r.source.says(directory.Full, company()...)
	r.mustSync()
	all := r.everything()
	v := r.verify(VerifyOptions{Stored: true})
	require.Equal(t, ByReading, v.Method)
	require.Equal(t, 4, v.Objects)
	require.Empty(t, texts(v))

	// From now on the source tells of no change by itself.
	now := []directory.Page{{
		Upserts: []directory.Upsert{
			user("a", "cn=ann", directory.AttrUserName, "ann", "ou", "South"), // other attributes
			user("e", "cn=eva", directory.AttrUserName, "eve", "ou", "HQ"),    // another name
			user("n", "cn=new", directory.AttrUserName, "new"),                // one more; bob is gone
			group("g", "cn=g", directory.AttrDisplayName, "sales-north"),
		},
		Members: []directory.Members{whole("g", "dn:cn=ann", "dn:cn=new")},
	}}
	r.source.does(func(_ context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
		mode, pages := directory.Delta, []directory.Page{}
		if start.Cursor == nil {
			mode, pages = directory.Full, now
		}
		if err := begin(mode); err != nil {
			return err
		}
		for _, p := range pages {
			if err := yield(p); err != nil {
				return err
			}
		}
		return yield(directory.Page{Complete: true, Cursor: []byte("next")})
	})
	r.sync.mirror.sources["corp"].cursor = []byte("last")
	v = r.verify(VerifyOptions{})
	require.Equal(t, []string{
		"a (cn=ann): the source has 2 other attributes [manager ou], 0 more memberships and ownerships, 0 fewer",
		"b (cn=bob): the source does not have it any more",
		"e (cn=eve): the source has it under another name",
		"g (cn=g): the source has 0 other attributes [], 1 more memberships and ownerships, 1 fewer",
		"n (): the source has it, and it is not mirrored",
	}, texts(v))
	require.Equal(t, all, r.everything(), "to verify changes nothing")

	report, err := r.sync.Verify(t.Context(), VerifyOptions{Repair: true})
	require.NoError(t, err)
	require.True(t, report.Repair.Applied)
	require.NotEqual(t, all, r.everything())
	require.Empty(t, texts(r.verify(VerifyOptions{Stored: true})))
}

func TestVerify_a_repair_goes_through_the_guards(t *testing.T) {
	r := newRig(t, modelFile, "guards: {remove_users: {max: 1, max_share: 1}}"+rulesFile)
	r.source.says(directory.Full, company()...)
	r.mustSync()
	all := r.everything()
	f := r.sync.mirror.facts("corp")
	// A fault of our own emptied the mirror's group, and the source has fewer people.
	for _, e := range append([]edgeNo{}, f.refs[f.lookupID("g")].links.out[directory.Member]...) {
		f.unlink(e)
	}
	r.source.does(func(_ context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
		mode := directory.Delta
		if start.Cursor == nil {
			mode = directory.Full
		}
		if err := begin(mode); err != nil {
			return err
		}
		if mode == directory.Full {
			if err := yield(directory.Page{Upserts: []directory.Upsert{user("a", "cn=ann", directory.AttrUserName, "ann", "ou", "North")}}); err != nil {
				return err
			}
		}
		return yield(directory.Page{Complete: true, Cursor: []byte("next")})
	})
	r.sync.mirror.sources["corp"].cursor = []byte("last")
	report, err := r.sync.Verify(t.Context(), VerifyOptions{Repair: true})
	require.ErrorIs(t, err, ErrHeld)
	require.Equal(t, 4, report.Sources[0].Count)
	require.False(t, report.Repair.Applied)
	require.Equal(t, all, r.everything(), "nobody loses anything without a person's word (Rule REL-4)")
}

func TestVerify_what_the_store_has_otherwise(t *testing.T) {
	r := newRig(t, modelFile, wide+rulesFile)
	r.source.says(directory.Full, company()...)
	r.mustSync()
	require.NoError(t, r.db.CommitMirror(t.Context(), store.MirrorPage{
		Source: "corp", Status: r.sync.mirror.sources["corp"].stored, Fence: r.sync.fence,
		RemoveEdges: []directory.Edge{{Group: "g", Far: "dn:cn=ann"}},
	}))
	require.Empty(t, texts(r.verify(VerifyOptions{})), "what is in memory is right")
	require.Equal(t, []string{"g (cn=g): the store has it otherwise"}, texts(r.verify(VerifyOptions{Stored: true})))
	report, err := r.sync.Verify(t.Context(), VerifyOptions{Stored: true, Repair: true})
	require.NoError(t, err)
	require.NotNil(t, report.Repair)
	require.Empty(t, texts(r.verify(VerifyOptions{Stored: true})))
}

func TestVerify_a_source_that_cannot_be_read_proves_nothing(t *testing.T) {
	r := newRig(t, modelFile, wide+rulesFile)
	r.source.says(directory.Full, company()...)
	r.mustSync()
	// The round is well; the second reading, to compare with, ends before its end.
	rounds := 0
	r.source.does(func(_ context.Context, _ directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
		if err := begin(directory.Full); err != nil {
			return err
		}
		if rounds++; rounds == 2 {
			return yield(directory.Page{Upserts: company()[0].Upserts[:1]})
		}
		for _, p := range company() {
			if err := yield(p); err != nil {
				return err
			}
		}
		return yield(directory.Page{Complete: true})
	})
	report, err := r.sync.Verify(t.Context(), VerifyOptions{Repair: true})
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.Zero(t, report.Sources[0].Count)
	require.Nil(t, report.Repair)
	_, err = r.sync.Verify(t.Context(), VerifyOptions{Sources: []directory.SourceID{"nobody"}})
	require.EqualError(t, err, `there is no source "nobody"`)
}

// deaf is a source that, when it is told to, does not tell of what has changed:
// the fault that only a verification finds.
type deaf struct {
	*ldapsource.Source
	now    atomic.Bool
	during func() // called once, in the middle of a survey
}

func (d *deaf) Read(ctx context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
	if !d.now.Load() {
		return d.Source.Read(ctx, start, begin, yield)
	}
	if err := begin(directory.Delta); err != nil {
		return err
	}
	return yield(directory.Page{Complete: true})
}

func (d *deaf) Survey(ctx context.Context, start directory.Start, yield func([]directory.State) error) error {
	return d.Source.Survey(ctx, start, func(states []directory.State) error {
		if during := d.during; during != nil {
			d.during = nil
			during()
		}
		return yield(states)
	})
}

const (
	verifiedPeople = 2_000
	verifiedGroups = 250
	verifiedSize   = 1_000
)

func personDN(i int) string {
	return fmt.Sprintf("uid=person%d,ou=people,dc=example,dc=com", i%verifiedPeople)
}
func groupDN(i int) string { return fmt.Sprintf("cn=group%d,ou=groups,dc=example,dc=com", i) }

// crowd writes a directory of a quarter of a million memberships.
func crowd(w io.Writer) error {
	fmt.Fprint(w, "dn: dc=example,dc=com\nobjectClass: domain\ndc: example\n\n")
	for _, ou := range []string{"people", "groups"} {
		fmt.Fprintf(w, "dn: ou=%[1]s,dc=example,dc=com\nobjectClass: organizationalUnit\nou: %[1]s\n\n", ou)
	}
	for i := range verifiedPeople {
		fmt.Fprintf(w, "dn: %s\nobjectClass: inetOrgPerson\nuid: person%[2]d\ncn: Person %[2]d\nsn: Person\n\n", personDN(i), i)
	}
	for g := range verifiedGroups {
		fmt.Fprintf(w, "dn: %s\nobjectClass: groupOfNames\ncn: group%d\n", groupDN(g), g)
		for m := range verifiedSize {
			fmt.Fprintf(w, "member: %s\n", personDN(g*7+m))
		}
		fmt.Fprintln(w)
	}
	return nil
}

// One membership among 250,000 that is other than in the source is found each
// time, whichever side has changed it; what the source changes meanwhile is none.
func TestVerify_by_version_finds_one_membership_among_a_quarter_of_a_million(t *testing.T) {
	server := servers.StartSlapd(t, crowd)
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte(server.Password), 0o600))
	reader, err := ldapsource.New(ldapsource.Config{
		Server: ldapsource.Server{URL: server.TLSURL, CAFile: server.CAFile, BindDN: server.BindDN, Password: secret.Ref("file:" + password)},
		Users:  ldapsource.Users{Base: "ou=people,dc=example,dc=com"}, Groups: ldapsource.Groups{Base: "ou=groups,dc=example,dc=com"},
	})
	require.NoError(t, err)
	source := &deaf{Source: reader}
	r := newRig(t, modelFile, "")
	r.sync.Replace(Config{Sources: []Source{{ID: "corp", Reader: source}}})
	conn, err := ldap.DialURL(server.URL)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.Bind(server.RootDN, server.Password))
	change := func(group, member string, add bool) {
		request := ldap.NewModifyRequest(group, nil)
		if add {
			request.Add("member", []string{member})
		} else {
			request.Delete("member", []string{member})
		}
		require.NoError(t, conn.Modify(request))
	}
	v := r.verify(VerifyOptions{Stored: true})
	require.Equal(t, ByVersion, v.Method)
	require.Equal(t, verifiedPeople+verifiedGroups, v.Objects)
	require.Empty(t, texts(v))
	f := r.sync.mirror.facts("corp")
	require.Len(t, f.edgeNumbers, verifiedGroups*verifiedSize)

	random := rand.New(rand.NewPCG(4, 5))
	const tries = 100
	for try := range tries {
		g := random.IntN(verifiedGroups)
		n := f.target(f.lookup(directory.ByDN(groupDN(g))))
		e := f.refs[n].links.out[directory.Member][random.IntN(verifiedSize)]
		name := f.refs[f.edges[e].far].name
		member, _ := name.DN()
		want := []string{fmt.Sprintf("%s (%s): %s", f.id(n), groupDN(g), notAsRead)}
		switch try % 4 {
		case 0: // the mirror lost one
			f.unlink(e)
			require.Equal(t, want, texts(r.verify(VerifyOptions{})))
			f.link(n, directory.Member, name)
		case 1: // the mirror made one up
			extra, _ := f.link(n, directory.Member, directory.ByDN(groupDN(g)))
			require.Equal(t, want, texts(r.verify(VerifyOptions{})))
			f.unlink(extra)
		case 2: // the source changed one, and nothing told us
			source.now.Store(true)
			change(groupDN(g), member, false)
			v := r.verify(VerifyOptions{})
			require.Equal(t, []string{fmt.Sprintf("%s (%s): %s", f.id(n), groupDN(g), otherVersion)}, texts(v))
			source.now.Store(false)
			change(groupDN(g), member, true)
		case 3: // it changes while we look, and tells
			source.during = func() { change(groupDN(g), member, false) }
			require.Empty(t, texts(r.verify(VerifyOptions{})))
			change(groupDN(g), member, true)
		}
	}
	require.Empty(t, texts(r.verify(VerifyOptions{Stored: true})))
}
