package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// records is an environment "e" of two divisions with tables of each kind.
func records(t testing.TB, more ...access.Object) *engine.Snapshot {
	t.Helper()
	st := access.NewState("e")
	st.Apply(access.Put(access.Environment{ID: "e", Modernized: true}))
	for _, o := range append([]access.Object{
		access.BusinessUnit{Environment: "e", ID: "root"},
		access.BusinessUnit{Environment: "e", ID: "north", Parent: "root"},
		access.BusinessUnit{Environment: "e", ID: "oslo", Parent: "north"},
		access.BusinessUnit{Environment: "e", ID: "south", Parent: "root"},
		access.Table{Environment: "e", ID: "account"},
		access.Table{Environment: "e", ID: "setting", Ownership: access.OrganizationOwned},
		access.Table{Environment: "e", ID: "site", Ownership: access.BusinessUnitOwned},
		access.Table{Environment: "e", ID: "link", Ownership: access.NotOwned},
		access.User{Environment: "e", ID: "anna", Login: "anna", BusinessUnit: "oslo", Enabled: true},
		access.User{Environment: "e", ID: "bert", Login: "bert", BusinessUnit: "south", Enabled: true},
		access.Team{Environment: "e", ID: "crew", BusinessUnit: "south"},
		access.Membership{Environment: "e", Team: "crew", User: "anna"},
	}, more...) {
		st.Apply(access.Put(o))
	}
	s, err := engine.New(st, 7)
	require.NoError(t, err)
	return s
}

// reads is a role with Read on every table at the depth, held by anna at north.
func reads(depth access.Depth) []access.Object {
	r := access.Role{Environment: "e", ID: "reader", BusinessUnit: "root"}
	for _, table := range []access.TableID{"account", "link", "setting", "site"} {
		r.Privileges = append(r.Privileges, access.Privilege{Table: table, Action: access.Read, Depth: depth})
	}
	return []access.Object{r, access.Assignment{Environment: "e", ID: "a", Role: "reader", Principal: access.UserID("anna").Principal(), BusinessUnit: "north"}}
}

func filter(t testing.TB, s *engine.Snapshot, table access.TableID) engine.Filter {
	t.Helper()
	f, err := s.Filter(engine.FilterQuestion{User: "anna", Action: access.Read, Table: table, At: noon})
	require.NoError(t, err)
	return f
}

var columns = engine.SQLColumns{ID: "id", OwnerKind: "owner_kind", Owner: "owner", BusinessUnit: "unit"}

func TestFilterSQL(t *testing.T) {
	deep := filter(t, records(t, append(reads(access.Deep),
		access.Share{Environment: "e", Table: "account", Record: `x"1`, Principal: access.UserID("anna").Principal(), Rights: access.RightsOf(access.Read)},
		access.Share{Environment: "e", Table: "account", Record: `x\2`, Principal: access.TeamID("crew").Principal(), Rights: access.RightsOf(access.Read)})...), "account")
	one := columns
	one.OwnerKind, one.Prefix, one.Parameters = "", "r", 2
	for name, c := range map[string]struct {
		filter  engine.Filter
		dialect engine.Dialect
		columns engine.SQLColumns
		where   string
		args    []any
	}{
		"two columns for the owner, SQLite": {
			deep, engine.SQLite, columns,
			"(([owner_kind] = ? AND [owner] = ?) OR ([owner_kind] = ? AND [owner] IN (?, ?)) OR [unit] IN (?, ?) OR [id] IN (?, ?))",
			[]any{"user", "anna", "team", "crew", "default:oslo", "north", "oslo", `x"1`, `x\2`},
		},
		"two columns for the owner, PostgreSQL": {
			deep, engine.PostgreSQL, columns,
			`(("owner_kind" = $1 AND "owner" = $2) OR ("owner_kind" = $3 AND "owner" = ANY($4)) OR "unit" = ANY($5) OR "id" = ANY($6))`,
			[]any{"user", "anna", "team", `{"crew","default:oslo"}`, `{"north","oslo"}`, `{"x\"1","x\\2"}`},
		},
		"one column for the owner, SQLite": {
			deep, engine.SQLite, one,
			"([r].[owner] IN (?, ?, ?) OR [r].[unit] IN (?, ?) OR [r].[id] IN (?, ?))",
			[]any{"user:anna", "team:crew", "team:default:oslo", "north", "oslo", `x"1`, `x\2`},
		},
		"one column for the owner, PostgreSQL, after other parameters": {
			deep, engine.PostgreSQL, one,
			`("r"."owner" = ANY($3) OR "r"."unit" = ANY($4) OR "r"."id" = ANY($5))`,
			[]any{`{"user:anna","team:crew","team:default:oslo"}`, `{"north","oslo"}`, `{"x\"1","x\\2"}`},
		},
		"units alone":  {filter(t, records(t, reads(access.Local)...), "site"), engine.SQLite, engine.SQLColumns{BusinessUnit: "unit"}, "[unit] = ?", []any{"north"}},
		"everything":   {filter(t, records(t, reads(access.Global)...), "account"), engine.SQLite, columns, "1 = 1", nil},
		"no owner":     {filter(t, records(t, reads(access.Global)...), "setting"), engine.SQLite, engine.SQLColumns{}, "1 = 1", nil},
		"no privilege": {filter(t, records(t, reads(access.Local)...), "setting"), engine.SQLite, engine.SQLColumns{}, "1 = 0", nil},
		"any depth":    {filter(t, records(t, reads(access.Basic)...), "link"), engine.SQLite, engine.SQLColumns{}, "1 = 1", nil},
		"zero":         {engine.Filter{}, engine.PostgreSQL, columns, "1 = 0", nil},
	} {
		t.Run(name, func(t *testing.T) {
			where, args, err := c.filter.SQL(c.dialect, c.columns)
			require.NoError(t, err)
			require.Equal(t, c.where, where)
			require.Equal(t, c.args, args)
		})
	}
}

func TestFilterSQLTakesNoNameOnTrust(t *testing.T) {
	f := filter(t, records(t, reads(access.Basic)...), "account")
	for _, bad := range []string{"", `a"b`, "a]b", "a;b", "1a", "a b", "ä", "a.b", "a\x00"} {
		for _, d := range []engine.Dialect{engine.SQLite, engine.PostgreSQL} {
			for _, to := range []func(*engine.SQLColumns) *string{
				func(c *engine.SQLColumns) *string { return &c.ID },
				func(c *engine.SQLColumns) *string { return &c.Owner },
				func(c *engine.SQLColumns) *string { return &c.OwnerKind },
				func(c *engine.SQLColumns) *string { return &c.BusinessUnit },
				func(c *engine.SQLColumns) *string { return &c.Prefix },
			} {
				c := columns
				if *to(&c) = bad; bad == "" && (c.Prefix == "" && c == columns || c.OwnerKind == "") {
					continue // may be left out
				}
				_, _, err := f.SQL(d, c)
				require.ErrorIs(t, err, engine.ErrQuestion, "%q in %+v", bad, c)
			}
		}
	}
	_, _, err := f.SQL("oracle", columns)
	require.ErrorIs(t, err, engine.ErrUnknown)
}

func TestFilterSQLOfALongListIsOneArgument(t *testing.T) {
	more := reads(access.Basic)
	for i := range 5_000 {
		more = append(more, access.Share{Environment: "e", Table: "account", Record: access.RecordID(fmt.Sprint("x", i)), Principal: access.UserID("anna").Principal(), Rights: access.RightsOf(access.Read)})
	}
	f := filter(t, records(t, more...), "account")
	where, args, err := f.SQL(engine.SQLite, columns)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(where, "[id] IN (SELECT value FROM json_each(?)))"), where)
	require.Len(t, args, 6)
}
