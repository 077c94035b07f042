package api

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/engine"
)

// FuzzSupposedObject: what is read is of the environment and the API's, and is read
// again as it is written; what is not, is an error that names the kind.
func FuzzSupposedObject(f *testing.F) {
	for _, o := range append(kinds[:],
		access.Object(access.Role{ID: "seller", Name: "Seller", BusinessUnit: "root", Privileges: []access.Privilege{{Table: "account", Action: access.Read, Depth: access.Deep}}}),
		access.Share{Table: "account", Record: "1", Principal: access.Principal{Kind: access.Everybody}, Rights: access.RightsOf(access.Read, access.Write)},
		access.Team{ID: "deal", Name: "Deal", Type: access.OwnerTeam, BusinessUnit: "root"},
	) {
		b, err := json.Marshal(o)
		require.NoError(f, err)
		f.Add(uint8(o.ObjectKind()), b)
	}
	f.Add(uint8(access.KindUser), []byte(`{"id":"u","nosuch":1}`))
	f.Add(uint8(access.KindUser), []byte(`null`))
	f.Add(uint8(access.KindPolicy), []byte(`{}`))
	f.Fuzz(func(t *testing.T, kind uint8, object []byte) {
		state := access.NewState("sales")
		in := SupposedObject{Kind: access.Kind(kind), Object: object}
		o, err := in.read(state)
		if err != nil {
			require.ErrorContains(t, err, in.Kind.String())
			return
		}
		require.Equal(t, in.Kind, o.ObjectKind())
		require.Equal(t, state.Environment.ID, o.ObjectEnvironment())
		written, err := json.Marshal(o)
		require.NoError(t, err)
		var by struct {
			ManagedBy access.ManagedBy `json:"managed_by"`
		}
		require.NoError(t, json.Unmarshal(written, &by))
		require.Equal(t, access.ByAPI, by.ManagedBy)
		again, err := SupposedObject{Kind: in.Kind, Object: written}.read(state)
		require.NoError(t, err)
		twice, err := json.Marshal(again)
		require.NoError(t, err)
		require.JSONEq(t, string(written), string(twice))
	})
}

// FuzzPrincipalNamed: a name gives somebody who exists, and who is found by id, too;
// or it is an error that tells what is unknown or wrong.
func FuzzPrincipalNamed(f *testing.F) {
	state := access.NewState("sales")
	for _, o := range []access.Object{
		access.BusinessUnit{Environment: "sales", ID: "root", Name: "Root"},
		access.User{Environment: "sales", ID: "dir:ann", Login: "Ann@contoso.example", BusinessUnit: "root"},
		access.User{Environment: "sales", ID: "ann@contoso.example:2", Login: "team:deal", BusinessUnit: "root"},
		access.Team{Environment: "sales", ID: "deal", Name: "Straße", BusinessUnit: "root"},
		access.Team{Environment: "sales", ID: "one", Name: "Twins", BusinessUnit: "root"},
		access.Team{Environment: "sales", ID: "two", Name: "twins", BusinessUnit: "root"},
	} {
		state.Apply(access.Put(o))
	}
	for _, name := range []string{
		"user:dir:ann", "user:ann@contoso.example", "user:team:deal", "team:deal", "team:STRASSE", "team:twins", "team:default:root",
		"organization", "organization:", "user:", "team:", "ann", "", "user:\xff", "team:Straße",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		p, err := principalNamed(state, name)
		if err != nil {
			require.True(t, errors.Is(err, engine.ErrUnknown) || errors.Is(err, engine.ErrQuestion), "%v", err)
			require.Empty(t, p.ID)
			return
		}
		again, err := principalNamed(state, p.String())
		require.NoError(t, err)
		require.Equal(t, p, again)
		if id, ok := p.User(); ok {
			require.Contains(t, state.Users, id)
		} else if id, _ := p.Team(); state.Teams[id].ID == "" {
			_, ok := id.DefaultOf()
			require.True(t, ok, "%v is neither a team nor a default team", p)
		}
	})
}
