package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/tenant"
)

// BootstrapPrefix begins the one-time credential of the first administrator.
const BootstrapPrefix = "ambit-bootstrap-"

// NewBootstrap makes a credential, and the hash that the store keeps of it.
func NewBootstrap() (credential string, hash []byte) {
	credential = BootstrapPrefix + rand.Text() + rand.Text()
	return credential, bootstrapHash(credential)
}

// bootstrapHash needs no salt or stretching: the credential is random.
func bootstrapHash(credential string) []byte {
	sum := sha256.Sum256([]byte(credential))
	return sum[:]
}

func (s *Server) bootstrapPrincipal(ctx context.Context, credential string) (principal, error) {
	hash, used, err := s.store.Bootstrap(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return principal{}, err
	}
	if used || subtle.ConstantTimeCompare(hash, bootstrapHash(credential)) != 1 {
		return principal{}, errUnauthenticated{"the bootstrap credential is unknown or was used"}
	}
	return principal{Actor: audit.Actor{Kind: audit.Bootstrap, ID: "bootstrap"}}, nil
}

func (s *Server) bootstrapRoutes() {
	handle(s, Route{"POST", "/v1/bootstrap", "", 0}, "bootstrap", "Make the first administrator, once, with the bootstrap credential", s.bootstrap)
}

type bootstrapInput struct {
	Body struct {
		Login string `json:"login" required:"true" minLength:"1" maxLength:"256" doc:"who it is, as the configured claim of the issuer's token says it"`
		Name  string `json:"name,omitempty" maxLength:"256"`
	}
}

// bootstrap makes somebody Ambit Administrator. It works while nobody is, so that
// a credential that leaked later is of no use even if marking it failed.
func (s *Server) bootstrap(ctx context.Context, in *bootstrapInput) (*committedOutput, error) {
	if caller(ctx).Kind != audit.Bootstrap {
		return nil, problem("forbidden", http.StatusForbidden, "only the bootstrap credential can do this, once")
	}
	done, err := s.tenant.Update(ctx, func(v tenant.View) (tenant.Changeset, error) {
		state, err := v.State(access.AmbitEnvironment)
		if err != nil {
			return tenant.Changeset{}, err
		}
		for _, a := range state.Assignments {
			if a.Role == model.RoleAdministrator && a.Window.Open() && somebody(state, a.Principal) {
				return tenant.Changeset{}, problem("already-bootstrapped", http.StatusConflict, "somebody is Ambit Administrator already")
			}
		}
		var changes []access.Change
		// The user must be the one that the token will name (principal).
		user, ok := s.self(state, principal{claim: in.Body.Login})
		if !ok {
			source := cmp.Or(s.verifier.config.Source, "local")
			user = access.User{
				Environment: access.AmbitEnvironment, ID: access.UserID(source + ":" + in.Body.Login), Login: in.Body.Login, Name: in.Body.Name,
				BusinessUnit: model.AmbitUnit, Enabled: true, ManagedBy: access.ByAPI,
			}
			changes = append(changes, access.Put(user))
		}
		changes = append(changes, access.Put(access.Assignment{
			Environment: access.AmbitEnvironment, ID: "bootstrap", Role: model.RoleAdministrator,
			Principal: user.ID.Principal(), BusinessUnit: user.BusinessUnit, ManagedBy: access.ByAPI,
		}))
		return tenant.Changeset{Changes: changes, Events: []audit.Event{
			s.event(ctx, "bootstrap", access.AmbitEnvironment, "user/"+string(user.ID), "first administrator"),
		}}, nil
	})
	if err != nil {
		return nil, err
	}
	out := &committedOutput{}
	out.Body.Revision = done.Revision
	return out, s.store.UseBootstrap(ctx)
}

// somebody tells whether a principal is a person, or a team that has one.
func somebody(state *access.State, p access.Principal) bool {
	if p.Kind == access.UserPrincipal {
		return true
	}
	team, _ := p.Team()
	if unit, ok := team.DefaultOf(); ok {
		for _, u := range state.Users {
			if u.BusinessUnit == unit {
				return true
			}
		}
	}
	for key := range state.Memberships {
		if key.Team == team {
			return true
		}
	}
	return false
}
