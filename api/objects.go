package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/tenant"
)

// noun is one kind of object with its routes. The key in the path is the
// object's key within its environment (access.Object.ObjectKey), its parts joined
// by '~' where there are several.
type noun[T access.Object] struct {
	kind   access.Kind
	parts  int    // of the key
	path   string // under /v1/environments/{environment}/
	single string
	table  access.TableID
	// putNote is what one should know before putting one.
	putNote string
	// principal tells that the last two parts of the key name a principal.
	principal bool
	// adopt puts what the path and the API decide into a new object.
	adopt func(o *T, env access.EnvironmentID, key []string) error
	// keep, if set, keeps of the object before, zero if there is none, what is
	// nobody's to say.
	keep func(o *T, before T)
	// manager tells who manages the object.
	manager func(T) access.ManagedBy
}

func (s *Server) objectRoutes() {
	s.environmentRoutes()
	register(s, noun[access.BusinessUnit]{
		kind: access.KindBusinessUnit, parts: 1, path: "business-units", single: "business unit", table: model.TableBusinessUnit,
		manager: func(o access.BusinessUnit) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.BusinessUnit, env access.EnvironmentID, key []string) error {
			o.Environment, o.ManagedBy = env, access.ByAPI
			return take(&o.ID, key, 0)
		},
	})
	register(s, noun[access.Table]{
		kind: access.KindTable, parts: 1, path: "tables", single: "table", table: model.TableTable,
		manager: func(o access.Table) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.Table, env access.EnvironmentID, key []string) error {
			o.Environment, o.ManagedBy = env, access.ByAPI
			return take(&o.ID, key, 0)
		},
	})
	register(s, noun[access.Role]{
		kind: access.KindRole, parts: 1, path: "roles", single: "role", table: model.TableRole,
		manager: func(o access.Role) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.Role, env access.EnvironmentID, key []string) error {
			o.Environment, o.ManagedBy = env, access.ByAPI
			return take(&o.ID, key, 0)
		},
	})
	register(s, noun[access.User]{
		kind: access.KindUser, parts: 1, path: "users", single: "user", table: model.TableUser,
		manager: func(o access.User) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.User, env access.EnvironmentID, key []string) error {
			o.Environment, o.ManagedBy, o.Origin = env, access.ByAPI, access.Origin{}
			return take(&o.ID, key, 0)
		},
	})
	register(s, noun[access.Team]{
		kind: access.KindTeam, parts: 1, path: "teams", single: "team", table: model.TableTeam,
		manager: func(o access.Team) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.Team, env access.EnvironmentID, key []string) error {
			o.Environment, o.ManagedBy, o.Origin = env, access.ByAPI, access.Origin{}
			return take(&o.ID, key, 0)
		},
		// A team becomes a record's when somebody joins it (Rule TEAM-6).
		keep: func(o *access.Team, before access.Team) { o.For = before.For },
	})
	register(s, noun[access.Membership]{
		kind: access.KindMembership, parts: 2, path: "memberships", single: "membership", table: model.TableTeam,
		manager: func(o access.Membership) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.Membership, env access.EnvironmentID, key []string) error {
			o.Environment, o.ManagedBy, o.Origin = env, access.ByAPI, access.Origin{}
			if err := take(&o.Team, key, 0); err != nil {
				return err
			}
			return take(&o.User, key, 1)
		},
	})
	register(s, noun[access.Assignment]{
		kind: access.KindAssignment, parts: 1, path: "assignments", single: "role assignment", table: model.TableAssignment,
		manager: func(o access.Assignment) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.Assignment, env access.EnvironmentID, key []string) error {
			if o.Request != "" || o.Bound != nil {
				return problem("not-yours", http.StatusUnprocessableEntity, "an elevation is made by an approved request, not by hand (Rule JIT-E-4)")
			}
			o.Environment, o.ManagedBy, o.Origin = env, access.ByAPI, access.Origin{}
			return take(&o.ID, key, 0)
		},
	})
	register(s, noun[access.Record]{
		kind: access.KindRecord, parts: 2, path: "records", single: "record", table: model.TableRecord,
		manager: func(o access.Record) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.Record, env access.EnvironmentID, key []string) error {
			o.Environment, o.ManagedBy = env, access.ByAPI
			if err := take(&o.Table, key, 0); err != nil {
				return err
			}
			return take(&o.ID, key, 1)
		},
	})
	register(s, noun[access.Share]{
		kind: access.KindShare, parts: 4, principal: true, path: "shares", single: "share", table: model.TableShare,
		putNote: "Whoever holds write on Ambit's table share is taken to act for the application whose records these are: that the person who shares may share this record, and holds the rights given, is for the application to ask first with check. The operation share of a record asks it (Rule SHARE-3).",
		manager: func(o access.Share) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.Share, env access.EnvironmentID, key []string) error {
			o.Environment, o.ManagedBy = env, access.ByAPI
			return errors.Join(take(&o.Table, key, 0), take(&o.Record, key, 1), takePrincipal(&o.Principal, key))
		},
		// What comes along relationships comes from there (Rule SHARE-7).
		keep: func(o *access.Share, before access.Share) { o.Inherited, o.Along = before.Inherited, before.Along },
	})
	register(s, noun[access.Relationship]{
		kind: access.KindRelationship, parts: 1, path: "relationships", single: "relationship", table: model.TableTable,
		manager: func(o access.Relationship) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.Relationship, env access.EnvironmentID, key []string) error {
			o.Environment, o.ManagedBy = env, access.ByAPI
			return take(&o.ID, key, 0)
		},
	})
	register(s, noun[access.Template]{
		kind: access.KindTemplate, parts: 1, path: "access-team-templates", single: "access team template", table: model.TableTable,
		manager: func(o access.Template) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.Template, env access.EnvironmentID, key []string) error {
			o.Environment, o.ManagedBy = env, access.ByAPI
			return take(&o.ID, key, 0)
		},
	})
	register(s, noun[access.Position]{
		kind: access.KindPosition, parts: 1, path: "positions", single: "position", table: model.TableUser,
		putNote: "Needs the miscellaneous privilege " + model.PrivilegeChangeHierarchy + " as well (Rule HIER-10).",
		manager: func(o access.Position) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.Position, env access.EnvironmentID, key []string) error {
			o.Environment, o.ManagedBy = env, access.ByAPI
			return take(&o.ID, key, 0)
		},
	})
	register(s, noun[access.Profile]{
		kind: access.KindProfile, parts: 1, path: "column-profiles", single: "column security profile", table: model.TableProfile,
		manager: func(o access.Profile) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.Profile, env access.EnvironmentID, key []string) error {
			o.Environment, o.ManagedBy = env, access.ByAPI
			return take(&o.ID, key, 0)
		},
	})
	register(s, noun[access.ProfileMember]{
		kind: access.KindProfileMember, parts: 3, principal: true, path: "column-profile-members", single: "member of a column security profile", table: model.TableProfile,
		manager: func(o access.ProfileMember) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.ProfileMember, env access.EnvironmentID, key []string) error {
			o.Environment, o.ManagedBy = env, access.ByAPI
			return errors.Join(take(&o.Profile, key, 0), takePrincipal(&o.Principal, key))
		},
	})
	register(s, noun[access.ColumnShare]{
		kind: access.KindColumnShare, parts: 5, principal: true, path: "column-shares", single: "share of a column", table: model.TableShare,
		putNote: "As with shares, that the person may share the column is for the application to ask first; the operation share-column of a record asks it (Rule FLS-7).",
		manager: func(o access.ColumnShare) access.ManagedBy { return o.ManagedBy },
		adopt: func(o *access.ColumnShare, env access.EnvironmentID, key []string) error {
			o.Environment, o.ManagedBy = env, access.ByAPI
			return errors.Join(take(&o.Table, key, 0), take(&o.Record, key, 1), take(&o.Column, key, 2), takePrincipal(&o.Principal, key))
		},
	})
}

// take sets a part of an object's key from the path. A body that says otherwise
// is refused.
func take[K ~string](field *K, key []string, i int) error {
	if i >= len(key) || key[i] == "" {
		return problem("invalid-request", http.StatusUnprocessableEntity, "the path does not name all parts of the object's key")
	}
	if *field != "" && string(*field) != key[i] {
		return problem("invalid-request", http.StatusUnprocessableEntity, fmt.Sprintf("the body names %q, the path %q", *field, key[i]))
	}
	*field = K(key[i])
	return nil
}

// takePrincipal sets the principal that stands last in a key.
func takePrincipal(p *access.Principal, key []string) error {
	kind, id := key[len(key)-2], key[len(key)-1]
	var named access.Principal
	if err := named.Kind.UnmarshalText([]byte(kind)); err != nil {
		return problem("invalid-request", http.StatusUnprocessableEntity, err.Error())
	}
	if named.ID = id; *p != (access.Principal{}) && *p != named {
		return problem("invalid-request", http.StatusUnprocessableEntity, fmt.Sprintf("the body names %v, the path %v", *p, named))
	}
	*p = named
	return nil
}

// EnvironmentPath is the part of a path that names an environment.
type EnvironmentPath struct {
	Environment access.EnvironmentID `path:"environment" doc:"the environment's id"`
}

type listInput struct {
	EnvironmentPath
	Cursor string `query:"cursor" doc:"next_cursor of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

// KeyInput names one object of an environment.
type KeyInput struct {
	EnvironmentPath
	Key string `path:"key" doc:"the object's id; the parts of a compound key are joined by ~"`
}

// ChangeInput names the object to change, and the version that is meant.
type ChangeInput struct {
	KeyInput
	IfMatch string `header:"If-Match" doc:"the ETag of the version to change; required where the object exists"`
	Reason  string `query:"reason" maxLength:"2000" doc:"kept in the audit log"`
}

// Page is one page of a list (Rule JIT-76).
type Page[T any] struct {
	Items      []T             `json:"items"`
	NextCursor string          `json:"next_cursor,omitempty"`
	Revision   access.Revision `json:"revision"`
}

type pageOutput[T any] struct{ Body Page[T] }

type objectOutput[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

type committedOutput struct {
	Body struct {
		Revision access.Revision `json:"revision" doc:"ask with it to be sure that a decision knows the change"`
	}
}

// keyParts are the parts of the key in a path. Each object has one key there: a
// second spelling would be another object to the checks of what is there already.
func (n noun[T]) keyParts(key string) ([]string, error) {
	if n.parts == 1 {
		return []string{key}, nil
	}
	parts := strings.Split(key, "~")
	if n.principal && len(parts) == n.parts-1 && parts[len(parts)-1] == access.Everybody.String() {
		parts = append(parts, "") // the whole organization has no id
	}
	if len(parts) != n.parts {
		return nil, problem("invalid-request", http.StatusUnprocessableEntity, fmt.Sprintf("the key of a %s has %d parts, joined by ~", n.single, n.parts))
	}
	return parts, nil
}

// storeKey is the key as the store has it.
func (n noun[T]) storeKey(key string) (string, error) {
	parts, err := n.keyParts(key)
	if err != nil || n.parts == 1 {
		return key, err
	}
	return access.JoinKey(parts...), nil
}

func register[T access.Object](s *Server, n noun[T]) {
	list := "/v1/environments/{environment}/" + n.path
	one := list + "/{key}"
	name := strings.ReplaceAll(n.path, "/", "-")
	handle(s, Route{"GET", list, n.table, access.Read}, "list-"+name, "List "+n.path, func(ctx context.Context, in *listInput) (*pageOutput[T], error) {
		return listObjects[T](ctx, s, in, n.kind)
	})
	handle(s, Route{"GET", one, n.table, access.Read}, "get-"+name, "Get one "+n.single, func(ctx context.Context, in *KeyInput) (*objectOutput[T], error) {
		key, err := n.storeKey(in.Key)
		if err != nil {
			return nil, err
		}
		version, err := s.store.Object(ctx, 0, in.Environment, n.kind, key)
		if err != nil {
			return nil, err
		}
		return &objectOutput[T]{ETag: etag(version.Since), Body: version.Object.(T)}, nil
	})
	type put struct {
		ChangeInput
		Body T
	}
	handle(s, Route{"PUT", one, n.table, access.Write}, "put-"+name, "Create or replace one "+n.single, func(ctx context.Context, in *put) (*committedOutput, error) {
		parts, err := n.keyParts(in.Key)
		if err != nil {
			return nil, err
		}
		if err := n.adopt(&in.Body, in.Environment, parts); err != nil {
			return nil, err
		}
		return change(ctx, s, n, in.ChangeInput, access.Put(in.Body))
	}, func(op *huma.Operation) { op.Description = n.putNote })
	handle(s, Route{"DELETE", one, n.table, access.Delete}, "delete-"+name, "Delete one "+n.single, func(ctx context.Context, in *ChangeInput) (*committedOutput, error) {
		return change(ctx, s, n, *in, access.Change{Delete: true})
	}, func(op *huma.Operation) { op.DefaultStatus = http.StatusOK })
}

func listObjects[T access.Object](ctx context.Context, s *Server, in *listInput, kind access.Kind) (*pageOutput[T], error) {
	if _, err := s.tenant.Snapshot(in.Environment); err != nil {
		return nil, err
	}
	after, err := readCursor(ctx, in.Cursor, in.Environment, kind)
	if err != nil {
		return nil, err
	}
	out := &pageOutput[T]{}
	out.Body.Revision = s.tenant.Revision()
	versions, err := s.store.Objects(ctx, out.Body.Revision, in.Environment, kind, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	if len(versions) > in.Limit {
		versions = versions[:in.Limit]
		out.Body.NextCursor = makeCursor(ctx, versions[in.Limit-1].Object.ObjectKey(), in.Environment, kind)
	}
	out.Body.Items = make([]T, len(versions))
	for i, v := range versions {
		out.Body.Items[i] = v.Object.(T)
	}
	return out, nil
}

// change makes one change by hand. Only what the API manages can be changed
// here: files and directories are changed where they are.
func change[T access.Object](ctx context.Context, s *Server, n noun[T], in ChangeInput, c access.Change) (*committedOutput, error) {
	out := &committedOutput{}
	key, err := n.storeKey(in.Key)
	if err != nil {
		return nil, err
	}
	if !c.Delete {
		key = c.Object.ObjectKey() // whatever the path says, this is what is written
	}
	done, err := s.tenant.Update(ctx, func(v tenant.View) (tenant.Changeset, error) {
		if _, err := v.State(in.Environment); err != nil && n.kind != access.KindEnvironment {
			return tenant.Changeset{}, err
		}
		version, err := s.store.Object(ctx, v.Revision, in.Environment, n.kind, key)
		exists := err == nil
		var before T
		switch {
		case exists:
			before = version.Object.(T)
			if by := n.manager(before); by != access.ByAPI {
				return tenant.Changeset{}, problem("managed-elsewhere", http.StatusConflict,
					fmt.Sprintf("this %s is managed by %s; change it there", n.single, by)).with("managed_by", by)
			}
			if err := match(in.IfMatch, version.Since); err != nil {
				return tenant.Changeset{}, err
			}
			if c.Delete {
				c.Object = before
			}
		case c.Delete, !errors.Is(err, store.ErrNotFound):
			return tenant.Changeset{}, err
		case in.IfMatch != "":
			return tenant.Changeset{}, problem("precondition-failed", http.StatusPreconditionFailed, "there is no such object any more")
		}
		if !c.Delete {
			if n.keep != nil {
				o := c.Object.(T)
				n.keep(&o, before)
				c.Object = o
			}
			if err := s.mayGive(ctx, v, c.Object); err != nil {
				return tenant.Changeset{}, err
			}
		}
		if err := s.mayArrange(ctx, v, before, c); err != nil {
			return tenant.Changeset{}, err
		}
		operation, changes := "put", []access.Change{c}
		if c.Delete {
			operation = "delete"
		} else {
			changes = append(changes, outOfBox(v, c.Object)...)
		}
		return tenant.Changeset{
			Changes: changes,
			Events:  []audit.Event{s.event(ctx, n.kind.String()+"."+operation, in.Environment, n.kind.String()+"/"+c.Object.ObjectKey(), in.Reason)},
		}, nil
	})
	out.Body.Revision = done.Revision
	return out, err
}

// mayGive refuses a change by which somebody could come to more than they may
// give (Rule ACC-5). To put people into teams, change roles and change who
// somebody is gives as an assignment does, and needs the same privilege. In
// Ambit's own environment only who may do everything may give anything.
func (s *Server) mayGive(ctx context.Context, v tenant.View, o access.Object) error {
	switch o.ObjectKind() {
	case access.KindAssignment, access.KindMembership, access.KindRole, access.KindUser, access.KindTeam, access.KindBusinessUnit:
	default:
		return nil
	}
	p := caller(ctx)
	if p.Kind == audit.Local {
		return nil
	}
	gives, err := s.givesAll(v, p, o.ObjectEnvironment())
	if a, ok := o.(access.Assignment); ok && err == nil && !gives {
		gives, err = s.rulesGive(v, p, a)
	}
	if err == nil && !gives {
		err = fmt.Errorf("by this change somebody could hold more than you may give; an Ambit Administrator can make it (Rule ACC-5): %w", errForbidden)
	}
	return err
}

// rulesGive tells whether the caller may give the role as a user of its environment
// (Rule ROLE-15). What names something that is not there is nobody's to give.
func (s *Server) rulesGive(v tenant.View, p principal, a access.Assignment) (bool, error) {
	state, err := v.State(a.Environment)
	if err != nil {
		return false, err
	}
	user, ok := s.self(state, p)
	if !ok {
		return false, nil
	}
	snapshot, err := v.Snapshot(a.Environment)
	if err != nil {
		return false, err
	}
	ruling, err := snapshot.MayGive(user.ID, a.Role, a.BusinessUnit, v.Now)
	if errors.Is(err, engine.ErrUnknown) {
		return false, nil
	}
	return ruling.Allowed, err
}

// mayArrange refuses a change of whom somebody reports to, or of how access passes
// up, without the miscellaneous privilege for it (Rule HIER-10).
func (s *Server) mayArrange(ctx context.Context, v tenant.View, before access.Object, c access.Change) error {
	var needed []string
	switch was := before.(type) {
	case access.User:
		if is := c.Object.(access.User); !c.Delete {
			if is.Manager != was.Manager {
				needed = append(needed, model.PrivilegeAssignManager)
			}
			if is.Position != was.Position {
				needed = append(needed, model.PrivilegeAssignPosition)
			}
		}
	case access.Position:
		needed = append(needed, model.PrivilegeChangeHierarchy)
	case access.Environment:
		if is := c.Object.(access.Environment); !c.Delete && !reflect.DeepEqual(was.Hierarchy, is.Hierarchy) {
			needed = append(needed, model.PrivilegeChangeHierarchy)
		}
	}
	for _, privilege := range needed {
		if err := s.holds(ctx, v, privilege); err != nil {
			return err
		}
	}
	return nil
}

// holds refuses callers who do not hold a miscellaneous privilege in Ambit's own
// environment.
func (s *Server) holds(ctx context.Context, v tenant.View, privilege string) error {
	p := caller(ctx)
	if p.Kind == audit.Local {
		return nil
	}
	user, ambit, err := s.administrator(v, p)
	if err != nil {
		return err
	}
	holds := false
	if user.ID != "" {
		if holds, err = ambit.Holds(user.ID, privilege, v.Now); err != nil {
			return err
		}
	}
	if !holds {
		return fmt.Errorf("this needs the miscellaneous privilege %s in environment %s (Rule HIER-10): %w", privilege, access.AmbitEnvironment, errForbidden)
	}
	return nil
}

// givesAll tells whether the caller may give every role of an environment.
func (s *Server) givesAll(v tenant.View, p principal, env access.EnvironmentID) (bool, error) {
	user, ambit, err := s.administrator(v, p)
	if err != nil || user.ID == "" {
		return false, err
	}
	needed := []access.Privilege{{Table: model.TableAssignment, Action: access.Write}}
	if env == access.AmbitEnvironment {
		state, err := v.State(env)
		if err != nil {
			return false, err
		}
		for table := range state.Tables {
			for action := access.Create; action < access.Actions; action++ {
				needed = append(needed, access.Privilege{Table: table, Action: action})
			}
		}
	}
	for _, need := range needed {
		d, err := ambit.Check(engine.Question{User: user.ID, Table: need.Table, Action: need.Action, At: v.Now})
		if err != nil || !d.Allowed {
			return false, err
		}
	}
	return true, nil
}

// event is an audit event of the caller's.
func (s *Server) event(ctx context.Context, operation string, env access.EnvironmentID, object, reason string) audit.Event {
	return audit.Event{
		Actor: caller(ctx).Actor, Operation: operation, Environment: env, Object: object,
		Result: audit.Done, Reason: reason, Correlation: correlation(ctx),
	}
}
