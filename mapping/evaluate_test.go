package mapping_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/mapping"
)

// current is what the environments hold.
type current map[access.EnvironmentID]*access.State

func (c current) State(id access.EnvironmentID) (*access.State, bool) {
	s, ok := c[id]
	return s, ok
}

func nothing() current {
	return current{"sales-prod": state("sales-prod", false), "service": state("service", true)}
}

// apply makes the environments what the evaluation wants, as a sync does.
func (c current) apply(t require.TestingT, e *mapping.Evaluation) {
	wanted := map[mapping.Key]access.Object{}
	for o := range e.Desired() {
		wanted[mapping.KeyOf(o)] = o
	}
	for id, s := range c {
		var changes []access.Change
		drop := func(o access.Object, by access.ManagedBy) {
			if _, ok := wanted[mapping.KeyOf(o)]; !ok && by == access.ByMapping {
				changes = append(changes, access.Remove(o))
			}
		}
		for _, o := range s.Users {
			drop(o, o.ManagedBy)
		}
		for _, o := range s.Teams {
			drop(o, o.ManagedBy)
		}
		for _, o := range s.Memberships {
			drop(o, o.ManagedBy)
		}
		for _, o := range s.Assignments {
			drop(o, o.ManagedBy)
		}
		for k, o := range wanted {
			if k.Environment == id {
				changes = append(changes, access.Put(o))
			}
		}
		if gate, ok := e.Gate(id); ok {
			changes = append(changes, access.Put(gate.Put(s.Environment)))
		}
		expanded, err := s.Expand(changes)
		require.NoError(t, err, "what rules give must be a valid changeset")
		s.Apply(expanded...)
	}
}

func rules(t require.TestingT, yaml string) *mapping.Rules {
	r, err := compile("mapping.yaml", []byte(yaml))
	require.NoError(t, err)
	return r
}

const everybody = `
  - name: people
    match: {source: entra, users: 'true'}
    user: {environment: sales-prod, business_unit: North}
`

// print shows desired objects as lines that a person can read.
func print(e *mapping.Evaluation) []string {
	var lines []string
	for o := range e.Desired() {
		switch o := o.(type) {
		case access.User:
			line := fmt.Sprintf("user %s %s in %s", o.ID, o.Login, o.BusinessUnit)
			for _, flag := range []struct {
				on   bool
				name string
			}{{!o.Enabled, "disabled"}, {o.Licensed, "licensed"}, {o.Admitted, "admitted"}} {
				if flag.on {
					line += " " + flag.name
				}
			}
			if o.Manager != "" {
				line += " under " + string(o.Manager)
			}
			lines = append(lines, line)
		case access.Team:
			lines = append(lines, fmt.Sprintf("team %s %q in %s", o.ID, o.Name, o.BusinessUnit))
		case access.Membership:
			line := fmt.Sprintf("%s in %s", o.User, o.Team)
			if o.Origin.Path != "" {
				line += " through " + o.Origin.Path
			}
			lines = append(lines, line)
		case access.Assignment:
			lines = append(lines, fmt.Sprintf("%s has %s in %s", o.Principal.ID, o.Role, o.BusinessUnit))
		}
	}
	return lines
}

// only keeps the lines that begin so.
func only(lines []string, prefix string) []string {
	return slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, prefix) })
}

func found(e *mapping.Evaluation, kind mapping.FindingKind) []string {
	var texts []string
	for _, f := range e.Findings() {
		if f.Kind == kind {
			texts = append(texts, f.Text)
		}
	}
	return texts
}

func TestMapping_from_two_directories_to_users_teams_and_roles(t *testing.T) {
	r := rules(t, `
environments:
  sales-prod:
    security_group:
      - {source: entra, group: Sales_SG}
      - {source: corp-ldap, group: 'cn=ambit users,ou=groups,dc=example,dc=com'}
    licences: {accept: [DYN365_CDS_P2]}
rules:
  - name: regional teams
    match: {source: corp-ldap, group: 'cn=sales-*,ou=groups,dc=example,dc=com'}
    team: {environment: sales-prod, membership: members, business_unit: '{{ capture[1] }}', roles: Salesperson}
  - name: staff
    match: {source: corp-ldap, users: 'user.employeeType == "staff"'}
    user: {environment: sales-prod, business_unit: '{{ user.ou }}', person: '{{ user.employeeNumber }}', licence: 'true'}
  - name: cloud
    match: {source: entra, users: 'user.userName.endsWith("@example.com")'}
    user: {environment: sales-prod, business_unit: HQ}
`)
	m := newMirror("corp-ldap", "entra")
	m.put("corp-ldap", user("ann", "employeeType=staff", "ou=north", "employeeNumber=7", "displayName=Ann", "dn=uid=ann,dc=example,dc=com"))
	m.put("corp-ldap", user("bob", "employeeType=staff", "ou=South", "enabled=false", "manager=dn:uid=ann,dc=example,dc=com"))
	m.put("corp-ldap", user("temp", "employeeType=temp", "ou=South"))
	m.put("corp-ldap", group("g-north", "displayName=sales-north", "dn=CN=Sales-North, ou=Groups,dc=example,dc=com"))
	m.put("corp-ldap", group("g-all", "displayName=ambit users", "dn=cn=ambit  users,ou=groups,dc=example,dc=com"))
	m.put("entra", user("1", "userName=eve@example.com", "plans=00000000-0000-0000-0000-000000000001", "plans=6ea4c1ef-c259-46df-bce2-943342cd3cb2"))
	m.put("entra", user("2", "userName=mal@elsewhere.example"))
	m.put("entra", group("sg", "displayName=sales_sg", "groupKind=m365"))
	for _, id := range []directory.ObjectID{"ann", "bob", "temp"} {
		m.link("corp-ldap", "g-north", directory.Member, id)
	}
	m.link("corp-ldap", "g-all", directory.Member, "bob")
	m.link("entra", "sg", directory.Member, "1")
	e := mapping.New(r, m, nothing())
	require.Equal(t, []string{
		"user corp-ldap:ann ann in n licensed",
		"user corp-ldap:bob bob in s disabled licensed admitted under corp-ldap:ann",
		"user entra:1 eve@example.com in hq licensed admitted",
		`team corp-ldap:g-north:members "sales-north" in n`,
		"corp-ldap:ann in corp-ldap:g-north:members",
		"corp-ldap:bob in corp-ldap:g-north:members",
		"corp-ldap:g-north:members has salesperson in n",
	}, print(e))
	require.Equal(t, []string{`members of the group whom no rule places in environment "sales-prod" are not in the team: 1`}, found(e, mapping.Outside))
	gate, ok := e.Gate("sales-prod")
	require.True(t, ok)
	require.Equal(t, mapping.Gate{RequireLicence: true, SecurityGroup: &access.GroupRef{Source: "entra", Group: "sg", Name: "sales_sg"}}, gate)
	ann, ok := e.Object(mapping.Key{Environment: "sales-prod", Kind: access.KindUser, Key: "corp-ldap:ann"})
	require.True(t, ok)
	require.Equal(t, access.User{
		Environment: "sales-prod", ID: "corp-ldap:ann", Login: "ann", Name: "Ann", BusinessUnit: "n", Enabled: true, Licensed: true, Person: "7",
		ManagedBy: access.ByMapping, Origin: access.Origin{Rule: "staff", Source: "corp-ldap", Object: "ann"},
	}, ann)
	nothing().apply(t, e)
}

func TestRule_TEAM_2_membership_kinds_take_their_part_of_the_group(t *testing.T) {
	for kind, want := range map[string][]string{
		"members_and_guests": {"entra:guest in entra:g:members_and_guests", "entra:member in entra:g:members_and_guests", "entra:untyped in entra:g:members_and_guests"},
		"members":            {"entra:member in entra:g:members", "entra:untyped in entra:g:members"},
		"guests":             {"entra:guest in entra:g:guests"},
		"owners":             {"entra:owner in entra:g:owners"},
	} {
		t.Run(kind, func(t *testing.T) {
			r := rules(t, "environments: {sales-prod: {}}\nrules:"+everybody+`
  - name: team
    match: {source: entra, group: G}
    team: {environment: sales-prod, membership: `+kind+`, business_unit: North}
`)
			m := newMirror("entra")
			m.put("entra", group("g", "displayName=G"))
			m.put("entra", user("member", "userType=Member"))
			m.put("entra", user("untyped"))
			m.put("entra", user("guest", "userType=Guest"))
			m.put("entra", user("owner"))
			m.put("entra", user("guest-owner", "userType=Guest"))
			for _, id := range []directory.ObjectID{"member", "untyped", "guest"} {
				m.link("entra", "g", directory.Member, id)
			}
			m.link("entra", "g", directory.Owner, "owner")
			m.link("entra", "g", directory.Owner, "guest-owner")
			require.Equal(t, want, only(print(mapping.New(r, m, nothing())), "entra:"))
		})
	}
}

func TestRule_TEAM_3_nested_members_only_where_asked_and_with_their_path(t *testing.T) {
	m := newMirror("entra")
	m.put("entra", group("all", "displayName=All"))
	m.put("entra", group("a", "displayName=A"))
	m.put("entra", group("b", "displayName=B"))
	m.put("entra", user("direct"))
	m.put("entra", user("deep"))
	m.put("entra", object(directory.KindOther, "printer"))
	m.link("entra", "all", directory.Member, "direct")
	m.link("entra", "all", directory.Member, "a")
	m.link("entra", "all", directory.Member, "printer")
	m.link("entra", "a", directory.Member, "b")
	m.link("entra", "b", directory.Member, "deep")
	m.link("entra", "b", directory.Member, "direct")
	m.link("entra", "b", directory.Member, "all") // a cycle (Rule SRC-7)
	m.link("entra", "a", directory.Member, "a")
	for nested, want := range map[string][]string{
		"false": {"entra:direct in entra:all:members_and_guests"},
		"true":  {"entra:deep in entra:all:members_and_guests through A > B", "entra:direct in entra:all:members_and_guests"},
	} {
		t.Run("nested "+nested, func(t *testing.T) {
			r := rules(t, "environments: {sales-prod: {}}\nrules:"+everybody+`
  - name: team
    match: {source: entra, group: All}
    team: {environment: sales-prod, nested: `+nested+`, business_unit: North}
`)
			require.Equal(t, want, only(print(mapping.New(r, m, nothing())), "entra:"))
		})
	}
}

func TestRules_ESG_2_GRAPH_32_nested_members_of_the_security_group_and_the_way_by_which_they_get_in(t *testing.T) {
	m := newMirror("entra")
	for _, g := range []directory.ObjectID{"sg", "with-team", "without", "below"} {
		m.put("entra", group(g, "displayName="+string(g)))
	}
	for g, u := range map[directory.ObjectID]directory.ObjectID{"sg": "u-direct", "with-team": "u-team", "without": "u-without", "below": "u-below"} {
		m.put("entra", user(u))
		m.link("entra", g, directory.Member, u)
	}
	m.link("entra", "sg", directory.Member, "with-team")
	m.link("entra", "sg", directory.Member, "without")
	m.link("entra", "without", directory.Member, "below")
	for nested, want := range map[string][]string{
		"nested: none": {"u-direct"},
		"nested: team": {"u-below through without > below", "u-direct", "u-team through with-team"},
		"":             {"u-below through without > below", "u-direct", "u-team through with-team"},
		"nested: all":  {"u-below through without > below", "u-direct", "u-team through with-team", "u-without through without"},
	} {
		t.Run(nested, func(t *testing.T) {
			r := rules(t, `
environments:
  sales-prod:
    security_group:
      source: entra
      group: sg
      `+nested+`
rules:`+everybody+`
  - name: team
    match: {source: entra, group: with-team}
    team: {environment: sales-prod, business_unit: North}
  - name: another
    match: {source: entra, group: below}
    team: {environment: sales-prod, business_unit: North}
`)
			e := mapping.New(r, m, nothing())
			var admitted []string
			for o := range e.Desired() {
				if u, ok := o.(access.User); ok && u.Admitted {
					way := u.Login
					if u.Origin.Path != "" {
						way += " through " + u.Origin.Path
					}
					admitted = append(admitted, way)
				}
			}
			require.Equal(t, want, admitted)
		})
	}
}

func TestRule_ESG_6_a_security_group_that_is_gone_or_empty_shuts_nobody_out(t *testing.T) {
	r := rules(t, "environments: {sales-prod: {security_group: {source: entra, group: sg}}}\nrules:"+everybody)
	for name, lose := range map[string]func(*mirror){
		"gone":      func(m *mirror) { m.remove("entra", "sg") },
		"empty":     func(m *mirror) { m.unlink("entra", "sg", directory.Member, "in") },
		"ambiguous": func(m *mirror) { m.put("entra", group("sg2", "displayName=SG")) },
		"unusable":  func(m *mirror) { m.put("entra", group("sg", "displayName=sg", "groupKind=distribution")) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMirror("entra")
			m.put("entra", group("sg", "displayName=sg"))
			m.put("entra", user("in"))
			m.put("entra", user("out"))
			m.link("entra", "sg", directory.Member, "in")
			e := mapping.New(r, m, nothing())
			now := nothing()
			now.apply(t, e)
			require.Empty(t, found(e, mapping.NoGate))
			before, _ := e.Gate("sales-prod")
			m.take()
			lose(m)
			m.put("entra", user("new"))
			e.Update(now, m.take())
			require.Equal(t, []string{"user entra:in in in n admitted", "user entra:new new in n", "user entra:out out in n"}, print(e))
			findings := slices.DeleteFunc(e.Findings(), func(f mapping.Finding) bool { return f.Kind != mapping.NoGate })
			require.Len(t, findings, 1)
			require.True(t, findings[0].Holds)
			after, _ := e.Gate("sales-prod")
			require.Equal(t, before, after, "never without a group: that would admit everybody")
		})
	}
}

func TestMapping_two_accounts_that_claim_one_login(t *testing.T) {
	r := rules(t, `
environments: {sales-prod: {}}
rules:`+everybody+`
  - name: ldap people
    match: {source: corp-ldap, users: 'true'}
    user: {environment: sales-prod, business_unit: South}
`)
	m := newMirror("corp-ldap", "entra")
	m.put("entra", user("1", "userName=ann@example.com"))
	m.put("entra", group("g", "displayName=g"))
	now := nothing()

	t.Run("neither is made when neither was there", func(t *testing.T) {
		both := newMirror("corp-ldap", "entra")
		both.put("entra", user("1", "userName=ann@example.com"))
		both.put("corp-ldap", user("7", "userName=ANN@example.com"))
		e := mapping.New(r, both, now)
		require.Empty(t, print(e))
		require.Len(t, found(e, mapping.LoginTaken), 2)
	})

	e := mapping.New(r, m, now)
	now.apply(t, e)
	m.put("corp-ldap", user("7", "userName=ANN@example.com"))
	e.Update(now, m.take())
	require.Equal(t, []string{"user entra:1 ann@example.com in n"}, print(e), "who has it keeps it")
	require.Equal(t, []string{`the login "ANN@example.com" is taken: user entra:1 has it; the user is left out`}, found(e, mapping.LoginTaken))

	m.put("entra", user("1", "userName=ann@example.com", "enabled=false"))
	e.Update(now, m.take())
	require.Equal(t, []string{"user entra:1 ann@example.com in n disabled"}, print(e), "a contested user is still disabled at once")

	m.put("corp-ldap", user("7", "userName=bob@example.com"))
	e.Update(now, m.take())
	now.apply(t, e)
	require.Len(t, print(e), 2)
	m.put("corp-ldap", user("7", "userName=ann@example.com"))
	e.Update(now, m.take())
	require.Equal(t, []string{"user corp-ldap:7 bob@example.com in s", "user entra:1 ann@example.com in n disabled"}, print(e), "a user is never lost by a rename")

	m.remove("entra", "1")
	e.Update(now, m.take())
	require.Equal(t, []string{"user corp-ldap:7 ann@example.com in s"}, print(e))
	now.apply(t, e)
	require.Empty(t, found(e, mapping.LoginTaken))

	t.Run("nor is a login of somebody whom no directory brings", func(t *testing.T) {
		now := nothing()
		now["sales-prod"].Apply(access.Put(access.User{Environment: "sales-prod", ID: "root", Login: "ann@example.com", BusinessUnit: "hq", ManagedBy: access.ByFile}))
		require.Empty(t, print(mapping.New(r, m, now)))
	})
}

func TestMapping_what_cannot_be_judged_stays_as_it_is(t *testing.T) {
	r := rules(t, `
environments: {sales-prod: {}}
rules:
  - name: people
    match: {source: entra, users: 'int(user.grade) > 3'}
    user: {environment: sales-prod, business_unit: '{{ user.ou }}'}
  - name: teams
    match: {source: entra, group: 'Team *'}
    team: {environment: sales-prod, business_unit: '{{ capture[1] }}', roles: Salesperson}
`)
	m := newMirror("entra")
	m.put("entra", user("ann", "grade=5", "ou=North"))
	m.put("entra", user("bob", "grade=5", "ou=South"))
	m.put("entra", group("g", "displayName=Team North"))
	m.link("entra", "g", directory.Member, "ann")
	m.link("entra", "g", directory.Member, "bob")
	now := nothing()
	e := mapping.New(r, m, now)
	now.apply(t, e)
	before := print(e)
	require.Len(t, before, 6)

	m.put("entra", user("ann", "grade=five", "ou=North"))
	m.put("entra", user("bob", "grade=5", "ou=Mars", "enabled=false"))
	m.put("entra", user("new", "grade=5", "ou=Mars"))
	m.put("entra", group("g", "displayName=Team Mars"))
	m.unlink("entra", "g", directory.Member, "ann")
	e.Update(now, m.take())
	require.Equal(t, []string{
		"user entra:ann ann in n",
		"user entra:bob bob in s disabled", // disabling is not held back
		`team entra:g:members_and_guests "Team North" in n`,
		"entra:bob in entra:g:members_and_guests", // nor is leaving a group
		"entra:g:members_and_guests has salesperson in n",
	}, print(e))
	require.Len(t, found(e, mapping.CannotJudge), 4)
	require.Contains(t, found(e, mapping.CannotJudge), `rule "teams" cannot judge this group: its business_unit: there is no business unit "Mars" in environment "sales-prod"; the team stays as is, with the members that it has in the directory`)
	now.apply(t, e)
}

func TestMapping_the_first_rule_wins_and_the_second_is_told(t *testing.T) {
	r := rules(t, `
environments: {sales-prod: {}}
rules:
  - name: northerners
    match: {source: entra, users: 'user.ou == "North"'}
    user: {environment: sales-prod, business_unit: North}
  - name: bosses
    match: {source: entra, users: 'user.title == "boss"'}
    user: {environment: sales-prod, business_unit: South}
  - name: big teams
    match: {source: entra, group: 'Big *'}
    team: {environment: sales-prod, business_unit: North}
  - name: teams
    match: {source: entra, group: '* Team'}
    team: {environment: sales-prod, business_unit: South}
`)
	m := newMirror("entra")
	m.put("entra", user("ann", "ou=North", "title=boss"))
	m.put("entra", user("bob", "ou=North"))
	m.put("entra", group("g", "displayName=Big Team"))
	e := mapping.New(r, m, nothing())
	require.Equal(t, []string{"user entra:ann ann in n", "user entra:bob bob in n", `team entra:g:members_and_guests "Big Team" in n`}, print(e))
	require.Equal(t, []string{
		`rule "bosses" matches too, and would give something else than rule "northerners", which comes first and wins`,
		`rule "teams" matches too, and would give something else than rule "big teams", which comes first and wins`,
	}, found(e, mapping.SecondRule))
	require.Equal(t, []string{"the group has nobody who counts for the team"}, found(e, mapping.EmptyGroup))
}

func TestRule_GRAPH_29_a_group_whose_rule_is_paused_is_shown(t *testing.T) {
	r := rules(t, "environments: {sales-prod: {}}\nrules:"+everybody+`
  - name: teams
    match: {source: entra, group: '* Team'}
    team: {environment: sales-prod, business_unit: North}
`)
	m := newMirror("entra")
	m.put("entra", user("ann"))
	for id, state := range map[directory.ObjectID]string{"1": "On", "2": "Paused", "3": ""} {
		m.put("entra", group(id, "displayName=Dynamic Team", "membershipRuleProcessingState="+state))
	}
	m.put("entra", group("4", "displayName=Others", "membershipRuleProcessingState=Paused"))
	now := nothing()
	e := mapping.New(r, m, now)
	paused := func() (ids []string) {
		for _, f := range e.Findings() {
			if f.Kind == mapping.PausedGroup {
				ids = append(ids, string(f.Object))
				require.NotEmpty(t, f.Hint)
				require.False(t, f.Holds, "it is the directory's decision")
			}
		}
		return ids
	}
	require.Equal(t, []string{"2"}, paused(), "of those that have a team")
	now.apply(t, e)
	m.put("entra", group("2", "displayName=Dynamic Team", "membershipRuleProcessingState=On"))
	m.put("entra", group("3", "displayName=Dynamic Team", "membershipRuleProcessingState=Paused"))
	e.Update(now, m.take())
	require.Equal(t, []string{"3"}, paused())
	m.remove("entra", "3")
	e.Update(now, m.take())
	require.Empty(t, paused())
}

func TestRule_TEAM_9_team_names_are_unique_in_their_unit(t *testing.T) {
	r := rules(t, "environments: {sales-prod: {}}\nrules:"+everybody+`
  - name: teams
    match: {source: entra, group: '*'}
    team: {environment: sales-prod, business_unit: North}
`)
	m := newMirror("entra")
	m.put("entra", user("ann"))
	m.put("entra", group("2", "displayName=Sales"))
	m.put("entra", group("3", "displayName=NORTH")) // the unit's default team is called so
	now := nothing()
	e := mapping.New(r, m, now)
	now.apply(t, e)
	m.put("entra", group("1", "displayName=sales"))
	e.Update(now, m.take())
	require.Equal(t, []string{
		`team entra:1:members_and_guests "sales (entra:1:members_and_guests)" in n`,
		`team entra:2:members_and_guests "Sales" in n`,
		`team entra:3:members_and_guests "NORTH (entra:3:members_and_guests)" in n`,
	}, only(print(e), "team"), "who has a name keeps it")
	require.Len(t, found(e, mapping.NameTaken), 2)
	now.apply(t, e)
}

func TestRule_GRAPH_31_only_security_and_m365_groups_become_teams(t *testing.T) {
	r := rules(t, "environments: {sales-prod: {}}\nrules:"+everybody+`
  - name: m365
    match: {source: entra, group: 'A*'}
    team: {environment: sales-prod, type: m365_group, business_unit: South}
  - name: teams
    match: {source: entra, group: '*'}
    team: {environment: sales-prod, business_unit: North}
`)
	m := newMirror("entra")
	m.put("entra", user("ann"))
	for _, kind := range []string{"security", "m365", "distribution", "mail-security", "device-thing"} {
		m.put("entra", group(directory.ObjectID(kind), "displayName=A "+kind, "groupKind="+kind))
	}
	e := mapping.New(r, m, nothing())
	require.Equal(t, []string{
		`team entra:m365:members_and_guests "A m365" in s`,
		`team entra:mail-security:members_and_guests "A mail-security" in n`,
		`team entra:security:members_and_guests "A security" in n`,
	}, only(print(e), "team"))
	require.Equal(t, []string{
		`a group of kind "device-thing" cannot become a team: only security groups and Microsoft 365 groups can`,
		`a group of kind "distribution" cannot become a team: only security groups and Microsoft 365 groups can`,
	}, found(e, mapping.GroupKind))
}

func TestRule_SRC_5_a_manager_counts_from_when_there_is_one(t *testing.T) {
	r := rules(t, "environments: {sales-prod: {}}\nrules:"+everybody)
	m := newMirror("entra")
	m.put("entra", user("ann", "manager=dn:uid=boss,dc=example"))
	e := mapping.New(r, m, nothing())
	require.Equal(t, []string{"user entra:ann ann in n"}, print(e))
	m.take()
	m.put("entra", user("boss", "dn=uid=boss,dc=example"))
	require.Len(t, e.Update(nothing(), m.take()), 2)
	require.Equal(t, []string{"user entra:ann ann in n under entra:boss", "user entra:boss boss in n"}, print(e))
	m.put("entra", user("boss", "dn=uid=moved,dc=example"))
	e.Update(nothing(), m.take())
	require.Equal(t, "user entra:ann ann in n", print(e)[0])
	m.put("entra", user("other", "dn=uid=boss,dc=example"))
	e.Update(nothing(), m.take())
	require.Equal(t, "user entra:ann ann in n under entra:other", print(e)[0])
	m.remove("entra", "other")
	e.Update(nothing(), m.take())
	require.Equal(t, "user entra:ann ann in n", print(e)[0])
}

func TestRule_ROLE_2_a_role_is_given_only_where_it_exists(t *testing.T) {
	r := rules(t, "environments: {sales-prod: {}}\nrules:"+everybody+`
  - name: teams
    match: {source: entra, group: 'Sales *'}
    team: {environment: sales-prod, business_unit: '{{ capture[1] }}', roles: [Salesperson, Sales Manager]}
`)
	m := newMirror("entra")
	m.put("entra", group("n", "displayName=Sales North"))
	m.put("entra", group("s", "displayName=Sales South"))
	e := mapping.New(r, m, nothing())
	require.Equal(t, []string{
		"entra:n:members_and_guests has manager in n",
		"entra:n:members_and_guests has salesperson in n",
		"entra:s:members_and_guests has salesperson in s",
	}, only(print(e), "entra:"))
	require.Len(t, found(e, mapping.RoleOutside), 1)
	nothing().apply(t, e)
}

func TestMapping_findings_of_rules_that_find_nothing(t *testing.T) {
	r := rules(t, `
environments: {sales-prod: {}}
rules:
  - name: people
    match: {source: entra, users: 'user.employeTyp != "guest"'}
    user: {environment: sales-prod, business_unit: North}
  - name: ldap people
    match: {source: corp-ldap, users: 'true'}
    user: {environment: sales-prod, business_unit: North}
  - name: teams
    match: {source: entra, group: Nobody}
    team: {environment: sales-prod, business_unit: North}
`)
	m := newMirror("corp-ldap", "entra")
	m.put("entra", user("ann"))
	m.put("entra", group("g", "displayName=G"))
	e := mapping.New(r, m, nothing())
	require.Equal(t, []string{`no user of source "entra" has the attribute "employeTyp", which rules name`}, found(e, mapping.NoAttribute))
	require.Equal(t, []string{`rule "teams" matches no group`}, found(e, mapping.NoMatch))
	require.Equal(t, []string{`source "corp-ldap" has no users`}, found(e, mapping.EmptySource))
	m.put("entra", user("ann", "employeTyp=x"))
	m.put("entra", group("g", "displayName=nobody"))
	e.Update(nothing(), m.take())
	require.Empty(t, found(e, mapping.NoAttribute))
	require.Empty(t, found(e, mapping.NoMatch))
}

func TestMapping_an_expression_that_costs_too_much_is_a_finding(t *testing.T) {
	r := rules(t, `
environments: {sales-prod: {}}
rules:
  - name: people
    match: {source: entra, users: 'user.values.a.all(x, user.values.a.all(y, user.values.a.all(z, x + y != z)))'}
    user: {environment: sales-prod, business_unit: North}
`)
	m := newMirror("entra")
	var attributes []string
	for i := range 1000 {
		attributes = append(attributes, fmt.Sprintf("a=%d/", i))
	}
	m.put("entra", user("ann", attributes...))
	e := mapping.New(r, m, nothing())
	require.Empty(t, print(e))
	require.Len(t, found(e, mapping.CannotJudge), 1)
	require.Contains(t, found(e, mapping.CannotJudge)[0], "cost limit exceeded")
}

func TestRule_HIER_9_managers_in_a_circle_are_left_out_and_told(t *testing.T) {
	r := rules(t, "environments: {sales-prod: {}}\nrules:"+everybody)
	m := newMirror("entra")
	for _, o := range []directory.Object{user("ann", "manager=id:bob"), user("bob", "manager=id:eve"), user("eve", "manager=id:ann"), user("joe", "manager=id:ann"), user("own", "manager=id:own")} {
		m.put("entra", o)
	}
	m.take()
	now := nothing()
	e := mapping.New(r, m, now)
	require.Equal(t, []string{
		"user entra:ann ann in n", "user entra:bob bob in n", "user entra:eve eve in n",
		"user entra:joe joe in n under entra:ann", "user entra:own own in n",
	}, print(e))
	require.Equal(t, []string{
		"the managers form a circle, and are left out: entra:ann reports to entra:bob reports to entra:eve reports to entra:ann",
		"the managers form a circle, and are left out: entra:own reports to entra:own",
	}, found(e, mapping.ManagerCycle))
	now.apply(t, e)

	m.put("entra", user("eve"))
	e.Update(now, m.take())
	require.Equal(t, []string{
		"user entra:ann ann in n under entra:bob", "user entra:bob bob in n under entra:eve", "user entra:eve eve in n",
		"user entra:joe joe in n under entra:ann", "user entra:own own in n",
	}, print(e))
	require.Len(t, found(e, mapping.ManagerCycle), 1)
	now.apply(t, e)
}

func TestRule_ACC_1_a_rule_says_what_users_are_and_may_be_used_for(t *testing.T) {
	r := rules(t, `
environments: {sales-prod: {}}
rules:
  - name: people
    match: {source: entra, users: 'true'}
    user:
      environment: sales-prod
      business_unit: North
      kind: '{{ has(user.appId) ? "application" : user.sort }}'
      application: '{{ user.appId }}'
      access_mode: '{{ has(user.mode) ? user.mode : "read" }}'
      tenant_administrator: 'user.department == "Platform"'
`)
	m := newMirror("entra")
	for _, o := range []directory.Object{user("app", "appId=app-1", "mode=non_interactive"), user("ann", "sort=person", "department=Platform"), user("stub", "sort=stub"), user("bad", "sort=robot"), user("odd", "sort=person", "mode=sometimes")} {
		m.put("entra", o)
	}
	e := mapping.New(r, m, nothing())
	got := map[access.UserID]access.User{}
	for o := range e.Desired() {
		u := o.(access.User)
		got[u.ID] = access.User{Kind: u.Kind, AccessMode: u.AccessMode, Application: u.Application, TenantAdministrator: u.TenantAdministrator}
	}
	require.Equal(t, map[access.UserID]access.User{
		"entra:app":  {Kind: access.ApplicationUser, AccessMode: access.NonInteractive, Application: "app-1"},
		"entra:ann":  {AccessMode: access.ReadOnly, TenantAdministrator: true},
		"entra:stub": {Kind: access.StubUser, AccessMode: access.ReadOnly},
	}, got)
	texts := strings.Join(found(e, mapping.CannotJudge), "\n")
	require.Contains(t, texts, `its kind: unknown kind of user "robot"`)
	require.Contains(t, texts, `its access_mode: unknown access mode "sometimes"`)

	of := func(kind, application string) mapping.Finding {
		r := rules(t, fmt.Sprintf("environments: {sales-prod: {}}\nrules: [{name: x, match: {source: entra, users: 'true'}, user: {environment: sales-prod, business_unit: North, kind: %s, application: '%s'}}]", kind, application))
		m := newMirror("entra")
		m.put("entra", user("ann"))
		return mapping.New(r, m, nothing()).Findings()[0]
	}
	require.Contains(t, of("application", "").Text, "an application user is bound to one (Rule ACC-2)")
	require.Contains(t, of("stub", "app").Text, "only an application user is bound to one (Rule ACC-2)")
	_, err := compile("mapping.yaml", []byte("environments: {sales-prod: {}}\nrules: [{name: x, match: {source: entra, users: 'true'}, user: {environment: sales-prod, business_unit: North, kind: robot, access_mode: never}}]"))
	require.ErrorContains(t, err, `unknown kind of user "robot"`)
	require.ErrorContains(t, err, `unknown access mode "never"`)
}

func TestRule_AD_19_members_named_by_SID_are_the_people_of_another_domain(t *testing.T) {
	const ann, crew, eve = "S-1-5-21-1-2-3-1001", "S-1-5-21-1-2-3-1002", "S-1-5-21-4-5-6-1003"
	sid := func(o directory.Object, sid string) directory.Object {
		o.Attributes[directory.AttrSID] = []string{sid}
		return o
	}
	r := rules(t, "environments: {sales-prod: {}}\nrules:"+everybody+`
  - name: their people
    match: {source: corp-ldap, users: 'user.userName != "guest"'}
    user: {environment: sales-prod, business_unit: North}
  - name: flat
    match: {source: entra, group: All}
    team: {environment: sales-prod, membership: members, business_unit: North}
  - name: nested
    match: {source: entra, group: All}
    team: {environment: sales-prod, nested: true, business_unit: North}
`)
	m := newMirror("entra", "corp-ldap")
	m.put("entra", group("all", "displayName=All"))
	for id, who := range map[directory.ObjectID]string{"f-ann": ann, "f-crew": crew, "f-eve": eve, "f-everybody": "S-1-5-11"} {
		m.put("entra", sid(object(directory.KindOther, id), who))
		m.link("entra", "all", directory.Member, id)
	}
	e := mapping.New(r, m, nothing())
	update := func() []string {
		e.Update(nothing(), m.take())
		whole := mapping.New(r, m, nothing())
		require.Equal(t, print(whole), print(e))
		require.Equal(t, whole.Findings(), e.Findings())
		return only(print(e), "corp-ldap:")
	}
	require.Empty(t, update())
	require.Equal(t, []string{
		"members of the group that are no users or groups of a domain count for nobody: 1 (S-1-5-11)",
		"members of the group whom it names by SID and no source has are pending: 3 (" + ann + ", " + crew + ", " + eve + ")",
	}, found(e, mapping.Strangers)[:2])
	require.True(t, e.Unsure("sales-prod", "entra:all:members"), "nothing is known of either domain")

	m.put("corp-ldap", sid(user("ann"), ann))
	m.put("corp-ldap", sid(group("crew", "displayName=Crew"), crew))
	m.put("corp-ldap", user("bob"))
	m.put("corp-ldap", user("guest")) // whom no rule places
	m.link("corp-ldap", "crew", directory.Member, "bob")
	m.link("corp-ldap", "crew", directory.Member, "guest")
	require.Equal(t, []string{
		"corp-ldap:ann in entra:all:members through " + ann,
		"corp-ldap:ann in entra:all:members_and_guests through " + ann,
		"corp-ldap:bob in entra:all:members_and_guests through Crew (corp-ldap)",
	}, update())
	require.Equal(t, "members of the group whom it names by SID and no source has are pending: 1 ("+eve+")", found(e, mapping.Strangers)[1])
	require.True(t, e.Unsure("sales-prod", "entra:all:members"), "of eve's domain nothing is known")
	require.False(t, e.Unsure("sales-prod", "entra:none:members"))
	m.put("corp-ldap", sid(user("dan"), domainUser(eve, "9")))
	update()
	require.False(t, e.Unsure("sales-prod", "entra:all:members"), "eve is not there, others of the domain are")

	guest := sid(user("ann", "userType=Guest"), ann)
	m.put("corp-ldap", guest)
	require.Equal(t, []string{
		"corp-ldap:ann in entra:all:members_and_guests through " + ann,
		"corp-ldap:bob in entra:all:members_and_guests through Crew (corp-ldap)",
	}, update())
	m.put("corp-ldap", sid(user("ann"), ann))
	require.Len(t, update(), 3)
	m.remove("entra", "f-ann")
	m.put("corp-ldap", sid(group("crew", "displayName=Crew"), domainUser(crew, "7")))
	require.Empty(t, update())
}

// domainUser is another SID of the same domain.
func domainUser(sid, last string) string { return sid[:strings.LastIndex(sid, "-")+1] + last }
