package ldap

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/rig"
)

// stranger is of a domain that the controller does not know.
const stranger = "S-1-5-21-1111111111-2222222222-3333333333-1104"

func TestRule_AD_19_members_of_trusted_domains_are_named_by_their_SID(t *testing.T) {
	s := rig.StartSamba(t)
	w := writeAD(t, s)
	ways := map[string]*adFollowing{}
	for name, edit := range map[string]func(*ADConfig){
		"DirSync":                        func(*ADConfig) {},
		"DirSync of an ordinary account": func(c *ADConfig) { c.BindDN = s.OrdinaryDN },
		"uSNChanged":                     func(c *ADConfig) { c.Changes = byUSN },
	} {
		c := ad(t, s)
		edit(&c)
		ways[name] = followAD(t, c)
	}
	team, user := w.group("visitors"), w.user("ada")
	w.enter(team, user)
	w.enter(team, "<SID="+stranger+">")
	anybody := "CN=S-1-5-11,CN=ForeignSecurityPrincipals," + s.Domain // is there from the first
	w.enter(team, anybody)
	standIn := "CN=" + stranger + ",CN=ForeignSecurityPrincipals," + s.Domain
	all := func(step string, check func(*testing.T, *adFollowing)) {
		for name, f := range ways {
			t.Run(step+", by "+name, func(t *testing.T) {
				f.t = t
				f.next()
				f.asRead()
				check(t, f)
			})
		}
	}
	sidOf := func(f *adFollowing, dn string) string { return f.Objects[f.id(dn)].Get(directory.AttrSID) }
	all("they enter", func(t *testing.T, f *adFollowing) {
		require.Equal(t, directory.KindOther, f.Objects[f.id(standIn)].Kind)
		require.Equal(t, stranger, sidOf(f, standIn))
		require.Equal(t, "S-1-5-11", sidOf(f, anybody))
		require.True(t, f.has(f.id(team), f.id(standIn)))
		require.True(t, f.has(f.id(team), f.id(user)))
		require.Regexp(t, `^S-1-5-21-\d+-\d+-\d+-`+w.rid(user)+"$", sidOf(f, user))
		require.Regexp(t, `^S-1-5-21-\d+-\d+-\d+-`+w.rid(team)+"$", sidOf(f, team))
	})
	w.leave(team, anybody)
	all("one leaves", func(t *testing.T, f *adFollowing) {
		require.True(t, f.has(f.id(team), f.id(standIn)))
		require.False(t, f.has(f.id(team), f.id(anybody)))
	})
	gone := ways["DirSync"].id(standIn)
	w.remove(standIn)
	all("one is deleted", func(t *testing.T, f *adFollowing) {
		require.NotContains(t, f.Objects, gone)
		require.False(t, f.has(f.id(team), gone))
	})
}

func TestRule_AD_19_an_object_without_its_SID_stays_as_it_was(t *testing.T) {
	r := &adRound{domain: domain{sid: "S-1-5-21-1-2-3"}, mode: directory.Delta}
	enabled := true
	for kind, want := range map[directory.Kind]map[string]string{
		directory.KindUser:  {"S-1-5-21-1-2-3-1104": "S-1-5-21-1-2-3-1104", "S-1-5-21-9-9-9-1104": ""},
		directory.KindOther: {"S-1-5-21-1-2-3-1104": "", "S-1-5-21-9-9-9-1104": "S-1-5-21-9-9-9-1104", "S-1-5-11": "S-1-5-11"},
	} {
		for sid, said := range want {
			var page directory.Page
			require.True(t, r.tell(adKind{kind: kind}, &adObject{id: "x", sid: sid, primary: "513", enabled: &enabled, attributes: map[string][]string{}}, &page))
			require.Equal(t, said, page.Upserts[0].Get(directory.AttrSID), "a controller is believed of its own domain alone: %s %s", kind, sid)
		}
		var page directory.Page
		require.False(t, r.tell(adKind{kind: kind}, &adObject{id: "x", primary: "513", enabled: &enabled}, &page))
		require.Empty(t, page.Upserts)
		require.Contains(t, page.Problems[0].Text, "objectSid is missing")
	}
}
