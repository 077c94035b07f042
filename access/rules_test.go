package access_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
)

var everything = access.Cascades{Assign: access.CascadeAll, Share: access.CascadeAll, Unshare: access.CascadeAll, Reparent: access.CascadeAll, Delete: access.CascadeAll}

// family is records 10 > 11 > 12, of ann, along the parental relationship "up".
func family(c access.Cascades, more ...access.Change) []access.Change {
	return append([]access.Change{
		access.Put(relationship("up", "account", c)), access.Put(record("10", userOf("ann"), "sales")),
		access.Put(child("11", "10")), access.Put(child("12", "11")),
	}, more...)
}

func child(id, parent string) access.Record {
	return with(record(id, userOf("ann"), "sales"), func(r *access.Record) {
		r.Links = []access.Link{{Relationship: "up", Record: access.RecordID(parent)}}
	})
}

// expanded is the state after a changeset.
func expanded(t *testing.T, s *access.State, changes ...access.Change) *access.State {
	t.Helper()
	out, err := s.Expand(changes)
	require.NoError(t, err)
	s.Apply(out...)
	require.Empty(t, naiveFaults(s))
	return s
}

func shareOf(s *access.State, record string, p access.Principal) access.Share {
	return s.Shares[access.ShareKey{RecordKey: access.RecordKey{Table: "account", Record: access.RecordID(record)}, Principal: p}]
}

func recordOf(s *access.State, id string) access.Record {
	return s.Records[access.RecordKey{Table: "account", Record: access.RecordID(id)}]
}

func TestRule_OWN_10_TheFormerOwnerGetsAShare(t *testing.T) {
	sharing := access.Put(access.Environment{ID: env, Name: "Company", ShareWithPrevious: true, ManagedBy: access.ByFile})
	assign := access.Put(record("10", userOf("bob"), ""))
	s := expanded(t, company(family(everything, sharing)...), assign)
	for _, id := range []string{"10", "11", "12"} {
		require.Equal(t, userOf("bob"), recordOf(s, id).Owner)
		require.Equal(t, "read,write,delete,append,append_to,assign,share", shareOf(s, id, userOf("ann")).Rights.String(), id)
	}
	require.Empty(t, shareOf(expanded(t, company(family(everything)...), assign), "10", userOf("ann")), "only where the environment says so")
	said := expanded(t, company(family(everything, sharing)...), assign, access.Put(share("10", userOf("ann"))))
	require.Equal(t, "read", shareOf(said, "10", userOf("ann")).Rights.String(), "what the changeset says stands")
}

func TestRule_OWN_11_TheUnitFollowsTheNewOwner(t *testing.T) {
	for _, c := range []struct {
		name        string
		environment []access.Change
		parent      access.BusinessUnitID
		want        string
	}{
		{name: "classic", want: "emea emea"},
		{name: "modernized", environment: []access.Change{modernized()}, want: "emea emea"},
		{name: "modernized, and the caller names one", environment: []access.Change{modernized()}, parent: "ops", want: "ops emea"},
		{name: "modernized, units stay", environment: []access.Change{modernized(func(e *access.Environment) { e.KeepRecordUnit = true })}, want: "sales sales"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := expanded(t, company(family(everything, c.environment...)...), access.Put(record("10", userOf("bob"), string(c.parent))))
			require.Equal(t, c.want, fmt.Sprint(recordOf(s, "10").BusinessUnit, " ", recordOf(s, "11").BusinessUnit))
		})
	}
}

func TestRule_OWN_12_OperationsRunAlongRelationships(t *testing.T) {
	only := func(f func(*access.Cascades)) access.Cascades { return with(access.Cascades{}, f) }
	others := access.Put(with(child("11", "10"), func(r *access.Record) { r.Owner = userOf("root"); r.BusinessUnit = "root" }))
	inactive := access.Put(with(child("11", "10"), func(r *access.Record) { r.Inactive = true }))
	assign, remove := []access.Change{access.Put(record("10", userOf("bob"), ""))}, []access.Change{access.Remove(record("10", access.Principal{}, ""))}
	all := []string{"put record e/account/10", "put record e/account/11", "put record e/account/12"}
	complete(t, []expect{
		{name: "assign, all", given: family(only(func(c *access.Cascades) { c.Assign = access.CascadeAll }), others), changes: assign, want: all},
		{name: "assign, none", given: family(access.Cascades{}), changes: assign, want: all[:1]},
		{name: "assign, owned by the same user", given: family(only(func(c *access.Cascades) { c.Assign = access.CascadeUserOwned })), changes: assign, want: all},
		{name: "assign, owned by another", given: family(only(func(c *access.Cascades) { c.Assign = access.CascadeUserOwned }), others), changes: assign, want: all[:1]},
		{name: "assign, active ones", given: family(only(func(c *access.Cascades) { c.Assign = access.CascadeActive }), inactive), changes: assign, want: all[:1]},
		{name: "assign, in a circle", given: family(everything, access.Put(child("10", "12"))), changes: []access.Change{access.Put(with(child("10", "12"), func(r *access.Record) { r.Owner, r.BusinessUnit = userOf("bob"), "" }))}, want: all},
		{
			name: "delete, all", given: family(everything, access.Put(share("12", userOf("bob"))), access.Put(secured("account", "iban")), access.Put(columnShare("11", "iban", userOf("bob")))), changes: remove,
			want: []string{"delete column_share e/account/11/iban/user/bob", "delete share e/account/12/user/bob", "delete record e/account/12", "delete record e/account/11", "delete record e/account/10"},
		},
		{name: "delete, none: the link goes", given: family(access.Cascades{}), changes: remove, want: []string{"put record e/account/11", "delete record e/account/10"}},
		{
			name: "a deleted relationship takes its links along", given: family(everything), changes: []access.Change{access.Remove(relationship("up", "account", everything))},
			want: []string{"put record e/account/11", "put record e/account/12", "delete relationship e/up"},
		},
		{
			name: "so does one that comes to be between others", given: family(everything), changes: []access.Change{access.Put(relationship("up", "desk", everything))},
			want: []string{"put relationship e/up", "put record e/account/11", "put record e/account/12"},
		},
		{name: "other cascades count from now on", given: family(everything), changes: []access.Change{access.Put(relationship("up", "account", access.Cascades{}))}, want: []string{"put relationship e/up"}},
		{
			name: "a table takes its relationships along", given: family(everything), changes: []access.Change{access.Remove(table("account", 0))},
			want: []string{
				"put role e/local", "put role e/seller", "delete share e/account/1/team/watchers", "delete share e/account/1/user/bob",
				"delete record e/account/2", "delete record e/account/12", "delete record e/account/11", "delete record e/account/10", "delete record e/account/1", "delete relationship e/up", "delete table e/account",
			},
		},
	})
	refuse(t, "OWN-12", []fault{
		{name: "a second parental relationship", given: family(everything), changes: []access.Change{access.Put(relationship("more", "desk", everything))}, want: "relationship more is one of several parental relationships of table \"account\", more, up"},
		{name: "an unknown cascade", changes: []access.Change{access.Put(relationship("up", "account", access.Cascades{Share: access.CascadeAll + 1}))}, want: "unknown cascade"},
	})
}

func TestRule_REL_1_LinksRunAlongARelationshipOfTheTable(t *testing.T) {
	links := func(l ...access.Link) []access.Change {
		return []access.Change{access.Put(with(record("20", userOf("ann"), ""), func(r *access.Record) { r.Links = l }))}
	}
	foreign := access.Put(with(relationship("foreign", "account", access.Cascades{}), func(r *access.Relationship) { r.Table = "desk" }))
	many := access.Put(with(relationship("many", "account", access.Cascades{}), func(r *access.Relationship) { r.ManyToMany = true }))
	refuse(t, "REL-1", []fault{
		{name: "unknown", changes: links(access.Link{Relationship: "x", Record: "1"}), want: `relationship "x", which does not exist`},
		{name: "of another table", given: []access.Change{foreign}, changes: links(access.Link{Relationship: "foreign", Record: "1"}), want: `is one of table "desk"`},
		{name: "twice", given: family(everything), changes: links(access.Link{Relationship: "up", Record: "1"}, access.Link{Relationship: "up", Record: "2"}), want: "twice or unsorted"},
		{name: "to a record that goes", given: family(everything), changes: append(links(access.Link{Relationship: "up", Record: "10"}), access.Remove(record("10", access.Principal{}, ""))), want: "which the same changeset deletes"},
		{name: "between tables that do not exist", changes: []access.Change{access.Put(relationship("up", "x", access.Cascades{}))}, want: `table "x", which does not exist`},
	})
	refuse(t, "REL-2", []fault{
		{name: "many-to-many has no lookup", given: []access.Change{many}, changes: links(access.Link{Relationship: "many", Record: "1"}), want: "has no lookup"},
		{name: "many-to-many has no cascades", changes: []access.Change{access.Put(with(relationship("many", "account", everything), func(r *access.Relationship) { r.ManyToMany = true }))}, want: "no cascades"},
	})
	complete(t, []expect{{name: "to a record that nobody registered", given: family(everything), changes: links(access.Link{Relationship: "up", Record: "77"}), want: []string{"put record e/account/20"}}})
}

func TestRule_SHARE_7_InheritedSharesAreKeptApart(t *testing.T) {
	bob := userOf("bob")
	own := access.Put(with(share("11", bob), func(s *access.Share) { s.Rights = access.RightsOf(access.Write) }))
	read := access.RightsOf(access.Read)
	s := expanded(t, company(family(everything, own)...), access.Put(share("10", bob)))
	require.Equal(t, access.RightsOf(access.Write), shareOf(s, "11", bob).Rights)
	require.Equal(t, read, shareOf(s, "11", bob).Inherited)
	require.Equal(t, []access.Inheritable{{Relationship: "up", Rights: access.RightsOf(access.Read)}}, shareOf(s, "11", bob).Along)
	require.Equal(t, read, shareOf(s, "12", bob).Inherited, "a child's child inherits")

	s = expanded(t, s, access.Remove(share("10", bob)))
	require.Zero(t, shareOf(s, "11", bob).Inherited, "unsharing takes what was inherited")
	require.Equal(t, access.RightsOf(access.Write), shareOf(s, "11", bob).Rights, "and nothing else")
	require.Empty(t, shareOf(s, "12", bob).Inherited, "nor what the grandchild had")

	s = expanded(t, company(family(everything, access.Put(share("10", bob)))...), access.Put(child("13", "10")))
	require.Equal(t, read, shareOf(s, "13", bob).Inherited, "created under a shared parent")
	s = expanded(t, s, access.Put(with(child("13", "10"), func(r *access.Record) { r.Links = nil })))
	require.Empty(t, shareOf(s, "13", bob), "it leaves the parent")
	s = expanded(t, s, access.Put(child("13", "10")))
	require.Equal(t, read, shareOf(s, "13", bob).Inherited, "it comes back")

	legacy := access.Put(with(share("11", bob), func(s *access.Share) { s.Inherited = access.RightsOf(access.Append) }))
	s = expanded(t, company(family(everything, legacy)...), access.Put(share("10", bob)))
	require.Equal(t, "read,append", shareOf(s, "11", bob).Inherited.String())
	s = expanded(t, s, access.Remove(share("10", bob)))
	require.Equal(t, "append", shareOf(s, "11", bob).Inherited.String(), "what the application itself said was inherited stays")
	require.Empty(t, shareOf(s, "11", bob).Along)

	circle := company(family(everything, access.Put(child("10", "12")))...)
	s = expanded(t, circle, access.Put(share("11", bob)))
	require.Equal(t, read, shareOf(s, "10", bob).Inherited)
	s = expanded(t, s, access.Remove(share("11", bob)))
	for _, id := range []string{"10", "11", "12"} {
		require.Empty(t, shareOf(s, id, bob), "no right upholds itself in a circle")
	}

	timed := access.Put(with(share("10", bob), func(s *access.Share) { s.Window.End = time.Unix(1e9, 0).UTC() }))
	s = expanded(t, company(family(everything)...), timed)
	require.Empty(t, shareOf(s, "11", bob), "Rule SHARE-10: access for a time stays where it was given")

	along := func(a ...access.Inheritable) []access.Change {
		return []access.Change{access.Put(with(share("11", bob), func(s *access.Share) { s.Inherited, s.Along = read, a }))}
	}
	refuse(t, "SHARE-7", []fault{
		{name: "along an unknown relationship", given: family(everything), changes: along(access.Inheritable{Relationship: "x", Rights: read}), want: "the table does not have"},
		{name: "other rights than came", given: family(everything), changes: along(access.Inheritable{Relationship: "up", Rights: access.RightsOf(access.Write)}), want: "other rights than come along"},
		{name: "nothing", given: family(everything), changes: along(access.Inheritable{Relationship: "up"}), want: "leave it out"},
	})
}

func TestRule_TEAM_6_AccessTeamTemplates(t *testing.T) {
	enabled := access.Put(secured("account"))
	put := func(f func(*access.Template)) []access.Change {
		return []access.Change{access.Put(with(template("t"), f))}
	}
	refuse(t, "TEAM-6", []fault{
		{name: "the table is not enabled", changes: put(func(*access.Template) {}), want: "is not enabled for access teams"},
		{name: "the table is switched off", given: []access.Change{enabled, access.Put(template("t"))}, changes: []access.Change{access.Put(table("account", access.UserOrTeam))}, want: "delete them first"},
		{name: "the table is not owned", changes: put(func(t *access.Template) { t.Table = "desk" }), want: "ownership is business_unit"},
		{name: "no rights", given: []access.Change{enabled}, changes: put(func(t *access.Template) { t.Rights = 0 }), want: "gives no right"},
		{name: "create", given: []access.Change{enabled}, changes: put(func(t *access.Template) { t.Rights = access.RightsOf(access.Create) }), want: "cannot be shared"},
		{name: "a third one", given: []access.Change{enabled, access.Put(template("a")), access.Put(template("b"))}, changes: put(func(*access.Template) {}), want: "2 are the most"},
		{name: "another table", given: []access.Change{enabled, access.Put(template("t"))}, changes: put(func(t *access.Template) { t.Table = "desk" }), want: "cannot change its table"},
		{name: "a team of an unknown template", changes: []access.Change{access.Put(forRecord("for", "1"))}, want: `"tp1", which does not exist`},
		{name: "a team that is no access team", given: []access.Change{enabled, access.Put(template("tp1"))}, changes: []access.Change{access.Put(with(forRecord("for", "1"), func(t *access.Team) { t.Type = access.OwnerTeam }))}, want: "being of type owner"},
	})
	given := []access.Change{enabled, access.Put(template("tp1")), access.Put(forRecord("for", "1")), access.Put(member("for", "bob")), access.Put(share("1", teamOf("for")))}
	gone := []string{"delete share e/account/1/team/for", "delete membership e/for/bob", "delete team e/for"}
	complete(t, []expect{
		{name: "more, where the environment says so", given: []access.Change{
			enabled, access.Put(template("a")), access.Put(template("b")),
			access.Put(access.Environment{ID: env, Name: "Company", TemplatesPerTable: 3, ManagedBy: access.ByFile}),
		}, changes: put(func(*access.Template) {}), want: []string{"put access_team_template e/t"}},
		{name: "the last who leaves ends the team", given: given, changes: []access.Change{access.Remove(member("for", "bob"))}, want: gone},
		{name: "another member keeps it", given: append(given, access.Put(member("for", "ann"))), changes: []access.Change{access.Remove(member("for", "bob"))}, want: gone[1:2]},
		{name: "one who comes keeps it", given: given, changes: []access.Change{access.Remove(member("for", "bob")), access.Put(member("for", "ann"))}, want: []string{"put membership e/for/ann", gone[1]}},
		{
			name: "the record ends its teams", given: given, changes: []access.Change{access.Remove(record("1", access.Principal{}, ""))},
			want: []string{"delete share e/account/1/team/watchers", gone[0], "delete share e/account/1/user/bob", "delete record e/account/1", gone[1], gone[2]},
		},
		{name: "the template ends its teams", given: given, changes: []access.Change{access.Remove(template("tp1"))}, want: append(gone[:3:3], "delete access_team_template e/tp1")},
		{
			name: "the last user who is deleted ends the team", given: given, changes: []access.Change{access.Remove(user("bob", ""))},
			want: []string{gone[0], "delete share e/account/1/user/bob", "delete assignment e/a-bob", "delete membership e/watchers/bob", gone[1], gone[2], "delete user e/bob"},
		},
	})
	moved := with(forRecord("for", "1"), func(t *access.Team) { t.For.Record = "2" })
	refuse(t, "TEAM-1", []fault{{name: "for another record", given: given, changes: []access.Change{access.Put(moved)}, want: "cannot change the record"}})
}

func TestRule_FLS_1_SomeColumnsCannotBeSecured(t *testing.T) {
	columns := func(c ...access.Column) []access.Change {
		return []access.Change{access.Put(with(table("account", access.UserOrTeam), func(t *access.Table) { t.Columns = c }))}
	}
	for _, name := range []string{"id", "accountid", "owner", "ownerid", "OwnerID"} {
		refuse(t, "FLS-1", []fault{{name: name, changes: columns(access.Column{Name: name, Secured: true}), want: "cannot secure column"}})
	}
	refuse(t, "FLS-1", []fault{
		{name: "unsorted", changes: columns(access.Column{Name: "b"}, access.Column{Name: "a"}), want: "twice or unsorted"},
		{name: "without a name", changes: columns(access.Column{}), want: "want up to 256 bytes"},
		{name: "calculated from a secured one", changes: columns(access.Column{Name: "iban", Secured: true}, access.Column{Name: "owner", From: []string{"iban"}}), want: "it is the owner"},
	})
	refuse(t, "FLS-8", []fault{{name: "calculated from itself", changes: columns(access.Column{Name: "a", From: []string{"b"}}, access.Column{Name: "b", From: []string{"x", "a"}}), want: "is calculated from itself"}})
	mask := func(pattern string) []access.Change {
		return columns(access.Column{Name: "iban", Secured: true, Mask: &access.Mask{Pattern: pattern}})
	}
	refuse(t, "FLS-4", []fault{
		{name: "no regular expression", changes: mask("("), want: "no regular expression"},
		{name: "a huge one", changes: mask(strings.Repeat("x", 1001)), want: "more than 1000 bytes"},
		{name: "one that grows huge", changes: mask(strings.Repeat("(", 3) + strings.Repeat("x{500}){500}", 1) + "){500}){500}"), want: "no regular expression"},
	})
	given := []access.Change{
		access.Put(secured("account", "iban", "salary")), access.Put(profile("p", "iban", "salary")),
		access.Put(access.ProfileMember{Environment: env, Profile: "p", Principal: userOf("bob"), ManagedBy: access.ByFile}), access.Put(columnShare("1", "iban", userOf("bob"))),
	}
	complete(t, []expect{
		{
			name: "a column that is no longer secured leaves profiles and shares", given: given, changes: []access.Change{access.Put(secured("account", "salary"))},
			want: []string{"put table e/account", "put column_profile e/p", "delete column_share e/account/1/iban/user/bob"},
		},
		{
			name: "a profile takes its members along", given: given, changes: []access.Change{access.Remove(profile("p"))},
			want: []string{"delete column_profile_member e/p/user/bob", "delete column_profile e/p"},
		},
		{
			name: "a user takes profiles and column shares along", given: given, changes: []access.Change{access.Remove(user("bob", ""))},
			want: []string{"delete column_share e/account/1/iban/user/bob", "delete share e/account/1/user/bob", "delete column_profile_member e/p/user/bob", "delete assignment e/a-bob", "delete membership e/watchers/bob", "delete user e/bob"},
		},
	})
}

func TestRule_FLS_2_ProfilesNameSecuredColumns(t *testing.T) {
	given := []access.Change{access.Put(secured("account", "iban")), access.Put(profile("p"))}
	lines := func(c ...access.ProfileColumn) []access.Change {
		return []access.Change{access.Put(with(profile("p"), func(p *access.Profile) { p.Columns = c }))}
	}
	members := func(profile string, p access.Principal) []access.Change {
		return []access.Change{access.Put(access.ProfileMember{Environment: env, Profile: access.ProfileID(profile), Principal: p, ManagedBy: access.ByFile})}
	}
	refuse(t, "FLS-1", []fault{
		{name: "no secured column", given: given, changes: lines(access.ProfileColumn{Table: "account", Column: "x"}), want: "which is not secured"},
		{name: "no table", given: given, changes: lines(access.ProfileColumn{Table: "x", Column: "iban"}), want: "which does not exist"},
	})
	line := access.ProfileColumn{Table: "account", Column: "iban", Read: true}
	refuse(t, "FLS-2", []fault{
		{name: "twice", given: given, changes: lines(line, line), want: "twice or unsorted"},
		{name: "unmasked without read", given: given, changes: lines(access.ProfileColumn{Table: "account", Column: "iban", Unmasked: access.UnmaskedOneRecord}), want: "without reading it"},
		{name: "everybody", given: given, changes: members("p", access.Principal{Kind: access.Everybody}), want: "only a user or a team has one"},
		{name: "nobody known", given: given, changes: members("p", userOf("eve")), want: "which does not exist"},
		{name: "an unknown profile", given: given, changes: members("x", userOf("ann")), want: "which does not exist"},
	})
	complete(t, []expect{{name: "an access team has one", given: given, changes: members("p", teamOf("watchers")), want: []string{"put column_profile_member e/p/team/watchers"}}})
}

func TestRule_FLS_7_ColumnSharesAreOfSecuredColumns(t *testing.T) {
	given := []access.Change{access.Put(secured("account", "iban"))}
	refuse(t, "FLS-7", []fault{
		{name: "nothing", given: given, changes: []access.Change{access.Put(with(columnShare("1", "iban", userOf("bob")), func(c *access.ColumnShare) { c.Read = false }))}, want: "gives no right"},
		{name: "nobody known", given: given, changes: []access.Change{access.Put(columnShare("1", "iban", userOf("eve")))}, want: "which does not exist"},
		{name: "a record that goes", given: given, changes: []access.Change{access.Put(columnShare("1", "iban", userOf("bob"))), access.Remove(record("1", access.Principal{}, ""))}, want: "the same changeset deletes"},
		{
			name: "a record that nobody owns", given: []access.Change{access.Put(with(secured("desk", "iban"), func(t *access.Table) { t.Ownership = access.BusinessUnitOwned }))},
			changes: []access.Change{access.Put(with(columnShare("1", "iban", userOf("bob")), func(c *access.ColumnShare) { c.Table = "desk" }))}, want: "ownership is business_unit",
		},
	})
	refuse(t, "FLS-1", []fault{{name: "not secured", given: given, changes: []access.Change{access.Put(columnShare("1", "x", userOf("bob")))}, want: "not secured"}})
}

func TestRule_HIER_1_SettingsOfTheHierarchy(t *testing.T) {
	put := func(h access.Hierarchy) []access.Change {
		return []access.Change{access.Put(access.Environment{ID: env, Name: "Company", Hierarchy: &h, ManagedBy: access.ByFile})}
	}
	refuse(t, "HIER-1", []fault{
		{name: "an unknown table", changes: put(access.Hierarchy{Depth: 1, Except: []access.TableID{"x"}}), want: "which does not exist"},
		{name: "a table that is never in it", changes: put(access.Hierarchy{Depth: 1, Except: []access.TableID{"desk"}}), want: "never in it"},
		{name: "a table twice", changes: put(access.Hierarchy{Depth: 1, Except: []access.TableID{"account", "account"}}), want: "twice or unsorted"},
		{name: "an unknown model", changes: put(access.Hierarchy{Depth: 1, Model: 9}), want: "unknown hierarchy model"},
	})
	refuse(t, "HIER-3", []fault{
		{name: "no depth", changes: put(access.Hierarchy{}), want: "want 1 to 100"},
		{name: "too deep", changes: put(access.Hierarchy{Depth: 101}), want: "want 1 to 100"},
		{name: "more direct levels than levels", changes: put(access.Hierarchy{Depth: 1, DirectLevels: 2}), want: "want 1 to the depth of 1"},
	})
	complete(t, []expect{{
		name: "a table that goes is left out no more", given: []access.Change{put(access.Hierarchy{Depth: 1, Except: []access.TableID{"account", "other"}})[0], access.Put(table("other", access.UserOrTeam))},
		changes: []access.Change{access.Remove(table("other", 0))}, want: []string{"put environment e/e", "delete table e/other"},
	}})
}

func TestRule_HIER_9_NoCyclesOfManagersOrPositions(t *testing.T) {
	managed := func(id, manager string) access.Change {
		return access.Put(with(user(id, "sales"), func(u *access.User) { u.Manager = access.UserID(manager) }))
	}
	chain := func(n int) (out []access.Change) {
		for i := range n {
			out = append(out, managed(fmt.Sprintf("m%03d", i), fmt.Sprintf("m%03d", i+1)))
		}
		return out
	}
	refuse(t, "HIER-9", []fault{
		{name: "oneself", changes: []access.Change{managed("bob", "bob")}, want: "user bob reports to itself"},
		{name: "a circle", given: []access.Change{managed("ann", "bob")}, changes: []access.Change{managed("bob", "ann")}, want: "user bob reports to itself"},
		{name: "a circle closed by a user who comes", given: []access.Change{managed("ann", "eve")}, changes: []access.Change{managed("eve", "ann")}, want: "user eve reports to itself"},
		{name: "too many levels", changes: chain(101), want: "user m000 has too many managers above it"},
		{name: "a circle of positions", given: []access.Change{access.Put(position("a", "")), access.Put(position("b", "a"))}, changes: []access.Change{access.Put(position("a", "b"))}, want: "position a lies below itself"},
	})
	refuse(t, "HIER-7", []fault{
		{name: "a position below nothing", changes: []access.Change{access.Put(position("a", "x"))}, want: "which does not exist"},
		{name: "a position with others below it goes", given: []access.Change{access.Put(position("a", "")), access.Put(position("b", "a"))}, changes: []access.Change{access.Remove(position("a", ""))}, want: "position b is below position"},
	})
	_, err := company().Expand(append(chain(100), managed("ann", "nobody"), managed("bob", "ann")))
	require.NoError(t, err, "100 levels, and a manager who is not in the environment")
	s := company(managed("ann", "bob"), managed("bob", "ann"))
	_, err = s.Expand([]access.Change{managed("eve", "ann")})
	require.NoError(t, err, "a cycle that was there before is nobody else's fault")
}

func TestTreesAreNotTooDeep(t *testing.T) {
	units, positions := []access.Change{}, []access.Change{}
	parent, above := "root", ""
	for i := range 200 {
		id := fmt.Sprintf("u%03d", i)
		units, positions = append(units, access.Put(unit(id, parent))), append(positions, access.Put(position(id, above)))
		parent, above = id, id
	}
	refuse(t, "BU-1", []fault{{name: "units", changes: units, want: "business_unit u099 lies too deep"}})
	refuse(t, "HIER-9", []fault{{name: "positions", changes: positions, want: "position u100 lies too deep"}})
	_, err := company().Expand(append(units[:99], positions[:100]...))
	require.NoError(t, err)
}

func TestRule_ACC_1_FewUsersAreNonInteractive(t *testing.T) {
	var seven []access.Change
	robot := func(id string) access.Change {
		return access.Put(with(user(id, "ops"), func(u *access.User) { u.AccessMode = access.NonInteractive }))
	}
	for i := range 7 {
		seven = append(seven, robot(fmt.Sprint("r", i)))
	}
	refuse(t, "ACC-1", []fault{
		{name: "an eighth", given: seven, changes: []access.Change{robot("x")}, want: "user x would be one of 8 non-interactive users: 7 are the most"},
		{name: "fewer allowed than there are", given: seven, changes: []access.Change{access.Put(access.Environment{ID: env, Name: "Company", NonInteractiveUsers: 6, ManagedBy: access.ByFile})}, want: "6 are the most"},
		{name: "an unknown mode", changes: []access.Change{access.Put(with(user("x", "ops"), func(u *access.User) { u.AccessMode = 99 }))}, want: "unknown access mode"},
	})
	complete(t, []expect{{name: "one for another", given: seven, changes: []access.Change{robot("x"), access.Put(user("r0", "ops"))}, want: []string{"put user e/r0", "put user e/x"}}})
}

func TestRule_ACC_2_ApplicationUsersAreBoundToOneApplication(t *testing.T) {
	app := func(id, application string, k access.UserKind) access.Change {
		return access.Put(with(user(id, "ops"), func(u *access.User) { u.Kind, u.Application = k, application }))
	}
	refuse(t, "ACC-2", []fault{
		{name: "none", changes: []access.Change{app("x", "", access.ApplicationUser)}, want: "needs the app registration"},
		{name: "a person", changes: []access.Change{app("x", "app", access.Person)}, want: "only an application user is"},
		{name: "a stub (Rule ACC-3)", changes: []access.Change{app("x", "app", access.StubUser)}, want: "only an application user is"},
		{name: "two users of one", given: []access.Change{app("x", "app", access.ApplicationUser)}, changes: []access.Change{app("y", "app", access.ApplicationUser)}, want: "as user x is"},
		{name: "an unknown kind", changes: []access.Change{app("x", "", 9)}, want: "unknown kind"},
	})
	complete(t, []expect{{name: "one", changes: []access.Change{app("x", "app", access.ApplicationUser)}, want: []string{"put user e/x"}}})
}

func TestRule_ACC_3_AStubOwnsRecordsAndDoesNotAdminister(t *testing.T) {
	stub := func(id, unit string) access.Change {
		return access.Put(with(user(id, unit), func(u *access.User) { u.Kind = access.StubUser }))
	}
	complete(t, []expect{{name: "it owns", given: []access.Change{stub("x", "ops")}, changes: []access.Change{access.Put(record("9", userOf("x"), ""))}, want: []string{"put record e/account/9"}}})
	refuse(t, "ROLE-10", []fault{
		{name: "the last administrator becomes a stub", changes: []access.Change{stub("root", "root")}, want: "would lose its last enabled user"},
		{name: "or may only read", changes: []access.Change{access.Put(with(user("root", "root"), func(u *access.User) { u.AccessMode = access.ReadOnly }))}, want: "would lose its last enabled user"},
	})
	complete(t, []expect{{name: "or administers alone", changes: []access.Change{access.Put(with(user("root", "root"), func(u *access.User) { u.AccessMode = access.Administrative }))}, want: []string{"put user e/root"}}})
}

func TestRule_ESG_5_SomeEnvironmentsAreOpenToAll(t *testing.T) {
	of := func(k access.EnvironmentKind) []access.Change {
		return []access.Change{access.Put(access.Environment{ID: env, Name: "Company", Kind: k, SecurityGroup: &access.GroupRef{Source: "entra", Group: "g"}, ManagedBy: access.ByFile})}
	}
	refuse(t, "ESG-5", []fault{
		{name: "default", changes: of(access.DefaultEnvironment), want: "being of kind default"},
		{name: "developer", changes: of(access.Developer), want: "being of kind developer"},
		{name: "unknown", changes: of(9), want: "unknown kind"},
	})
	complete(t, []expect{{name: "sandbox", changes: of(access.Sandbox), want: []string{"put environment e/e"}}})
}

// FuzzExpand makes changes of random bytes. Expand judges whatever it is given:
// it refuses or completes it, and what it completes keeps the rules.
func FuzzExpand(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"))
	f.Add([]byte(strings.Repeat("\x0d\x02\x01\x00\x0e\x01\x01\x03", 8)))
	f.Fuzz(func(t *testing.T, b []byte) {
		next := func(n int) int {
			if len(b) == 0 {
				return 0
			}
			v := int(b[0]) % n
			b = b[1:]
			return v
		}
		id := func() string {
			return []string{"1", "2", "3", "root", "sales", "emea", "ann", "bob", "account", "desk", "up", "side", "tp1", "for1", "s1", "p1", "iban", "seller", "admin", "", "a/b", "\xff", "default:sales"}[next(23)]
		}
		s := whole()
		var changes []access.Change
		for len(b) > 0 && len(changes) < 8 {
			principal := access.Principal{Kind: access.PrincipalKind(next(4)), ID: id()}
			var o access.Object
			switch access.Kind(next(int(access.KindColumnShare) + 1)) {
			case access.KindEnvironment:
				o = access.Environment{
					ID: env, Name: id(), Modernized: next(2) == 0, KeepRecordUnit: next(2) == 0, ShareWithPrevious: next(2) == 0, Kind: access.EnvironmentKind(next(6)),
					Hierarchy: &access.Hierarchy{Depth: next(200) - 50, DirectLevels: next(5) - 1, Except: []access.TableID{access.TableID(id())}}, TemplatesPerTable: next(4) - 1, ManagedBy: access.ByFile,
				}
			case access.KindBusinessUnit:
				o = unit(id(), id())
			case access.KindTable:
				o = with(secured(id(), id(), id()), func(t *access.Table) {
					t.Ownership, t.Columns[0].From, t.Columns[1].Mask = access.Ownership(next(5)), []string{id()}, &access.Mask{Pattern: id() + "*"}
				})
			case access.KindRelationship:
				o = with(relationship(id(), id(), access.Cascades{Assign: access.Cascade(next(5)), Share: access.Cascade(next(5)), Unshare: access.Cascade(next(5)), Reparent: access.Cascade(next(5)), Delete: access.Cascade(next(5))}), func(r *access.Relationship) { r.ManyToMany = next(4) == 0 })
			case access.KindTemplate:
				o = with(template(id()), func(t *access.Template) { t.Table, t.Rights = access.TableID(id()), access.Rights(next(256)) })
			case access.KindPosition:
				o = position(id(), id())
			case access.KindRole:
				o = role(id(), id(), line(id(), access.Action(next(9)), access.Depth(next(6))))
			case access.KindProfile:
				o = profile(id(), id())
			case access.KindUser:
				o = with(user(id(), id()), func(u *access.User) {
					u.Kind, u.AccessMode, u.Manager, u.Enabled = access.UserKind(next(4)), access.AccessMode(next(7)), access.UserID(id()), next(2) == 0
				})
			case access.KindTeam:
				o = with(forRecord(id(), id()), func(t *access.Team) { t.Type = access.TeamType(next(5)) })
			case access.KindMembership:
				o = member(id(), id())
			case access.KindAssignment:
				o = assign(id(), id(), principal, id())
			case access.KindProfileMember:
				o = access.ProfileMember{Environment: env, Profile: access.ProfileID(id()), Principal: principal, ManagedBy: access.ByAPI}
			case access.KindRecord:
				o = with(record(id(), principal, id()), func(r *access.Record) {
					r.Links, r.Inactive = []access.Link{{Relationship: access.RelationshipID(id()), Record: access.RecordID(id())}}, next(2) == 0
				})
			case access.KindShare:
				o = with(share(id(), principal), func(s *access.Share) {
					s.Rights, s.Inherited = access.Rights(next(256)), access.Rights(next(256))
					s.Along = []access.Inheritable{{Relationship: access.RelationshipID(id()), Rights: s.Inherited}}
				})
			default:
				o = columnShare(id(), id(), principal)
			}
			changes = append(changes, access.Change{Delete: next(4) == 0, Object: o})
		}
		out, err := s.Expand(changes)
		if err != nil {
			return
		}
		again, err := s.Expand(out)
		require.NoError(t, err)
		require.Equal(t, out, again)
		if s.Apply(out...); s.Exists() {
			require.Empty(t, naiveFaults(s))
			require.Equal(t, clone(s), s)
		}
	})
}

// TestRule_INC_8_AlikeIsNotTheSame tells who has a sign-in name from who keeps others
// from having it.
func TestRule_INC_8_AlikeIsNotTheSame(t *testing.T) {
	for _, o := range []struct {
		has, asked string
		same       bool
	}{
		{"weiß@corp", "weiß@corp", true},
		{"weiß@corp", "WEIß@corp", true},
		{"Émile", "E\u0301MILE", true}, // composed otherwise
		{"weiß@corp", "weiss@corp", false},
		{"ſmith", "smith", false},
		{"ﬁona", "fiona", false},
		{"İnci", "inci", false},
	} {
		require.Equal(t, o.same, access.SameLogin(o.has, o.asked), "%s and %s", o.has, o.asked)
		require.Equal(t, o.same, access.SameLogin(o.asked, o.has), "%s and %s", o.asked, o.has)
		s := access.NewState("e")
		s.Apply(access.Put(access.User{Environment: "e", ID: "1", Login: o.has}))
		_, found := s.UserByLogin(o.asked)
		require.Equal(t, o.same, found, "%s asked as %s", o.has, o.asked)
	}
	s := access.NewState("e")
	s.Apply(access.Put(access.User{Environment: "e", ID: "1", Login: "weiß"}))
	holder, taken := s.LoginHolder("weiss")
	require.True(t, taken, "too much alike for two users")
	require.EqualValues(t, "1", holder.ID)
}
