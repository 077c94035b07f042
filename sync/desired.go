package dirsync

import (
	"iter"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/document"
	"github.com/ambit-iam/ambit/mapping"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/tenant"
)

// desired is what the environments should hold: what ships with Ambit, what the
// model files declare, and what the mapping makes of the directories.
type desired struct {
	evaluation *mapping.Evaluation // nil: no mapping
	model      *model.Model        // nil: no files
	// fixed does not depend on users; resolved is what the files say of them.
	fixed    map[mapping.Key]access.Object
	resolved map[mapping.Key]access.Object
	findings document.Faults // of the files
}

// fix takes up what ships and what the files declare, for the tables that there
// are.
func (d *desired) fix(states states) {
	d.fixed = map[mapping.Key]access.Object{}
	add := func(objects []access.Object) {
		for _, o := range objects {
			d.fixed[mapping.KeyOf(o)] = o
		}
	}
	add(model.Ambit())
	if d.model == nil {
		return
	}
	names := d.model.Names()
	for _, env := range d.model.Environments() {
		declared := d.model.Desired(env)
		if env != access.AmbitEnvironment {
			tables := tablesOf(declared)
			if s, ok := states.State(env); ok {
				for _, t := range s.Tables {
					if t.ManagedBy == access.ByAPI {
						tables = append(tables, t)
					}
				}
			}
			add(model.OutOfBox(env, names.Environments[env].Root, tables))
		}
		add(declared)
	}
}

func tablesOf(objects []access.Object) []access.Table {
	var tables []access.Table
	for _, o := range objects {
		if t, ok := o.(access.Table); ok {
			tables = append(tables, t)
		}
	}
	return tables
}

// resolve takes up what the files say of users, whom they know by login.
func (d *desired) resolve(userOf func(access.EnvironmentID) func(string) (access.User, bool)) {
	d.resolved, d.findings = map[mapping.Key]access.Object{}, nil
	if d.model == nil {
		return
	}
	for _, env := range d.model.Environments() {
		objects, findings := d.model.Resolve(env, userOf(env))
		for _, o := range objects {
			d.resolved[mapping.KeyOf(o)] = o
		}
		d.findings = append(d.findings, findings...)
	}
}

// object returns what there should be under a key.
func (d *desired) object(k mapping.Key, now *access.State) (access.Object, bool) {
	if k.Kind == access.KindEnvironment {
		return d.environment(k, now)
	}
	if o, ok := d.fixed[k]; ok {
		return o, true
	}
	if o, ok := d.resolved[k]; ok {
		return o, true
	}
	if d.evaluation != nil {
		return d.evaluation.Object(k)
	}
	return nil, false
}

// environment is the environment as the files declare it, or as it is if they do
// not, with what the mapping says of who gets in.
func (d *desired) environment(k mapping.Key, now *access.State) (access.Object, bool) {
	e := now.Environment
	if o, ok := d.fixed[k]; ok {
		e = o.(access.Environment)
	} else if !now.Exists() || e.ManagedBy == access.ByFile {
		return nil, false
	}
	if d.evaluation != nil {
		if gate, ok := d.evaluation.Gate(k.Environment); ok {
			e = gate.Put(e)
		}
	}
	return e, true
}

// all yields everything but environments. No two have one key: what the mapping
// makes of people hangs on its own teams, what the files give on theirs.
func (d *desired) all() iter.Seq[access.Object] {
	return func(yield func(access.Object) bool) {
		for _, objects := range [...]map[mapping.Key]access.Object{d.fixed, d.resolved} {
			for k, o := range objects {
				if k.Kind != access.KindEnvironment && !yield(o) {
					return
				}
			}
		}
		if d.evaluation != nil {
			d.evaluation.Desired()(yield)
		}
	}
}

// Names are the environments as the model files make them, with the units, tables,
// positions and roles that were made over the API: what the names in a mapping
// file can mean (mapping.Names).
func Names(m *model.Model, now tenant.View) map[access.EnvironmentID]*access.State {
	out := map[access.EnvironmentID]*access.State{}
	put := func(o access.Object) {
		env := o.ObjectEnvironment()
		if out[env] == nil {
			out[env] = access.NewState(env)
		}
		out[env].Apply(access.Put(o))
	}
	for _, env := range now.Environments() {
		if s, err := now.State(env); err == nil {
			made(s.BusinessUnits, put)
			made(s.Tables, put)
			made(s.Positions, put)
			made(s.Roles, put)
			if s.Environment.ManagedBy == access.ByAPI {
				put(s.Environment)
			}
		}
	}
	d := desired{model: m}
	d.fix(viewStates{now})
	for _, o := range d.fixed {
		if o.ObjectKind() <= access.KindRole {
			put(o)
		}
	}
	return out
}

// made yields the objects that were made over the API.
func made[K comparable, V access.Object](m map[K]V, yield func(access.Object)) {
	for _, v := range m {
		if managedBy(v) == access.ByAPI {
			yield(v)
		}
	}
}
