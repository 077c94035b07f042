package entra

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ambit-iam/ambit/connectors/entra/graphtest"
	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
)

// quick makes a source that does not wait long where nobody says how long.
func quick(t testing.TB, c Config) *Source {
	s := source(t, c)
	s.pause = time.Millisecond
	return s
}

// small starts a directory of a few people, on several pages.
func small(t testing.TB) (*graphtest.Server, Config) {
	server, err := graphtest.Start(t.TempDir(), graphtest.Options{PageSize: 3, EdgesPerEntry: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	server.Load(tiny())
	return server, Config{
		TenantID: graphtest.Tenant, ClientID: graphtest.ClientID, ClientSecret: clientSecret(t, graphtest.ClientSecret),
		GraphEndpoint: server.URL, Authority: server.URL, CAFile: server.CAFile,
	}
}

// synced is a mirror that has read the server once.
func synced(t testing.TB) (*graphtest.Server, *Source, *mirror) {
	server, c := small(t)
	s, m := quick(t, c), newMirror()
	require.NoError(t, m.read(t, s, nil))
	require.Equal(t, truth(server), m.dump())
	return server, s, m
}

// asked counts the requests whose URI contains the text.
func asked(server *graphtest.Server, text string) int {
	n := 0
	for _, r := range server.Requests() {
		if strings.Contains(r.URI, text) {
			n++
		}
	}
	return n
}

func TestRule_GRAPH_6_users_and_groups_are_asked_by_delta_with_what_to_select(t *testing.T) {
	server, _, _ := synced(t)
	require.Equal(t, 1, asked(server, "/v1.0/users/delta()?$select=id,userPrincipalName,"))
	require.Equal(t, 1, asked(server, "/v1.0/groups/delta()?$select=id,displayName,"))
}

func TestRule_GRAPH_7_links_go_out_byte_for_byte(t *testing.T) {
	// The server knows its links by their bytes and refuses any other; they hold
	// escapes, quotes and parameter names that a client could be tempted to clean.
	server, s, m := synced(t)
	require.Positive(t, asked(server, "skip"))
	require.NoError(t, m.read(t, s, nil))
	require.Equal(t, 2, asked(server, "%2D%2e~!'%7Ea")-asked(server, "skip"), "both delta links were followed as they were")

	server.Arm(graphtest.EmptyPage(), 3)
	require.NoError(t, newMirror().read(t, s, nil), "an empty page with a nextLink is gone past")
	server.Arm(graphtest.NoLink(), 1)
	require.ErrorIs(t, newMirror().read(t, s, nil), directory.ErrIncomplete, "a page without a link ends nothing")
}

func TestRule_GRAPH_9_what_rules_name_is_selected_and_its_changes_come(t *testing.T) {
	server, c := small(t)
	server.SetAttribute("u01", "officeLocation", "Lyon")
	s := quick(t, c)
	start := directory.Start{Attributes: []string{"officeLocation"}}
	round, err := sourcetest.Collect(t.Context(), s, start)
	require.NoError(t, err)
	require.Equal(t, []string{"Lyon"}, round.Objects["u01"].Attributes["officeLocation"])
	server.SetAttribute("u01", "officeLocation", "Nice")
	start.Cursor = round.Cursor
	round, err = sourcetest.Collect(t.Context(), s, start)
	require.NoError(t, err)
	require.Equal(t, directory.Delta, round.Mode)
	require.Equal(t, []string{"Nice"}, round.Objects["u01"].Attributes["officeLocation"])
	require.Len(t, round.Objects, 1, "a delta round names what changed")
}

func TestRule_GRAPH_11_edges_come_and_go(t *testing.T) {
	server, s, m := synced(t)
	server.RemoveMember(groupID(0), "u01")
	server.AddMember(groupID(3), "u01")
	server.AddOwner(groupID(3), "u02")
	server.SetManager("u03", "u04")
	require.NoError(t, m.read(t, s, nil))
	require.Equal(t, truth(server), m.dump())
	require.Contains(t, m.dump(), "u03 manager [id:u04]")
	server.SetManager("u03", "")
	require.NoError(t, m.read(t, s, nil))
	require.NotContains(t, m.dump(), "manager")
}

func TestRule_GRAPH_12_deleted_for_good_or_not_is_gone_and_a_restored_user_is_back(t *testing.T) {
	server, s, m := synced(t)
	server.Remove("u01")
	server.Purge("u02")
	require.NoError(t, m.read(t, s, nil))
	require.NotContains(t, m.dump(), "u01")
	require.NotContains(t, m.dump(), "u02")
	server.Restore("u01")
	require.NoError(t, m.read(t, s, nil))
	require.Equal(t, truth(server), m.dump())
	require.Contains(t, m.dump(), groupID(0)+" member id:u01", "with the memberships")

	fresh := newMirror()
	require.NoError(t, fresh.read(t, s, nil))
	require.Equal(t, truth(server), fresh.dump(), "an initial round names what is gone too")
}

func TestRule_GRAPH_12_who_comes_back_between_users_and_groups_keeps_the_memberships(t *testing.T) {
	server, s, m := synced(t)
	server.Remove("u01")
	for n := range 4 {
		server.SetAttribute([]string{"u04", "u05", "u06", "u07"}[n], "displayName", "New") // more than one page
	}
	pages := 0
	require.NoError(t, m.read(t, s, func() bool {
		if pages++; pages == 2 {
			server.Restore("u01")
		}
		return false
	}))
	require.Equal(t, truth(server), m.dump())
	require.Contains(t, m.dump(), groupID(0)+" member id:u01")
}

func TestRule_GRAPH_13_a_crash_resumes_and_a_dead_link_starts_over(t *testing.T) {
	server, c := small(t)
	s, m := quick(t, c), newMirror()
	crash := func(after int) func() bool {
		return func() bool { after--; return after == 0 }
	}
	require.ErrorIs(t, m.read(t, s, crash(2)), errCrash)
	require.NoError(t, m.read(t, s, nil))
	require.Equal(t, 1, asked(server, "/users/delta()?$select"), "it went on where it was")
	require.Equal(t, truth(server), m.dump())
	require.NoError(t, m.read(t, s, nil))
	require.Equal(t, 2, asked(server, "/users/delta()?$select"), "what it may have contradicted itself about unseen is read again")

	// What the pages before the crash said, and is no more, does not stay.
	m = newMirror()
	require.ErrorIs(t, m.read(t, s, crash(6)), errCrash)
	server.EmptyGroup(groupID(0))
	server.Arm(graphtest.DeadLink(), 1)
	require.NoError(t, m.read(t, s, nil))
	require.Equal(t, truth(server), m.dump())

	// In a delta round it is the last delta link that the round starts over from.
	for _, id := range []string{"u03", "u04", "u05", "u06"} {
		server.SetAttribute(id, "displayName", "Newer")
	}
	server.Arm(graphtest.DeadLink(), 1)
	before := asked(server, "/users/delta()?$select")
	require.NoError(t, m.read(t, s, nil))
	require.Equal(t, before, asked(server, "/users/delta()?$select"))
	require.Equal(t, truth(server), m.dump())
}

func TestRule_GRAPH_14_a_group_on_many_pages_is_one_group(t *testing.T) {
	_, _, m := synced(t)
	members := 0
	for e := range m.edges {
		if string(e.Group) == groupID(0) {
			members++
		}
	}
	require.Equal(t, 12, members, "of two to an entry")
}

func TestRule_GRAPH_15_the_direct_read_decides_a_contradiction(t *testing.T) {
	for seed := range uint64(20) {
		server, s, m := synced(t)
		server.SetAttribute("u01", "displayName", "Renamed")
		server.SetManager("u01", "u02")
		server.RemoveMember(groupID(0), "u03")
		server.AddMember(groupID(3), "u03")
		server.Arm(graphtest.Contradict(seed), 2)
		require.NoError(t, m.read(t, s, nil))
		require.Equal(t, truth(server), m.dump())
		require.Positive(t, asked(server, "/users/u01?"), "it asked")
	}
}

func TestRule_GRAPH_16_null_clears_and_absence_keeps(t *testing.T) {
	server, s, m := synced(t)
	server.SetAttribute("u01", "department", "sales")
	require.NoError(t, m.read(t, s, nil))
	require.Equal(t, []string{"sales"}, m.objects["u01"]["department"])
	server.SetAttribute("u01", "department", nil)
	require.NoError(t, m.read(t, s, nil))
	require.Empty(t, m.objects["u01"]["department"])
	require.NotEmpty(t, m.objects["u01"]["displayName"])
}

func TestRule_GRAPH_4_limited_information_clears_nothing(t *testing.T) {
	server, s, m := synced(t)
	before := m.dump()
	server.SetAttribute("u01", "displayName", "Renamed")
	server.Arm(graphtest.LimitedInfo(), -1)
	var problems []directory.Problem
	err := s.Read(t.Context(), directory.Start{Cursor: m.cursor}, func(directory.Mode) error { return nil }, func(p directory.Page) error {
		require.Empty(t, p.Upserts)
		problems = append(problems, p.Problems...)
		return nil
	})
	require.NoError(t, err)
	require.Len(t, problems, 1)
	require.Contains(t, problems[0].Text, "User.Read.All")
	require.Equal(t, before, m.dump())
}

func TestRule_GRAPH_18_a_link_of_more_than_seven_days_means_a_full_round(t *testing.T) {
	for name, expire := range map[string]graphtest.Fault{"410 with Location": graphtest.Gone(), "400 syncStateNotFound": graphtest.Expire()} {
		for _, path := range []string{"users", "groups"} {
			t.Run(name+" for "+path, func(t *testing.T) {
				server, s, m := synced(t)
				server.Arm(expire.On(path), 1)
				err := s.Read(t.Context(), directory.Start{Cursor: m.cursor}, func(directory.Mode) error { return nil }, func(p directory.Page) error {
					require.False(t, p.Complete)
					return nil
				})
				require.ErrorIs(t, err, directory.ErrCursorExpired)
				server.Remove("u01")
				server.Arm(expire.On(path), 1)
				require.NoError(t, m.read(t, s, nil))
				require.Equal(t, truth(server), m.dump())
				require.Equal(t, 2, asked(server, "/users/delta()?$select"))
			})
		}
	}
	t.Run("by the server's clock", func(t *testing.T) {
		var ahead atomic.Int64
		server, err := graphtest.Start(t.TempDir(), graphtest.Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, server.Close()) })
		server.Load(tiny())
		_, c := small(t)
		c.GraphEndpoint, c.Authority, c.CAFile = server.URL, server.URL, server.CAFile
		s, m := quick(t, c), newMirror()
		require.NoError(t, m.read(t, s, nil))
		ahead.Store(int64(6 * 24 * time.Hour))
		require.NoError(t, m.read(t, s, nil))
		require.Equal(t, 1, asked(server, "/users/delta()?$select"))
		ahead.Store(int64(14 * 24 * time.Hour))
		require.NoError(t, m.read(t, s, nil))
		require.Equal(t, 2, asked(server, "/users/delta()?$select"))
	})
}

func TestRule_GRAPH_19_replays_and_old_states_are_no_news(t *testing.T) {
	server, s, m := synced(t)
	server.AddMember(groupID(3), "u01")
	require.NoError(t, m.read(t, s, nil))
	server.RemoveMember(groupID(3), "u01")
	server.SetAttribute("u01", "displayName", "Renamed")
	server.Arm(graphtest.Replay(), 2)
	require.NoError(t, m.read(t, s, nil))
	require.Equal(t, truth(server), m.dump())
	server.RemoveMember(groupID(0), "u01")
	server.Arm(graphtest.Stale(1), 2)
	require.NoError(t, m.read(t, s, nil))
	require.NotEqual(t, truth(server), m.dump())
	require.NoError(t, m.read(t, s, nil))
	require.Equal(t, truth(server), m.dump())
}

func TestRule_GRAPH_20_an_endless_chain_is_incomplete(t *testing.T) {
	for name, fault := range map[string]graphtest.Fault{"new links with the same page": graphtest.EndlessChain(), "a link to itself": graphtest.Circle()} {
		t.Run(name, func(t *testing.T) {
			server, c := small(t)
			server.Arm(fault, -1)
			s, m := quick(t, c), newMirror()
			require.ErrorIs(t, m.read(t, s, nil), directory.ErrIncomplete)
			require.ErrorIs(t, m.read(t, s, nil), directory.ErrIncomplete, "and so again, from where it was stored")
			server.Disarm()
			require.NoError(t, m.read(t, s, nil))
			require.Equal(t, truth(server), m.dump())
		})
	}
}

func TestRule_GRAPH_21_a_deleted_member_goes_even_if_the_groups_do_not_say_so(t *testing.T) {
	server, s, m := synced(t)
	server.Remove("u01")
	server.Arm(graphtest.LoseRemovals(), -1)
	require.NoError(t, m.read(t, s, nil))
	require.Equal(t, truth(server), m.dump())
	var order []string
	for _, r := range server.Requests() {
		for _, kind := range []string{"users", "groups"} {
			if strings.Contains(r.URI, "/v1.0/"+kind+"/delta") && (len(order) == 0 || order[len(order)-1] != kind) {
				order = append(order, kind)
			}
		}
	}
	require.Equal(t, []string{"users", "groups", "users", "groups"}, order)
}

func TestRule_GRAPH_27_bad_days_pass(t *testing.T) {
	for name, fault := range map[string]graphtest.Fault{
		"429 with seconds":         graphtest.Throttle(0),
		"429 with a date":          graphtest.ThrottleUntil(time.Now()),
		"429 without a word":       graphtest.ThrottleSilently(),
		"503":                      graphtest.Unavailable(0),
		"504 in HTML":              graphtest.GatewayTimeout(),
		"401 of a token run out":   graphtest.Unauthorized(),
		"a connection that breaks": graphtest.Cut(),
		"half a body":              graphtest.Truncate(),
		"no body":                  graphtest.EmptyBody(),
	} {
		for _, where := range []graphtest.Where{graphtest.Starts, graphtest.Continuations} {
			t.Run(name, func(t *testing.T) {
				server, c := small(t)
				server.Arm(fault.At(where), 1)
				m := newMirror()
				require.NoError(t, m.read(t, quick(t, c), nil))
				require.Equal(t, truth(server), m.dump())
			})
		}
	}
}

func TestRule_GRAPH_27_waits_as_long_as_it_is_told_and_not_longer_than_it_may(t *testing.T) {
	server, c := small(t)
	server.Arm(graphtest.Throttle(time.Second), 1)
	began := time.Now()
	require.NoError(t, newMirror().read(t, quick(t, c), nil))
	require.GreaterOrEqual(t, time.Since(began), time.Second)

	c.MaxWaitSeconds = 5
	server.Arm(graphtest.Throttle(time.Hour).At(graphtest.Continuations), 1)
	m := newMirror()
	err := m.read(t, quick(t, c), nil)
	var throttled *directory.Throttled
	require.ErrorAs(t, err, &throttled)
	require.Equal(t, time.Hour, throttled.RetryAfter)
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.NoError(t, m.read(t, quick(t, c), nil), "it goes on from the page that it had")
	require.Equal(t, truth(server), m.dump())
}

func TestRule_GRAPH_27_an_expired_token_is_renewed_once(t *testing.T) {
	server, c := small(t)
	s, m := quick(t, c), newMirror()
	require.NoError(t, m.read(t, s, func() bool { server.ExpireTokens(); return false }), "the token runs out after every page")
	require.Equal(t, truth(server), m.dump())
	server.Arm(graphtest.Unauthorized(), -1)
	require.ErrorIs(t, m.read(t, s, nil), directory.ErrAuth)
}

func TestRule_GRAPH_3_a_missing_permission_is_named(t *testing.T) {
	for _, permission := range []string{graphtest.UserRead, graphtest.GroupMemberRead} {
		server, c := small(t)
		server.Deny(permission)
		s := quick(t, c)
		_, err := s.Probe(t.Context())
		require.ErrorIs(t, err, directory.ErrAuth)
		require.ErrorContains(t, err, "grant the application permission "+permission)
		err = newMirror().read(t, s, nil)
		require.ErrorIs(t, err, directory.ErrAuth)
		require.ErrorContains(t, err, permission)
		server.Permit(permission)
		_, err = s.Probe(t.Context())
		require.NoError(t, err)
	}
}

func TestRule_GRAPH_30_group_kinds(t *testing.T) {
	server, c := small(t)
	for id, properties := range map[string]map[string]any{
		"security":      {"securityEnabled": true, "mailEnabled": false, "groupTypes": []any{}},
		"mail-security": {"securityEnabled": true, "mailEnabled": true, "groupTypes": []any{}},
		"distribution":  {"securityEnabled": false, "mailEnabled": true, "groupTypes": []any{}},
		"m365":          {"securityEnabled": false, "mailEnabled": true, "groupTypes": []any{"Unified", "DynamicMembership"}},
	} {
		properties["displayName"] = id
		server.AddGroup(id, properties)
	}
	round, err := sourcetest.Collect(t.Context(), quick(t, c), directory.Start{})
	require.NoError(t, err)
	for _, kind := range []directory.ObjectID{"security", "mail-security", "distribution", "m365"} {
		require.Equal(t, string(kind), round.Objects[kind].Get(directory.AttrGroupKind))
	}
}

func TestRules_GRAPH_31_and_34_owners_guests_plans_and_disabled_accounts(t *testing.T) {
	_, c := serve(t)
	round, err := sourcetest.Collect(t.Context(), quick(t, c), directory.Start{})
	require.NoError(t, err)
	firm := company.Small()
	for _, p := range firm.People {
		if p.Home != company.Entra {
			continue
		}
		read := round.Objects[directory.ObjectID(p.ID)]
		require.Equal(t, p.Guest, read.Guest())
		require.Equal(t, p.Enabled, read.Enabled())
		want := map[bool][]string{true: {company.PlanID}}[p.Licensed]
		require.Equal(t, want, read.Attributes[directory.AttrPlans])
	}
	for _, owner := range firm.Group(company.Planning).Owners {
		require.Contains(t, round.Edges, directory.Edge{
			Group: directory.ObjectID(firm.Group(company.Planning).ID), Relation: directory.Owner, Far: directory.ByID(directory.ObjectID(owner)),
		})
	}
}

func TestRule_GRAPH_34_plans_in_warning_count_and_suspended_ones_do_not(t *testing.T) {
	server, s, m := synced(t)
	plan := func(id, status string) any { return map[string]any{"servicePlanId": id, "capabilityStatus": status} }
	server.SetAttribute("u01", "assignedPlans", []any{plan("d", "Warning"), plan("c", "Suspended"), plan("b", "Deleted"), plan("e", "LockedOut"), plan("a", "Enabled")})
	require.NoError(t, m.read(t, s, nil))
	require.Equal(t, []string{"a", "d"}, m.objects["u01"][directory.AttrPlans])
}

func TestRule_SRC_11_a_member_of_an_unknown_type_is_kept_as_what_it_is(t *testing.T) {
	server, c := small(t)
	server.AddOther("device-1", graphtest.DeviceType)
	server.AddOther("novelty-1", "#microsoft.graph.novelty")
	server.AddMember(groupID(1), "device-1")
	server.AddMember(groupID(1), "novelty-1")
	round, err := sourcetest.Collect(t.Context(), quick(t, c), directory.Start{})
	require.NoError(t, err)
	for _, id := range []directory.ObjectID{"device-1", "novelty-1"} {
		require.Equal(t, directory.KindOther, round.Objects[id].Kind)
		require.Contains(t, round.Edges, directory.Edge{Group: directory.ObjectID(groupID(1)), Far: directory.ByID(id)})
	}
}

func TestRule_SEC_4_the_token_stays_with_the_configured_host(t *testing.T) {
	var elsewhere atomic.Int64
	evil := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(evil.Close)
	for name, fault := range map[string]graphtest.Fault{"a nextLink": graphtest.ForeignLink(evil.URL), "a redirect": graphtest.Redirect(evil.URL)} {
		t.Run(name, func(t *testing.T) {
			server, c := small(t)
			server.Arm(fault, 1)
			m := newMirror()
			require.ErrorIs(t, m.read(t, quick(t, c), nil), directory.ErrIncomplete)
			require.NoError(t, m.read(t, quick(t, c), nil))
			require.Equal(t, truth(server), m.dump())
		})
	}
	require.Zero(t, elsewhere.Load())
}

func TestRule_SRC_12_a_secret_is_in_no_error(t *testing.T) {
	server, c := small(t)
	c.ClientSecret = clientSecret(t, "hunter2")
	_, err := source(t, c).Probe(t.Context())
	require.ErrorIs(t, err, directory.ErrAuth)
	require.NotContains(t, err.Error(), "hunter2")
	server.SetSecret("hunter2")
	_, err = source(t, c).Probe(t.Context())
	require.NoError(t, err)
}

func TestNothingIsLeftRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	server, err := graphtest.Start(t.TempDir(), graphtest.Options{})
	require.NoError(t, err)
	server.Load(tiny())
	c := Config{
		TenantID: graphtest.Tenant, ClientID: graphtest.ClientID, ClientSecret: clientSecret(t, graphtest.ClientSecret),
		GraphEndpoint: server.URL, Authority: server.URL, CAFile: server.CAFile,
	}
	require.NoError(t, newMirror().read(t, quick(t, c), nil))
	require.NoError(t, server.Close())
	goleak.VerifyNone(t, before)
}
