package graphtest

import (
	"maps"
	"slices"
)

// Edge is one that the directory has; Relation is members, owners or manager.
type Edge struct{ From, Relation, To string }

// Holds returns what the directory has now: the properties of each user and
// group by id, and the edges.
func (s *Server) Holds() (objects map[string]map[string]any, edges map[Edge]bool) {
	objects, edges = map[string]map[string]any{}, map[Edge]bool{}
	s.edit(func(st *state) {
		for _, o := range st.order {
			if o.state == live && (o.kind == userType || o.kind == groupType) {
				objects[o.id] = o.render(slices.Collect(maps.Keys(o.properties)))
			}
		}
		for k, e := range st.edges {
			if e.live {
				edges[Edge{k.from, k.relation, k.to}] = true
			}
		}
	})
	return objects, edges
}
