package api

import (
	"context"
	"maps"
	"net/http"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/tenant"
)

func (s *Server) environmentRoutes() {
	const one = "/v1/environments/{environment}"
	handle(s, Route{"GET", "/v1/environments", model.TableEnvironment, access.Read}, "list-environments", "List the environments", s.listEnvironments)
	handle(s, Route{"GET", one, model.TableEnvironment, access.Read}, "get-environment", "Get one environment's settings", s.getEnvironment)
	handle(s, Route{"PUT", one, model.TableEnvironment, access.Write}, "put-environment", "Create an environment, or set it", s.putEnvironment, func(op *huma.Operation) {
		op.Description = "To change hierarchy needs the miscellaneous privilege " + model.PrivilegeChangeHierarchy + " as well (Rule HIER-10). " +
			"The security group is the mapping's to say, and whether the environment is locked is its key's: both stay as they are. " +
			"An environment that is made here gets a root business unit, with its own id and name, and the out-of-box tables and roles (Rule ACC-6)."
	})
	handle(s, Route{"DELETE", one, model.TableEnvironment, access.Delete}, "delete-environment", "Delete an environment with all that is in it", s.deleteEnvironment,
		func(op *huma.Operation) { op.DefaultStatus = http.StatusOK })
}

var environmentNoun = noun[access.Environment]{
	kind: access.KindEnvironment, parts: 1, single: "environment",
	manager: func(o access.Environment) access.ManagedBy { return o.ManagedBy },
	keep: func(o *access.Environment, before access.Environment) {
		o.SecurityGroup, o.Locked = before.SecurityGroup, before.Locked
	},
}

// EnvironmentChange names the environment to change, and the version that is meant.
type EnvironmentChange struct {
	EnvironmentPath
	IfMatch string `header:"If-Match" doc:"the ETag of the version to change; required where the environment exists"`
	Reason  string `query:"reason" maxLength:"2000" doc:"kept in the audit log"`
}

func (s *Server) listEnvironments(_ context.Context, _ *struct{}) (*pageOutput[access.Environment], error) {
	out := &pageOutput[access.Environment]{}
	return out, s.tenant.Read(func(v tenant.View) error {
		out.Body.Revision = v.Revision
		for _, env := range v.Environments() {
			state, err := v.State(env)
			if err != nil {
				return err
			}
			out.Body.Items = append(out.Body.Items, state.Environment)
		}
		return nil
	})
}

// outOfBox are the shipped tables and roles that an environment of the API's lacks,
// or has otherwise, once the changed object is there (Rule ACC-6): a new one lacks
// all, and roles that cover every table cover a table that is put. The
// synchronization sees to the environments of files.
func outOfBox(v tenant.View, o access.Object) []access.Change {
	var root access.BusinessUnitID
	var changes []access.Change
	state, err := v.State(o.ObjectEnvironment())
	switch put := o.(type) {
	case access.Environment:
		if err == nil {
			return nil
		}
		state, root = access.NewState(put.ID), access.BusinessUnitID(put.ID)
		changes = append(changes, access.Put(access.BusinessUnit{Environment: put.ID, ID: root, Name: put.Name, ManagedBy: access.ByAPI}))
	case access.Table:
		if err != nil || state.Environment.ManagedBy != access.ByAPI {
			return nil
		}
		for id, unit := range state.BusinessUnits {
			if unit.Parent == "" {
				root = id
			}
		}
	default:
		return nil
	}
	tables := maps.Clone(state.Tables)
	if t, ok := o.(access.Table); ok {
		tables[t.ID] = t
	}
	for _, shipped := range model.OutOfBox(o.ObjectEnvironment(), root, slices.Collect(maps.Values(tables))) {
		switch is := shipped.(type) {
		case access.Table:
			if !reflect.DeepEqual(state.Tables[is.ID], is) {
				changes = append(changes, access.Put(is))
			}
		case access.Role:
			if !reflect.DeepEqual(state.Roles[is.ID], is) {
				changes = append(changes, access.Put(is))
			}
		}
	}
	return changes
}

func (s *Server) getEnvironment(ctx context.Context, in *EnvironmentPath) (*objectOutput[access.Environment], error) {
	version, err := s.store.Object(ctx, 0, in.Environment, access.KindEnvironment, string(in.Environment))
	if err != nil {
		return nil, err
	}
	return &objectOutput[access.Environment]{ETag: etag(version.Since), Body: version.Object.(access.Environment)}, nil
}

func (s *Server) putEnvironment(ctx context.Context, in *struct {
	EnvironmentChange
	Body access.Environment
},
) (*committedOutput, error) {
	e := in.Body
	if err := take(&e.ID, []string{string(in.Environment)}, 0); err != nil {
		return nil, err
	}
	e.ManagedBy = access.ByAPI
	return change(ctx, s, environmentNoun, in.change(), access.Put(e))
}

func (s *Server) deleteEnvironment(ctx context.Context, in *EnvironmentChange) (*committedOutput, error) {
	return change(ctx, s, environmentNoun, in.change(), access.Change{Delete: true})
}

func (e EnvironmentChange) change() ChangeInput {
	return ChangeInput{KeyInput: KeyInput{EnvironmentPath: e.EnvironmentPath, Key: string(e.Environment)}, IfMatch: e.IfMatch, Reason: e.Reason}
}
