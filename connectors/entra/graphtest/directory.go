package graphtest

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/ambit-iam/ambit/testdata/company"
)

// The types of objects.
const (
	userType      = "#microsoft.graph.user"
	groupType     = "#microsoft.graph.group"
	DeviceType    = "#microsoft.graph.device"
	PrincipalType = "#microsoft.graph.servicePrincipal"
)

// The relations of objects, by the names of their properties.
const (
	members = "members"
	owners  = "owners"
	manager = "manager"
)

var relations = []string{members, owners, manager}

// lifetime is where an object is between creation and end.
type lifetime int

const (
	live lifetime = iota
	soft          // deleted, and may be restored (Rule GRAPH-12)
	hard          // gone for good
)

// state is the directory. Whatever changes is numbered, so that a delta is what
// has a higher number than its token. Nothing is ever forgotten: what ended stays
// as a tombstone.
type state struct {
	number  int64
	objects map[string]*object
	order   []*object
	edges   map[edgeKey]*edge
	out     map[string][]*edge // by near end
	in      map[string][]*edge // by far end
}

type object struct {
	id, kind   string
	state      lifetime
	changed    int64 // when it was made, removed or restored
	properties map[string]property
}

// property is a value that was set once. Nil is one that was cleared, which is
// not the same as never set (Rule GRAPH-16).
type property struct {
	value   any
	changed int64
}

type edgeKey struct{ from, relation, to string }

type edge struct {
	edgeKey
	live    bool
	lost    bool // ended with an object, and comes back with it
	changed int64
}

func newState() state {
	return state{objects: map[string]*object{}, edges: map[edgeKey]*edge{}, out: map[string][]*edge{}, in: map[string][]*edge{}}
}

func (st *state) next() int64 {
	st.number++
	return st.number
}

// kind is an object's type; what the directory does not hold is taken for a user.
func (st *state) kind(id string) string {
	if o := st.objects[id]; o != nil {
		return o.kind
	}
	return userType
}

// render is the object as Graph shows it: the id and those of the named
// properties that were ever set.
func (o *object) render(names []string) map[string]any {
	out := map[string]any{"id": o.id}
	for _, name := range names {
		if p, ok := o.properties[name]; ok {
			out[name] = p.value
		}
	}
	return out
}

// find returns an object; one that is not there is the caller's mistake.
func (st *state) find(id string) *object {
	o := st.objects[id]
	if o == nil {
		panic("internal error: graphtest: no such object: " + id)
	}
	return o
}

func (st *state) add(id, kind string, properties map[string]any) {
	if id == "" || st.objects[id] != nil {
		panic(fmt.Sprintf("internal error: graphtest: the id %q is empty or taken", id))
	}
	o := &object{id: id, kind: kind, changed: st.next(), properties: map[string]property{}}
	for name, value := range properties {
		o.properties[name] = property{value, o.changed}
	}
	st.objects[id] = o
	st.order = append(st.order, o)
}

// link makes or ends an edge. Making one that is there or whose end is deleted,
// or ending one that is not there, changes nothing.
func (st *state) link(from, relation, to string, alive bool) {
	k := edgeKey{from, relation, to}
	e := st.edges[k]
	far := st.objects[to]
	switch {
	case e != nil && !alive:
		e.lost = false
	case e == nil && !alive, alive && (st.find(from).state != live || far != nil && far.state != live):
		return
	}
	switch {
	case e == nil:
		e = &edge{edgeKey: k}
		st.edges[k] = e
		st.out[from], st.in[to] = append(st.out[from], e), append(st.in[to], e)
	case e.live == alive:
		return
	}
	e.live, e.lost, e.changed = alive, false, st.next()
}

// remove ends an object and its edges. It keeps in mind those that come back.
func (st *state) remove(id string, to lifetime) {
	o := st.find(id)
	if o.state == to || o.state == hard {
		return
	}
	o.state, o.changed = to, st.next()
	for _, e := range slices.Concat(st.out[id], st.in[id]) {
		if e.live {
			e.live, e.lost, e.changed = false, to == soft, st.next()
		} else if to == hard {
			e.lost = false
		}
	}
}

func (st *state) restore(id string) {
	o := st.find(id)
	if o.state != soft {
		return
	}
	o.state, o.changed = live, st.next()
	for _, e := range slices.Concat(st.out[id], st.in[id]) {
		if far := st.objects[e.to]; e.lost && st.objects[e.from].state == live && (far == nil || far.state == live) {
			e.live, e.lost, e.changed = true, false, st.next()
		}
	}
}

// edit runs f on the directory while nobody reads it.
func (s *Server) edit(f func(st *state)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.state)
}

// AddUser makes a user with the properties, by their Graph names.
func (s *Server) AddUser(id string, properties map[string]any) {
	s.edit(func(st *state) { st.add(id, userType, properties) })
}

// AddGroup makes a group with the properties, by their Graph names.
func (s *Server) AddGroup(id string, properties map[string]any) {
	s.edit(func(st *state) { st.add(id, groupType, properties) })
}

// AddOther makes an object of another type that can be a member, such as
// DeviceType. Delta queries do not list it.
func (s *Server) AddOther(id, kind string) { s.edit(func(st *state) { st.add(id, kind, nil) }) }

// Remove deletes a user or group so that it can be restored; Purge for good
// (Rule GRAPH-12). Its edges end with it.
func (s *Server) Remove(id string) { s.edit(func(st *state) { st.remove(id, soft) }) }

// Purge deletes a user or group for good.
func (s *Server) Purge(id string) { s.edit(func(st *state) { st.remove(id, hard) }) }

// Restore brings back what Remove deleted, with its edges.
func (s *Server) Restore(id string) { s.edit(func(st *state) { st.restore(id) }) }

// AddMember, RemoveMember, AddOwner and RemoveOwner edit a group's direct edges.
func (s *Server) AddMember(group, member string) {
	s.edit(func(st *state) { st.link(group, members, member, true) })
}

// RemoveMember takes a member out of a group.
func (s *Server) RemoveMember(group, member string) {
	s.edit(func(st *state) { st.link(group, members, member, false) })
}

// AddOwner gives a group an owner.
func (s *Server) AddOwner(group, owner string) {
	s.edit(func(st *state) { st.link(group, owners, owner, true) })
}

// RemoveOwner takes an owner from a group.
func (s *Server) RemoveOwner(group, owner string) {
	s.edit(func(st *state) { st.link(group, owners, owner, false) })
}

// EmptyGroup takes all members out of a group.
func (s *Server) EmptyGroup(group string) {
	s.edit(func(st *state) {
		for _, e := range st.out[group] {
			if e.relation == members {
				st.link(group, members, e.to, false)
			}
		}
	})
}

// SetManager gives a user another manager; "" for none.
func (s *Server) SetManager(user, to string) {
	s.edit(func(st *state) {
		for _, e := range st.out[user] {
			if e.relation == manager && e.to != to {
				st.link(user, manager, e.to, false)
			}
		}
		if to != "" {
			st.link(user, manager, to, true)
		}
	})
}

// SetAttribute gives an object's property another value; nil clears it.
func (s *Server) SetAttribute(id, name string, value any) {
	s.edit(func(st *state) { st.find(id).properties[name] = property{value, st.next()} })
}

// Load fills the server with the part of the company that lives in Entra ID.
// A person's unit is in officeLocation, the kind in employeeType.
func (s *Server) Load(c *company.Company) {
	s.edit(func(st *state) {
		for _, p := range c.People {
			if p.Home == company.Entra {
				st.add(p.ID, userType, user(p))
			}
		}
		for _, p := range c.People {
			if p.Home == company.Entra && p.Manager != "" && st.objects[p.Manager] != nil {
				st.link(p.ID, manager, p.Manager, true)
			}
		}
		for _, g := range c.Groups {
			if g.Home == company.Entra {
				st.add(g.ID, groupType, group(g))
			}
		}
		for _, g := range c.Groups {
			if g.Home != company.Entra {
				continue
			}
			for _, m := range slices.Concat(g.Members, g.Groups) {
				st.link(g.ID, members, m, true)
			}
			for _, o := range g.Owners {
				st.link(g.ID, owners, o, true)
			}
		}
	})
}

func user(p company.Person) map[string]any {
	out := map[string]any{
		"userPrincipalName": p.Mail, "displayName": p.Name, "mail": p.Mail, "accountEnabled": p.Enabled, "userType": "Member",
		"department": p.Department, "officeLocation": p.Unit, "employeeType": p.Kind, "employeeId": p.Number,
		"assignedPlans": []any{}, "assignedLicenses": []any{},
	}
	if p.Guest {
		// Rule GRAPH-33.
		out["userType"], out["externalUserState"] = "Guest", "Accepted"
		out["userPrincipalName"] = p.UID + "_" + "partner.example" + "#EXT#@" + company.Domain
		out["mail"] = p.UID + "@partner.example"
	}
	if p.Licensed {
		out["assignedPlans"] = []any{map[string]any{
			"assignedDateTime": "2026-01-05T08:00:00Z", "capabilityStatus": "Enabled", "service": "DynamicsCRM", "servicePlanId": company.PlanID,
		}}
		sku := uuid.NewSHA1(uuid.NameSpaceOID, []byte("sku")).String()
		out["assignedLicenses"] = []any{map[string]any{"disabledPlans": []any{}, "skuId": sku}}
	}
	return out
}

func group(g company.Group) map[string]any {
	out := map[string]any{
		"displayName": g.Name, "description": g.Description, "mailNickname": g.ID[:8], "mailEnabled": g.M365, "securityEnabled": !g.M365,
		"groupTypes": []any{}, "isAssignableToRole": nil,
	}
	if g.M365 {
		out["groupTypes"], out["visibility"] = []any{"Unified"}, "Private"
	}
	return out
}
