package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/engine"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/tenant"
)

// Operations are done by a person of the environment, and the engine rules whether
// that person may. An application can do them for a person whom it names: it needs
// the right to change such objects by itself.
//
// To do one again changes nothing: none adds up.

// Operation says for whom an operation is done, and why.
type Operation struct {
	As     string `json:"as,omitempty" doc:"the user for whom an application does it, by id or sign-in name; the caller where it is absent"`
	Reason string `json:"reason,omitempty" maxLength:"2000" doc:"kept in the audit log"`
	DryRun bool   `json:"dry_run,omitempty" doc:"only tell whether it is allowed"`
}

// Outcome is the ruling on an operation, and what was made.
type Outcome struct {
	engine.Ruling
	Assignment access.AssignmentID `json:"assignment,omitempty" doc:"what gives the role"`
	Revision   access.Revision     `json:"revision" doc:"ask with it to be sure that a decision knows the change"`
}

type outcomeOutput struct{ Body Outcome }

// recordInput is an operation on a record.
type recordInput[B any] struct {
	Environment access.EnvironmentID `path:"environment" doc:"the environment's id"`
	Table       access.TableID       `path:"table"`
	ID          access.RecordID      `path:"id"`
	Body        B
}

// roleInput is an operation on a role.
type roleInput[B any] struct {
	Environment access.EnvironmentID `path:"environment" doc:"the environment's id"`
	Role        string               `path:"role" doc:"the role's id or name"`
	Body        B
}

// RecordOperation is an operation on a record.
type RecordOperation struct {
	Operation
	Record *Record `json:"record,omitempty" doc:"the record's facts, from an application; where they are absent, those that were registered"`
}

// Sharing names whom a record is shared with.
type Sharing struct {
	RecordOperation
	Principal string        `json:"principal,omitempty" doc:"user:NAME, team:NAME or organization"`
	Rights    access.Rights `json:"rights,omitempty" doc:"separated by commas"`
	Start     time.Time     `json:"start,omitzero"`
	End       time.Time     `json:"end,omitzero"`
}

// Unsharing names from whom it is taken.
type Unsharing struct {
	RecordOperation
	Principal string `json:"principal,omitempty" doc:"user:NAME, team:NAME or organization"`
}

// Assigning names the new owner.
type Assigning struct {
	RecordOperation
	Owner string `json:"owner,omitempty" doc:"user:NAME or team:NAME"`
}

// Moving names the new owning unit.
type Moving struct {
	RecordOperation
	BusinessUnit string `json:"business_unit,omitempty"`
}

// Linking names what the record is to point to.
type Linking struct {
	RecordOperation
	Relationship access.RelationshipID `json:"relationship,omitempty"`
	Parent       access.RecordID       `json:"parent,omitempty" doc:"the record pointed to"`
	ParentRecord *Record               `json:"parent_record,omitempty" doc:"its facts, from an application"`
	Creating     bool                  `json:"creating,omitempty" doc:"the record is created with it; for dry_run, with its facts"`
}

// Unlinking names the lookup to clear.
type Unlinking struct {
	RecordOperation
	Relationship access.RelationshipID `json:"relationship,omitempty"`
}

// Joining names whom to put into the record's access team of a template, or take
// from it.
type Joining struct {
	RecordOperation
	Template access.TemplateID `json:"template,omitempty"`
	User     string            `json:"user,omitempty"`
}

// ColumnSharing names with whom a secured column is shared.
type ColumnSharing struct {
	RecordOperation
	Column    string `json:"column,omitempty"`
	Principal string `json:"principal,omitempty" doc:"user:NAME, team:NAME or organization"`
	Read      bool   `json:"read,omitempty"`
	Update    bool   `json:"update,omitempty" doc:"neither takes the share away"`
}

// Giving names who is to have a role.
type Giving struct {
	Operation
	To           string    `json:"to,omitempty" doc:"user:NAME or team:NAME"`
	BusinessUnit string    `json:"business_unit,omitempty" doc:"the principal's own where it is absent"`
	Start        time.Time `json:"start,omitzero"`
	End          time.Time `json:"end,omitzero"`
}

// Taking names the assignment that is to end.
type Taking struct {
	Operation
	Assignment access.AssignmentID `json:"assignment,omitempty"`
}

// Copying names the copy.
type Copying struct {
	Operation
	ID   access.RoleID `json:"id,omitempty" doc:"of the copy"`
	Name string        `json:"name,omitempty"`
}

func (s *Server) operationRoutes() {
	onRecord(s, "share", "Share a record: give rights beside those that were given (Rules SHARE-1, SHARE-3)", model.TableShare, func(o *operating, b Sharing) (engine.Ruling, error) {
		to, err := recipientNamed(o.state, b.Principal)
		if err != nil {
			return engine.Ruling{}, err
		}
		o.make = func() ([]access.Change, error) { return o.state.Grant(o.share(to, b)) }
		return o.snapshot.MayShare(o.user, o.record, b.Rights, o.at)
	})
	onRecord(s, "modify", "Set the rights that a record is shared by (Rules SHARE-1, SHARE-3)", model.TableShare, func(o *operating, b Sharing) (engine.Ruling, error) {
		to, err := recipientNamed(o.state, b.Principal)
		if err != nil {
			return engine.Ruling{}, err
		}
		o.make = func() ([]access.Change, error) { return o.state.Modify(o.share(to, b)) }
		return o.snapshot.MayShare(o.user, o.record, b.Rights, o.at)
	})
	onRecord(s, "unshare", "Take a share of a record away, or give up one's own (Rule SHARE-8)", model.TableShare, func(o *operating, b Unsharing) (engine.Ruling, error) {
		of, err := recipientNamed(o.state, b.Principal)
		if err != nil {
			return engine.Ruling{}, err
		}
		o.make = func() ([]access.Change, error) {
			return o.state.Revoke(access.ShareKey{RecordKey: o.key(), Principal: of})
		}
		return o.snapshot.MayRevoke(o.user, o.record, of, o.at)
	})
	onRecord(s, "assign", "Give a record another owner (Rules OWN-9, OWN-10)", model.TableRecord, func(o *operating, b Assigning) (engine.Ruling, error) {
		owner, err := principalNamed(o.state, b.Owner)
		if err != nil {
			return engine.Ruling{}, err
		}
		o.make = func() ([]access.Change, error) { return o.state.AssignRecord(o.key(), owner) }
		return o.snapshot.MayAssign(o.user, o.record, owner, o.at)
	})
	onRecord(s, "move", "Give a record another owning business unit (Rule BU-10)", model.TableRecord, func(o *operating, b Moving) (engine.Ruling, error) {
		unit, err := unitNamed(o.state, b.BusinessUnit)
		if err != nil {
			return engine.Ruling{}, err
		}
		o.make = func() ([]access.Change, error) { return o.state.SetRecordUnit(o.key(), unit) }
		return o.snapshot.MaySetUnit(o.user, o.record, unit, o.at)
	})
	onRecord(s, "link", "Let a record point to another (Rules REL-1, REL-2); what is many-to-many is kept by the application", model.TableRecord, func(o *operating, b Linking) (engine.Ruling, error) {
		parent := engine.RecordRef{Table: o.state.Relationships[b.Relationship].Parent}
		var err error
		if parent.Record, err = o.facts(parent.Table, b.Parent, b.ParentRecord); err != nil {
			return engine.Ruling{}, err
		}
		o.make = func() ([]access.Change, error) { return o.state.LinkRecord(o.key(), b.Relationship, b.Parent) }
		return o.snapshot.MayLink(o.user, b.Relationship, o.record, &parent, b.Creating, o.at)
	})
	onRecord(s, "unlink", "Clear a record's lookup (Rule REL-3)", model.TableRecord, func(o *operating, b Unlinking) (engine.Ruling, error) {
		o.make = func() ([]access.Change, error) { return o.state.UnlinkRecord(o.key(), b.Relationship) }
		return o.snapshot.MayLink(o.user, b.Relationship, o.record, nil, false, o.at)
	})
	onRecord(s, "join", "Put a user into a record's access team of a template (Rules TEAM-6, TEAM-7)", model.TableTeam, func(o *operating, b Joining) (engine.Ruling, error) {
		user, err := userNamed(o.state, b.User)
		if err != nil {
			return engine.Ruling{}, err
		}
		o.make = func() ([]access.Change, error) {
			return o.state.AddToTemplate(b.Template, o.record.Record.ID, user, access.ByAPI)
		}
		return o.snapshot.MayAddToTemplate(o.user, b.Template, o.record, o.at)
	})
	onRecord(s, "leave", "Take a user from a record's access team of a template, or leave it (Rule TEAM-6)", model.TableTeam, func(o *operating, b Joining) (engine.Ruling, error) {
		user, err := userNamed(o.state, b.User)
		if err != nil {
			return engine.Ruling{}, err
		}
		o.make = func() ([]access.Change, error) {
			return o.state.RemoveFromTemplate(b.Template, o.record.Record.ID, user)
		}
		if r, err := o.snapshot.MayAddToTemplate(o.user, b.Template, o.record, o.at); err != nil || user != o.user {
			return r, err
		}
		return engine.Ruling{Allowed: true}, nil // as one's own share (Rule SHARE-8)
	})
	onRecord(s, "share-column", "Share a secured column of a record, or take that away (Rule FLS-7)", model.TableShare, func(o *operating, b ColumnSharing) (engine.Ruling, error) {
		to, err := recipientNamed(o.state, b.Principal)
		if err != nil {
			return engine.Ruling{}, err
		}
		share := access.ColumnShare{
			Environment: o.env, Table: o.record.Table, Record: o.record.Record.ID, Column: b.Column, Principal: to, Read: b.Read, Update: b.Update, ManagedBy: access.ByAPI,
		}
		if !b.Read && !b.Update {
			o.make = func() ([]access.Change, error) { return []access.Change{access.Remove(share)}, nil }
			return o.snapshot.MayRevoke(o.user, o.record, to, o.at)
		}
		o.make = func() ([]access.Change, error) { return []access.Change{access.Put(share)}, nil }
		return o.snapshot.MayShareColumn(o.user, o.record, b.Column, b.Read, b.Update, o.at)
	})
	onRole(s, "give", "Give a role (Rules ROLE-15, ACC-5)", model.TableAssignment, (*operating).give)
	onRole(s, "take", "Take a role away (Rules ROLE-15, ACC-5)", model.TableAssignment, (*operating).take)
	onRole(s, "copy", "Copy a role, for its own life (Rule ROLE-12)", model.TableRole, (*operating).copy)
}

// operating is one operation while it is judged.
type operating struct {
	env      access.EnvironmentID
	state    *access.State
	snapshot *engine.Snapshot
	user     access.UserID // who does it
	at       time.Time
	// application tells that the caller does it for somebody else, and is believed
	// what it says of records.
	application bool

	record     engine.RecordRef
	role       access.Role
	assignment access.AssignmentID // made, or there already
	// make gives the changes, once the operation is allowed.
	make func() ([]access.Change, error)
}

func (o *operating) key() access.RecordKey {
	return access.RecordKey{Table: o.record.Table, Record: o.record.Record.ID}
}

func (o *operating) share(with access.Principal, b Sharing) access.Share {
	return access.Share{
		Environment: o.env, Table: o.record.Table, Record: o.record.Record.ID, Principal: with, Rights: b.Rights,
		Window: access.Window{Start: access.Instant(b.Start), End: access.Instant(b.End)}, ManagedBy: access.ByAPI,
	}
}

// facts are those of a record. A person is not believed what they say of it.
func (o *operating) facts(table access.TableID, id access.RecordID, said *Record) (engine.Record, error) {
	if said == nil {
		return engine.Record{ID: id, Registered: true}, nil
	}
	if !o.application {
		return engine.Record{}, problem("invalid-request", http.StatusUnprocessableEntity, "a record's facts are for an application to say, which does the operation as somebody")
	}
	known := *said
	if err := take(&known.ID, []string{string(id)}, 0); err != nil {
		return engine.Record{}, err
	}
	out, err := recordNamed(o.state, table, &known)
	if err != nil {
		return engine.Record{}, err
	}
	return *out, nil
}

func (o *operating) give(b Giving) (engine.Ruling, error) {
	to, err := principalNamed(o.state, b.To)
	if err != nil {
		return engine.Ruling{}, err
	}
	unit := unitOf(o.state, to)
	if b.BusinessUnit != "" {
		if unit, err = unitNamed(o.state, b.BusinessUnit); err != nil {
			return engine.Ruling{}, err
		}
	}
	a := access.Assignment{
		Environment: o.env, Role: o.role.ID, Principal: to, BusinessUnit: unit,
		Window: access.Window{Start: access.Instant(b.Start), End: access.Instant(b.End)}, ManagedBy: access.ByAPI,
	}
	// The same gift has the same id, so that to give it again makes no second one.
	window, err := json.Marshal(a.Window)
	if err != nil {
		return engine.Ruling{}, err
	}
	sum := sha256.Sum256([]byte(access.JoinKey(string(a.Role), to.String(), string(unit), string(window))))
	a.ID = access.AssignmentID("given-" + hex.EncodeToString(sum[:16]))
	o.assignment = a.ID
	o.make = func() ([]access.Change, error) {
		if _, ok := o.state.Assignments[a.ID]; ok {
			return nil, nil
		}
		return []access.Change{access.Put(a)}, nil
	}
	return o.snapshot.MayGive(o.user, o.role.ID, unit, o.at)
}

func (o *operating) take(b Taking) (engine.Ruling, error) {
	a, ok := o.state.Assignments[b.Assignment]
	switch {
	case !ok || a.Role != o.role.ID:
		return engine.Ruling{}, unknown(o.state, fmt.Sprintf("assignment of role %q", o.role.ID), string(b.Assignment))
	case a.Request != "":
		return engine.Ruling{}, problem("not-yours", http.StatusUnprocessableEntity, "an elevation is ended as a request, not by hand (Rule JIT-E-4)")
	case a.ManagedBy != access.ByAPI:
		return engine.Ruling{}, problem("managed-elsewhere", http.StatusConflict, fmt.Sprintf("this role assignment is managed by %s; change it there", a.ManagedBy)).with("managed_by", a.ManagedBy)
	}
	o.assignment = a.ID
	o.make = func() ([]access.Change, error) { return []access.Change{access.Remove(a)}, nil }
	return o.snapshot.MayGive(o.user, o.role.ID, a.BusinessUnit, o.at)
}

func (o *operating) copy(b Copying) (engine.Ruling, error) {
	o.make = func() ([]access.Change, error) { return o.state.CopyRole(o.role.ID, b.ID, b.Name, access.ByAPI) }
	d, err := o.snapshot.Check(engine.Question{
		User: o.user, Action: access.Create, Table: model.TableRole, Record: &engine.Record{BusinessUnit: o.role.BusinessUnit}, At: o.at,
	})
	if err != nil || d.Allowed {
		return engine.Ruling{Allowed: d.Allowed}, err
	}
	return engine.Ruling{Rule: "ROLE-12", Why: fmt.Sprintf("create on roles in business unit %q: %s", o.role.BusinessUnit, d.Reason)}, nil
}

// recipientNamed is a principal, or everybody.
func recipientNamed(state *access.State, text string) (access.Principal, error) {
	if text == access.Everybody.String() {
		return access.Principal{Kind: access.Everybody}, nil
	}
	return principalNamed(state, text)
}

// body has what every operation's body has.
type body interface {
	operation() Operation
	record() *Record
}

func (o Operation) operation() Operation  { return o }
func (Operation) record() *Record         { return nil }
func (o RecordOperation) record() *Record { return o.Record }

func onRecord[B body](s *Server, verb, summary string, table access.TableID, judge func(*operating, B) (engine.Ruling, error)) {
	const path = "/v1/environments/{environment}/records/{table}/{id}/actions/"
	handle(s, Route{"POST", path + verb, "", 0}, "record-"+verb, summary, func(ctx context.Context, in *recordInput[B]) (*outcomeOutput, error) {
		key := access.Record{Table: in.Table, ID: in.ID}
		return s.operate(ctx, in.Environment, in.Body, table, "record."+verb, key, func(o *operating) (engine.Ruling, error) {
			o.record.Table = in.Table
			var err error
			if o.record.Record, err = o.facts(in.Table, in.ID, in.Body.record()); err != nil {
				return engine.Ruling{}, err
			}
			return judge(o, in.Body)
		})
	}, needs(table))
}

func onRole[B body](s *Server, verb, summary string, table access.TableID, judge func(*operating, B) (engine.Ruling, error)) {
	const path = "/v1/environments/{environment}/roles/{role}/actions/"
	handle(s, Route{"POST", path + verb, "", 0}, "role-"+verb, summary, func(ctx context.Context, in *roleInput[B]) (*outcomeOutput, error) {
		return s.operate(ctx, in.Environment, in.Body, table, "role."+verb, access.Role{ID: access.RoleID(in.Role)}, func(o *operating) (engine.Ruling, error) {
			var err error
			if o.role, err = roleNamed(o.state, in.Role); err != nil {
				return engine.Ruling{}, err
			}
			return judge(o, in.Body)
		})
	}, needs(table))
}

// needs says in the description what an application needs.
func needs(table access.TableID) func(*huma.Operation) {
	return func(op *huma.Operation) {
		op.Description = fmt.Sprintf("The engine rules whether the caller, as a user of the environment, may do it. To do it as somebody needs write on Ambit's table %s.", table)
	}
}

// operate judges an operation on the newest revision and does it if it is allowed.
func (s *Server) operate(ctx context.Context, env access.EnvironmentID, b body, table access.TableID, operation string, on access.Object, judge func(*operating) (engine.Ruling, error)) (*outcomeOutput, error) {
	op := b.operation()
	if op.As != "" {
		self, err := s.mayDoAs(ctx, env, op.As, table)
		if err != nil {
			return nil, err
		}
		if self {
			op.As = ""
		}
	}
	out := &outcomeOutput{}
	rule := func(v tenant.View) (*operating, error) {
		o, err := s.operating(ctx, v, env, op.As)
		if err != nil {
			return nil, err
		}
		ruling, err := judge(o)
		if err != nil {
			return nil, err
		}
		out.Body = Outcome{Ruling: ruling, Assignment: o.assignment, Revision: v.Revision}
		return o, nil
	}
	if op.DryRun {
		return out, s.tenant.Read(func(v tenant.View) error {
			_, err := rule(v)
			return err
		})
	}
	done, err := s.tenant.Update(ctx, func(v tenant.View) (tenant.Changeset, error) {
		o, err := rule(v)
		if err != nil {
			return tenant.Changeset{}, err
		}
		if !out.Body.Allowed {
			return tenant.Changeset{}, problem("operation-refused", http.StatusForbidden, out.Body.Why).with("rule", out.Body.Rule)
		}
		changes, err := o.make()
		if err != nil || len(changes) == 0 {
			return tenant.Changeset{}, err
		}
		said, err := json.Marshal(b)
		if err != nil {
			return tenant.Changeset{}, err
		}
		event := s.event(ctx, operation, env, on.ObjectKind().String()+"/"+on.ObjectKey(), op.Reason)
		event.Detail = said
		if o.application {
			event.Actor.OnBehalfOf = string(o.user)
		}
		return tenant.Changeset{Changes: changes, Events: []audit.Event{event}}, nil
	})
	if err != nil {
		return nil, err
	}
	out.Body.Revision = done.Revision
	return out, nil
}

// operating finds who does an operation, in which state.
func (s *Server) operating(ctx context.Context, v tenant.View, env access.EnvironmentID, as string) (o *operating, err error) {
	o = &operating{env: env, at: v.Now}
	if o.state, err = v.State(env); err != nil {
		return nil, err
	}
	if o.snapshot, err = v.Snapshot(env); err != nil {
		return nil, err
	}
	self, ok := s.self(o.state, caller(ctx))
	switch {
	case o.state.Environment.Locked:
		err = lockedError(env)
	case as != "":
		o.user, err = userNamed(o.state, as)
		o.application = true
	case ok:
		o.user = self.ID
	default:
		err = fmt.Errorf("you are not a user of environment %s; name in as for whom you do it: %w", env, errForbidden)
	}
	return o, err
}

// mayDoAs refuses those who do an operation for another without the right to make
// such changes themselves, and tells whether it is themselves whom they name. In Ambit's own environment it takes the right to give
// everything, since there a person can be one who has it (Rule ACC-5).
func (s *Server) mayDoAs(ctx context.Context, env access.EnvironmentID, as string, table access.TableID) (self bool, err error) {
	p := caller(ctx)
	if p.Kind == audit.Local {
		return false, nil
	}
	all := env != access.AmbitEnvironment
	err = s.tenant.Read(func(v tenant.View) (err error) {
		if state, err := v.State(env); err == nil {
			own, ok := s.self(state, p)
			self = ok && isUser(own, as)
		}
		if !self && !all {
			all, err = s.givesAll(v, p, env)
		}
		return err
	})
	switch {
	case err != nil || self:
		return self, err
	case !all:
		return false, fmt.Errorf("in Ambit's own environment only who may give everything does operations for others (Rule ACC-5): %w", errForbidden)
	}
	return false, s.may(ctx, table, access.Write)
}
