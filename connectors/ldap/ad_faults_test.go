package ldap

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/ldap/ldaptest"
	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// lossyAD reads a controller through a proxy.
func lossyAD(t testing.TB, s *rig.Samba) (ADConfig, *ldaptest.Proxy) {
	proxy, err := ldaptest.StartProxy(s.URL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, proxy.Close()) })
	c := ad(t, s)
	c.URL, c.CAFile, c.ServerName, c.InsecurePlaintextLoopback, c.IdleSeconds = proxy.URL, "", "", true, 5
	return c, proxy
}

func TestRule_INC_3_a_list_that_comes_in_parts_is_read_whole(t *testing.T) {
	s := rig.StartSamba(t)
	w := writeAD(t, s)
	f := map[string]*adFollowing{}
	for _, changes := range []string{dirSync, byUSN, everything} {
		c, proxy := lossyAD(t, s)
		proxy.Rewrite(ldaptest.LimitValues(7)) // Rule AD-13
		c.Changes = changes
		f[changes] = followAD(t, c)
	}
	large := "CN=" + largest() + "," + rig.GroupsOU
	ada := w.user("ada")
	w.enter(large, ada)
	w.rename(large, "CN=renamed", "")
	for changes, f := range f {
		f.next()
		whole, err := sourcetest.Collect(t.Context(), adSource(t, func() ADConfig { c := ad(t, s); c.Changes = everything; return c }()), directory.Start{})
		require.NoError(t, err)
		same(t, whole, f.Round)
		renamed := f.id("CN=renamed," + rig.GroupsOU)
		require.True(t, f.has(renamed, f.id(ada)), changes)
		live, err := f.source.LiveMembers(t.Context(), renamed)
		require.NoError(t, err)
		require.Greater(t, len(live.Refs), 7)
		for _, far := range live.Refs {
			require.True(t, f.Edges[directory.Edge{Group: renamed, Relation: directory.Member, Far: far}], "%s: %s", changes, far)
		}
	}
	// Rule AD-14: Samba has no such limit, and the proxy stands in for it.
	found, err := w.conn.Search(ldap.NewSearchRequest("CN=renamed,"+rig.GroupsOU, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"member"}, nil))
	require.NoError(t, err)
	require.Greater(t, len(found.Entries[0].GetAttributeValues("member")), 7)

	// A controller that stops giving the parts: nothing is taken away.
	c, proxy := lossyAD(t, s)
	c.Changes = byUSN
	g := followAD(t, c)
	members := len(g.Edges)
	limit := ldaptest.LimitValues(7)
	proxy.Rewrite(func(request, answer *ber.Packet) []*ber.Packet {
		if ldaptest.Asks(request, "member;range=7-") && answer.Children[1].Tag == ldap.ApplicationSearchResultEntry {
			return nil
		}
		return limit(request, answer)
	})
	w.set("CN=renamed,"+rig.GroupsOU, "description", "changed")
	round, err := sourcetest.Follow(t.Context(), g.source, directory.Start{}, g.Round)
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.False(t, round.Complete)
	require.Len(t, round.Edges, members)
}

// largest is the small company's largest group.
func largest() string {
	groups := company.Small().Groups
	return slices.MaxFunc(groups, func(a, b company.Group) int {
		if a.Home != company.LDAP || b.Home != company.LDAP {
			return strings.Compare(string(a.Home), string(b.Home))
		}
		return len(a.Members) - len(b.Members)
	}).Name
}

func TestRule_AD_12_a_controller_that_was_restored_is_read_in_full(t *testing.T) {
	s := rig.StartSamba(t)
	for _, changes := range []string{dirSync, byUSN} {
		c, proxy := lossyAD(t, s)
		c.Changes = changes
		f := followAD(t, c)
		f.next()
		require.Equal(t, directory.Delta, f.Mode)
		proxy.Rewrite(as("", "another database"))
		f.next()
		require.Equal(t, directory.Full, f.Mode, changes)
		f.next()
		require.Equal(t, directory.Delta, f.Mode)
	}
}

func TestRule_AD_12_a_controller_that_was_put_back_is_read_in_full(t *testing.T) {
	s := rig.StartSamba(t)
	private, backup := filepath.Join(s.Dir, "private"), filepath.Join(t.TempDir(), "private")
	copyTo := func(from, to string) {
		require.NoError(t, os.RemoveAll(to))
		require.NoError(t, exec.CommandContext(t.Context(), "cp", "-a", from, to).Run())
	}
	s.Restart(t, func() { copyTo(private, backup) })
	ways := map[string]*adFollowing{}
	for _, changes := range []string{dirSync, byUSN} {
		c := ad(t, s)
		c.Changes = changes
		ways[changes] = followAD(t, c)
	}
	w, group := writeAD(t, s), rig.GroupDN(company.Small().Groups[0])
	ada := w.user("ada")
	w.enter(group, ada)
	ids := map[string]directory.ObjectID{}
	for changes, f := range ways {
		f.next()
		require.Equal(t, directory.Delta, f.Mode, changes)
		ids[changes] = f.id(ada)
	}
	s.Restart(t, func() { copyTo(backup, private) })
	for changes, f := range ways {
		err := f.source.Read(t.Context(), directory.Start{Cursor: f.Cursor}, func(directory.Mode) error { return nil }, func(directory.Page) error { return nil })
		require.ErrorIs(t, err, directory.ErrCursorExpired, changes)
		require.ErrorContains(t, err, "put back to an earlier state", changes)
		f.next()
		require.Equal(t, directory.Full, f.Mode, changes)
		require.NotContains(t, f.Objects, ids[changes], changes)
		f.asRead()
		f.next()
		require.Equal(t, directory.Delta, f.Mode, changes)
	}
}

func TestRule_AD_11_cookies_that_are_of_no_use(t *testing.T) {
	s := rig.StartSamba(t)
	f, w := followAD(t, ad(t, s)), writeAD(t, s)
	for name, c := range map[string]struct {
		edit func(cookie []byte, invocation string) []byte
		full bool
	}{
		"rubbish":   {func([]byte, string) []byte { return []byte("rubbish") }, true},
		"cut short": {func(b []byte, _ string) []byte { return b[:len(b)/2] }, true},
		"of a controller of another domain": {func(b []byte, invocation string) []byte { // which Samba begins anew from
			own, err := hex.DecodeString(strings.NewReplacer("(objectGUID=", "", `\`, "", ")", "").Replace(guidFilter(directory.ObjectID(invocation))))
			require.NoError(t, err)
			require.True(t, bytes.Contains(b, own))
			return bytes.ReplaceAll(b, own, []byte("another database")[:16])
		}, false},
	} {
		var cursor adCursor
		require.NoError(t, json.Unmarshal(f.Cursor, &cursor))
		for kind, cookie := range cursor.Cookies {
			cursor.Cookies[kind] = c.edit(cookie, cursor.Invocations["dc1.corp.example"])
		}
		w.remove(w.user("ada"))
		bob := w.user("bob")
		f.Cursor = cursor.encode()
		f.next()
		require.Equal(t, c.full, f.Mode == directory.Full, name)
		f.asRead()
		w.remove(bob)
	}
}

// as makes a controller look like another one, by name and database.
func as(name, invocation string) ldaptest.Rewrite {
	return func(_, answer *ber.Packet) []*ber.Packet {
		return []*ber.Packet{ldaptest.EditEntry(answer, func(attributes []company.Attribute) []company.Attribute {
			for i, a := range attributes {
				switch {
				case a.Name == "dnsHostName" && name != "":
					attributes[i].Values = []string{name}
				case a.Name == "invocationId":
					attributes[i].Values = []string{invocation[:16]}
				}
			}
			return attributes
		})}
	}
}

func TestRule_AD_11_another_controller_takes_over(t *testing.T) {
	s := rig.StartSamba(t)
	w := writeAD(t, s)
	for _, changes := range []string{dirSync, byUSN} {
		c, first := lossyAD(t, s)
		second, err := ldaptest.StartProxy(s.URL)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, second.Close()) })
		second.Rewrite(as("dc2.corp.example", "the second's database"))
		c.Changes, c.Fallbacks = changes, []string{second.URL}
		f := followAD(t, c)
		ada := w.user("ada-" + changes)
		require.NoError(t, first.Close())
		f.next()
		want := directory.Delta // DirSync's cookie is good for any controller
		if changes == byUSN {
			want = directory.Full // change numbers are a controller's own
		}
		require.Equal(t, want, f.Mode, changes)
		require.Contains(t, f.Objects, f.id(ada))
		f.next()
		require.Equal(t, directory.Delta, f.Mode)
		f.asRead()

		// The first comes back, and is read from where it was left.
		w.remove(ada)
		direct, err := newDialer(ad(t, s).Server)
		require.NoError(t, err)
		f.source.dialers = []*dialer{direct}
		f.next()
		require.Equal(t, directory.Delta, f.Mode, changes)
		f.asRead()
	}
}

func TestRule_AD_21_a_password_in_the_clear_is_refused_by_the_controller(t *testing.T) {
	s := rig.StartStrictSamba(t)
	c, _ := lossyAD(t, s)
	_, err := sourcetest.Collect(t.Context(), adSource(t, c), directory.Start{})
	require.ErrorIs(t, err, directory.ErrAuth)
	require.ErrorContains(t, err, "use ldaps://")
	_, err = sourcetest.Collect(t.Context(), adSource(t, ad(t, s)), directory.Start{})
	require.NoError(t, err)
	c = ad(t, s)
	c.URL, c.StartTLS, c.BindDN = s.URL, true, "ambit@corp.example"
	round, err := sourcetest.Collect(t.Context(), adSource(t, c), directory.Start{})
	require.NoError(t, err, "StartTLS, and a user principal name")
	require.NotEmpty(t, round.Objects)
}

func TestRule_INC_1_what_looks_empty_takes_nothing_away(t *testing.T) {
	s := rig.StartSamba(t)
	c, proxy := lossyAD(t, s)
	for _, changes := range []string{dirSync, byUSN} {
		c.Changes = changes
		f := followAD(t, c)
		f.next()
		try := func(t *testing.T, c ADConfig) (sourcetest.Round, error) {
			t.Helper()
			round, err := sourcetest.Follow(t.Context(), adSource(t, c), directory.Start{}, f.Round)
			require.Error(t, err)
			require.False(t, round.Complete)
			for id := range f.Objects {
				require.Contains(t, round.Objects, id)
			}
			require.Len(t, round.Edges, len(f.Edges))
			return round, err
		}
		t.Run(changes+": Rule INC-2: a wrong password", func(t *testing.T) {
			c := c
			c.Password = password(t, "wrong")
			_, err := try(t, c)
			require.ErrorIs(t, err, directory.ErrAuth)
		})
		t.Run(changes+": every limit at every search", func(t *testing.T) {
			for _, code := range []uint16{ldap.LDAPResultSizeLimitExceeded, ldap.LDAPResultTimeLimitExceeded, ldap.LDAPResultAdminLimitExceeded} {
				for struck, at := true, 1; struck; at++ {
					n := 0
					struck = false
					proxy.Rewrite(func(_, answer *ber.Packet) []*ber.Packet {
						if answer.Children[1].Tag == ldap.ApplicationSearchResultDone {
							if n++; n == at {
								struck = true
								return []*ber.Packet{ldaptest.Done(answer, code)}
							}
						}
						return []*ber.Packet{answer}
					})
					if round, err := sourcetest.Follow(t.Context(), adSource(t, c), directory.Start{}, f.Round); struck {
						require.ErrorIs(t, err, directory.ErrIncomplete)
						require.Subset(t, keys(round.Objects), keys(f.Objects))
					} else {
						require.NoError(t, err)
						require.Greater(t, at, 5)
					}
				}
			}
			proxy.Rewrite(nil)
		})
		t.Run(changes+": another base is another identity", func(t *testing.T) {
			for _, edit := range []func(*ADConfig){
				func(c *ADConfig) { c.Users.Base = "CN=Users," + s.Domain },
				func(c *ADConfig) { c.Groups.Base = s.Domain },
			} {
				c := c
				edit(&c)
				_, err := sourcetest.Collect(t.Context(), adSource(t, c), directory.Start{Cursor: f.Cursor})
				require.ErrorIs(t, err, directory.ErrCursorExpired, "Rule SRC-2")
			}
		})
		t.Run(changes+": a base that is not there", func(t *testing.T) {
			c := c
			c.Changes = byUSN
			c.Users.Base = "OU=Nowhere," + s.Domain
			_, err := sourcetest.Collect(t.Context(), adSource(t, c), directory.Start{})
			require.ErrorIs(t, err, directory.ErrIncomplete)
			require.ErrorContains(t, err, "whether the base is right")
		})
	}
}

func keys(m map[directory.ObjectID]directory.Object) []directory.ObjectID {
	var out []directory.ObjectID
	for id := range m {
		out = append(out, id)
	}
	return out
}

func TestRule_AD_23_a_membership_ends_by_itself(t *testing.T) {
	s := rig.StartSamba(t)
	c, proxy := lossyAD(t, s)
	team := company.Small().Groups[0]
	proxy.Rewrite(func(_, answer *ber.Packet) []*ber.Packet { // as a forest of 2016 with the PAM feature
		return []*ber.Packet{ldaptest.EditEntry(answer, func(attributes []company.Attribute) []company.Attribute {
			for i, a := range attributes {
				if a.Name == "supportedControl" {
					attributes[i].Values = append(a.Values, controlLinkTTL)
				}
				if strings.HasPrefix(a.Name, "member") && a.Name != "memberOf" {
					for j, v := range a.Values {
						if strings.Contains(v, ">;CN="+"ada,") {
							a.Values[j] = "<TTL=60>," + v
						}
					}
				}
			}
			return attributes
		})}
	})
	w := writeAD(t, s)
	ada := w.user("ada")
	for _, changes := range []string{dirSync, byUSN} {
		c.Changes = changes
		f := followAD(t, c)
		w.enter(rig.GroupDN(team), ada)
		f.next()
		group, member := directory.ObjectID(team.ID), f.id(ada)
		require.True(t, f.has(group, member))
		f.next()
		require.True(t, f.has(group, member), "it has not ended")
		f.source.now = func() time.Time { return time.Now().Add(61 * time.Second) }
		require.LessOrEqual(t, f.source.nextEnd.Load(), time.Now().Add(62*time.Second).Unix())
		f.next()
		require.False(t, f.has(group, member), "%s: nothing told of it", changes)
		w.leave(rig.GroupDN(team), ada)
	}
}

func TestRule_AD_22_a_watch_tells_of_each_change(t *testing.T) {
	s := rig.StartSamba(t)
	c := ad(t, s)
	c.BindDN = s.AdminDN // who may see what was deleted
	f, w := followAD(t, c), writeAD(t, s)
	changed := make(chan struct{}, 100)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- f.source.Watch(ctx, directory.Start{Cursor: f.Cursor}, func() { changed <- struct{}{} })
	}()
	told := func(what string) {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Fatalf("not told of %s", what)
		}
	}
	told("what changed since the round")
	ada := w.user("ada")
	told("a new user")
	w.remove(ada)
	told("a deletion")
	began := time.Now()
	for range 5 {
		w.set(rig.GroupDN(company.Small().Groups[0]), "description", fmt.Sprint(time.Now()))
	}
	time.Sleep(2500 * time.Millisecond)
	require.LessOrEqual(t, len(changed), 1+int(time.Since(began)/longBreath), "changes that come together are told of together")
	stop()
	require.Error(t, <-done)
}

func TestRule_AD_24_a_conflict_is_shown_and_never_mapped(t *testing.T) {
	k := adKind{kind: directory.KindUser}
	r := &adRound{mode: directory.Delta}
	o := adObject{id: "8d7d01d3-33d7-49a2-a7bd-2423b3e4b543", dn: "cn=x", conflict: true}
	var page directory.Page
	require.False(t, r.tell(k, &o, &page))
	require.Empty(t, page.Upserts)
	require.Equal(t, []directory.ObjectID{o.id}, page.Removed)
	require.Contains(t, page.Problems[0].Text, "CNF")
	s := ADConfig{}.withDefaults().newADShape(directory.KindUser, nil)
	read, err := s.readAD(&entry{dn: `<GUID=8d7d01d3-33d7-49a2-a7bd-2423b3e4b543>;CN=Ada\0ACNF:8d7d01d3-33d7-49a2-a7bd-2423b3e4b543,OU=People,DC=corp,DC=example`}, false)
	require.NoError(t, err)
	require.True(t, read.conflict)
}

func TestRules_AD_15_AD_18_ids_are_written_as_Windows_writes_them(t *testing.T) {
	id, ok := guidText("\xd3\x01\x7d\x8d\xd7\x33\xa2\x49\xa7\xbd\x24\x23\xb3\xe4\xb5\x43")
	require.True(t, ok)
	require.EqualValues(t, "8d7d01d3-33d7-49a2-a7bd-2423b3e4b543", id)
	require.Equal(t, `(objectGUID=\d3\01\7d\8d\d7\33\a2\49\a7\bd\24\23\b3\e4\b5\43)`, guidFilter(id))
	sid, ok := sidText("\x01\x05\x00\x00\x00\x00\x00\x05\x15\x00\x00\x00\xfb\x7b\xdd\x79\xf5\x80\xda\xfd\x9c\x12\x12\xfe\x4f\x04\x00\x00")
	require.True(t, ok)
	require.Equal(t, "S-1-5-21-2044558331-4258955509-4262597276-1103", sid)
	for _, bad := range []string{"", "\x01", "\x01\x05\x00\x00\x00\x00\x00\x05"} {
		_, ok := sidText(bad)
		require.False(t, ok)
		_, ok = guidText(bad)
		require.False(t, ok)
	}
	require.Equal(t, time.Date(2025, 8, 18, 14, 13, 20, 0, time.UTC), fileTime(134000000000000000))
	x, ok := parseExtended("<TTL=60>,<GUID=8d7d01d3-33d7-49a2-a7bd-2423b3e4b543>;<SID=S-1-5-32-544>;CN=A>b,DC=x")
	require.True(t, ok)
	require.Equal(t, extended{id: "8d7d01d3-33d7-49a2-a7bd-2423b3e4b543", dn: "CN=A>b,DC=x", ttl: time.Minute}, x)
	for _, bad := range []string{"CN=a", "<GUID=x>;CN=a", "<TTL=x>,<GUID=8d7d01d3-33d7-49a2-a7bd-2423b3e4b543>;CN=a", "<GUID=8d7d01d3"} {
		_, ok := parseExtended(bad)
		require.False(t, ok, bad)
	}
}

func TestRule_SRC_3_histories_of_a_domain_with_faults_end_as_the_undisturbed_read_does(t *testing.T) {
	for seed, changes := range []string{dirSync, byUSN} {
		t.Run(changes, func(t *testing.T) {
			random := rand.New(rand.NewPCG(uint64(seed), 16))
			s := rig.StartSamba(t)
			c, proxy := lossyAD(t, s)
			c.Changes = changes
			f, w := followAD(t, c), writeAD(t, s)
			group := rig.GroupDN(company.Small().Groups[0])
			people := []string{w.user("h")}
			in := map[string]bool{}
			for step := range 16 {
				for range random.IntN(4) {
					one := random.IntN(len(people))
					who := people[one]
					switch random.IntN(6) {
					case 0:
						people = append(people, w.user(fmt.Sprintf("h%d-%d", step, random.IntN(1_000_000))))
					case 1:
						if len(people) > 1 {
							w.remove(who)
							delete(in, who)
							people = slices.Delete(people, one, one+1)
						}
					case 2, 3:
						if in[who] {
							w.leave(group, who)
						} else {
							w.enter(group, who)
						}
						in[who] = !in[who]
					case 4:
						rdn := fmt.Sprintf("CN=r%d-%d", step, random.IntN(1_000_000))
						w.rename(who, rdn, "")
						people[one] = rdn + "," + rig.PeopleOU
						in[people[one]] = in[who]
						delete(in, who)
					case 5:
						w.set(who, "userAccountControl", []string{"544", "546"}[random.IntN(2)])
					}
				}
				if step == 8 {
					s.Restart(t, nil)
					w = writeAD(t, s)
				}
				fault := ldaptest.ProxyFault{After: 1 + random.IntN(25)}
				switch random.IntN(6) {
				case 0, 1, 2:
					fault.Cut = true
				case 3, 4:
					fault.Duplicate = true
				}
				proxy.Arm(fault)
				round, err := sourcetest.Follow(t.Context(), f.source, directory.Start{}, f.Round)
				if err == nil {
					f.Round = round
				} else {
					require.True(t, errors.Is(err, directory.ErrIncomplete) || errors.Is(err, directory.ErrUnreachable), "%v", err)
					f.Objects, f.Edges = round.Objects, round.Edges // what was added stays
				}
			}
			proxy.Arm(ldaptest.ProxyFault{})
			f.next()
			f.asRead()
		})
	}
}

func TestRule_AD_5_the_probe_warns_of_an_account_that_sees_secrets(t *testing.T) {
	s := rig.StartSamba(t)
	for dn, want := range map[string]struct {
		warns bool
		says  string
	}{
		s.BindDN:     {false, "changes are followed by DirSync, with the right"},
		s.OrdinaryDN: {false, "DirSync with what the account may see"},
		s.AdminDN:    {true, "changes are followed by DirSync, with the right"},
	} {
		c := ad(t, s)
		c.BindDN = dn
		facts, err := adSource(t, c).Probe(t.Context())
		require.NoError(t, err)
		text := strings.Join(facts, "\n")
		require.Contains(t, text, want.says)
		require.Contains(t, text, "153 users below "+rig.PeopleOU)
		require.Equal(t, want.warns, strings.Contains(text, "WARNING"), "%s: %s", dn, text)
	}
}

func FuzzHoldersOfAll(f *testing.F) {
	f.Add("")
	f.Add("\x01\x00\x14\x8c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x14\x00\x00\x00\x04\x00\x1c\x00\x01\x00\x00\x00\x00\x00\x14\x00\xff\x01\x0f\x00\x01\x01\x00\x00\x00\x00\x00\x05\x12\x00\x00\x00")
	f.Fuzz(func(_ *testing.T, descriptor string) { _, _ = holdersOfAll(descriptor) })
}
