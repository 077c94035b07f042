package mapping_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/mapping"
)

// propertyRules use every part of the language at once.
const propertyRules = `
environments:
  sales-prod:
    security_group: [{source: entra, group: Gate, nested: team}, {source: corp-ldap, group: 'id:g0', nested: all}]
    licences: {accept: [DYN365_CDS_P2]}
  service: {security_group: {source: entra, group: G1, nested: none}}
rules:
  - name: by grade
    match: {source: entra, users: 'has(user.grade) && int(user.grade) > 3'}
    user: {environment: sales-prod, business_unit: '{{ user.ou }}', person: '{{ user.mail }}'}
  - name: members
    match: {source: entra, users: '!user.guest'}
    user: {environment: sales-prod, business_unit: North, licence: 'user.ou == "South"'}
  - name: all
    match: {source: corp-ldap, users: 'user.ou != ""'}
    user: {environment: sales-prod, business_unit: '{{ user.ou }}', manager: '{{ user.boss }}'}
  - name: service
    match: {source: entra, users: 'user.ou == "South"'}
    user: {environment: service, business_unit: South, login: '{{ user.mail }}'}
  - name: numbered
    match: {source: entra, group: 'G*'}
    team: {environment: sales-prod, membership: members, nested: true, business_unit: North, roles: [Salesperson, Sales Manager]}
  - name: two
    match: {source: entra, where: 'group.name.endsWith("2") && (!has(group.size) || int(group.size) > 1)'}
    team: {environment: sales-prod, membership: members, business_unit: '{{ group.ou }}', roles: [Sales Manager]}
  - name: owners
    match: {source: entra, group: '*'}
    team: {environment: sales-prod, membership: owners, business_unit: South, name: '{{ group.name }}'}
  - name: guests
    match: {source: entra, group: '*'}
    team: {environment: service, membership: guests, nested: true, business_unit: South}
  - name: flat
    match: {source: corp-ldap, group: '**,dc=example'}
    team: {environment: sales-prod, business_unit: '{{ group.ou }}', name: 'Sales {{ group.ou }}'}
`

var (
	propertySources = []directory.SourceID{"corp-ldap", "entra"}
	groupNames      = []string{"Gate", "G1", "G2", "g2", "North", "Other"}
	logins          = []string{"ann", "Ann", "bob", "eve", ""}
	sids            = []string{"", "S-1-5-21-1-1", "S-1-5-21-1-2", "S-1-5-21-2-1", "S-1-5-11"}
)

// drawStandIn makes what is neither a user nor a group, and stands for one at times.
func drawStandIn(t *rapid.T, id directory.ObjectID) directory.Object {
	o := object(directory.KindOther, id)
	if sid := rapid.SampledFrom(sids).Draw(t, "sid"); sid != "" {
		o.Attributes[directory.AttrSID] = []string{sid}
	}
	return o
}

func drawUser(t *rapid.T, id directory.ObjectID) directory.Object {
	o := object(directory.KindUser, id)
	set := func(name string, among ...string) {
		if v := rapid.SampledFrom(among).Draw(t, name); v != "" {
			o.Attributes[name] = []string{v}
		}
	}
	set("userName", logins...)
	set("mail", logins...)
	set("ou", "North", "South", "Mars", "")
	set("userType", "Member", "Guest", "")
	set("grade", "1", "5", "x", "")
	set("enabled", "true", "false", "")
	set("plans", "6ea4c1ef-c259-46df-bce2-943342cd3cb2", "P2", "")
	set("manager", "dn:uid=u1", "id:u2", "uid:ann", "")
	set("boss", "ann", "u1", "")
	set(directory.AttrSID, sids...)
	o.DN = rapid.SampledFrom([]string{"", "uid=u1", "uid=u2"}).Draw(t, "dn")
	return o
}

func drawGroup(t *rapid.T, id directory.ObjectID) directory.Object {
	o := group(id, "displayName="+rapid.SampledFrom(groupNames).Draw(t, "name"))
	for _, a := range [][]string{{"groupKind", "security", "security", "m365", "distribution"}, {"ou", "North", "North", "South", "Mars"}, {"size", "", "1", "2", "x"}, append([]string{directory.AttrSID}, sids...)} {
		if v := rapid.SampledFrom(a[1:]).Draw(t, a[0]); v != "" {
			o.Attributes[a[0]] = []string{v}
		}
	}
	o.DN = rapid.SampledFrom([]string{"", "cn=a,dc=example", "cn=b,dc=else"}).Draw(t, "dn")
	return o
}

// edit changes one thing of the mirror.
func edit(t *rapid.T, m *mirror) {
	source := rapid.SampledFrom(propertySources).Draw(t, "source")
	anyID := rapid.SampledFrom([]directory.ObjectID{"u0", "u1", "u2", "u3", "g0", "g1", "g2", "g3", "x", "y", "z"})
	standIn := rapid.SampledFrom([]directory.ObjectID{"x", "y", "z"})
	groupID := rapid.SampledFrom([]directory.ObjectID{"g0", "g1", "g2", "g3"})
	switch rapid.SampledFrom([]string{"user", "user", "group", "link", "link", "link", "unlink", "remove", "other", "stand-in", "stand-in"}).Draw(t, "edit") {
	case "user":
		m.put(source, drawUser(t, rapid.SampledFrom([]directory.ObjectID{"u0", "u1", "u2", "u3"}).Draw(t, "id")))
	case "group":
		m.put(source, drawGroup(t, groupID.Draw(t, "id")))
	case "link": // also to what is not there yet
		m.link(source, groupID.Draw(t, "group"), directory.Relation(rapid.IntRange(0, 1).Draw(t, "relation")), anyID.Draw(t, "member"))
	case "unlink":
		m.unlink(source, groupID.Draw(t, "group"), directory.Relation(rapid.IntRange(0, 1).Draw(t, "relation")), anyID.Draw(t, "member"))
	case "remove":
		m.remove(source, anyID.Draw(t, "id"))
	case "stand-in":
		m.put(source, drawStandIn(t, standIn.Draw(t, "id")))
	case "other": // an id that turns into something else
		id := anyID.Draw(t, "id")
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			m.put(source, drawStandIn(t, id))
		case 1:
			m.put(source, drawUser(t, id))
		default:
			m.put(source, drawGroup(t, id))
		}
	}
}

func desired(t require.TestingT, e *mapping.Evaluation) (text string, byKey map[mapping.Key]string) {
	byKey = map[mapping.Key]string{}
	var last mapping.Key
	for o := range e.Desired() {
		b, err := json.Marshal(o)
		require.NoError(t, err)
		k := mapping.KeyOf(o)
		require.True(t, last == mapping.Key{} || less(last, k), "%v before %v", last, k)
		last = k
		byKey[k] = string(b)
		text += fmt.Sprintln(k, string(b))
		one, ok := e.Object(k)
		require.True(t, ok)
		require.Equal(t, o, one)
	}
	return text, byKey
}

func less(a, b mapping.Key) bool {
	if a.Environment != b.Environment {
		return a.Environment < b.Environment
	}
	if a.Kind != b.Kind {
		return a.Kind < b.Kind
	}
	return a.Key < b.Key
}

func TestProperty_update_gives_the_same_bytes_as_evaluating_everything(t *testing.T) {
	r := rules(t, propertyRules)
	rapid.Check(t, func(t *rapid.T) {
		m := newMirror(propertySources...)
		for range rapid.IntRange(0, 50).Draw(t, "before") {
			edit(t, m)
		}
		m.take()
		now := nothing()
		e := mapping.New(r, m, now)
		_, before := desired(t, e)
		for range rapid.IntRange(1, 6).Draw(t, "rounds") {
			if rapid.Bool().Draw(t, "apply") {
				now.apply(t, e)
			}
			for range rapid.IntRange(0, 4).Draw(t, "edits") {
				edit(t, m)
			}
			gates := [2]mapping.Gate{}
			gates[0], _ = e.Gate("sales-prod")
			gates[1], _ = e.Gate("service")
			changed := map[mapping.Key]bool{}
			for _, k := range e.Update(now, m.take()) {
				changed[k] = true
			}
			whole := mapping.New(r, m, now)
			got, after := desired(t, e)
			want, _ := desired(t, whole)
			require.Equal(t, want, got)
			require.Equal(t, whole.Findings(), e.Findings())
			for i, env := range []access.EnvironmentID{"sales-prod", "service"} {
				gate, _ := e.Gate(env)
				wantGate, _ := whole.Gate(env)
				require.Equal(t, wantGate, gate)
				require.True(t, changed[mapping.Key{Environment: env, Kind: access.KindEnvironment, Key: string(env)}] ||
					gates[i].RequireLicence == gate.RequireLicence && *gates[i].SecurityGroup == *gate.SecurityGroup)
			}
			for k := range before {
				require.True(t, before[k] == after[k] || changed[k], "%v changed and was not told", k)
			}
			for k := range after {
				require.True(t, before[k] == after[k] || changed[k], "%v changed and was not told", k)
			}
			before = after
		}
		// A login or name that one plan frees is given by the next, link by link; then
		// there is nothing left to do.
		settled, rounds := "", 0
		for again, _ := desired(t, e); again != settled; again, _ = desired(t, e) {
			settled = again
			now.apply(t, e)
			e.Update(now, nil)
			rounds++
			require.Less(t, rounds, 10)
		}
	})
}
