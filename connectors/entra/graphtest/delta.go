package graphtest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// tokenLife is how long a link of directory objects is good (Rule GRAPH-18).
const tokenLife = 7 * 24 * time.Hour

// collection tells which objects a path asks the delta of: users, groups, or "".
// All four spellings are accepted (Rule GRAPH-6).
func collection(path string) string {
	kind, function, _ := strings.Cut(path, "/")
	if kind != "users" && kind != "groups" {
		return ""
	}
	switch function {
	case "delta", "delta()", "microsoft.graph.delta", "microsoft.graph.delta()":
		return kind
	}
	return ""
}

// entry is one element of a page's value.
type entry map[string]any

// round is what one delta query has to say, at the instant when it began.
type round struct {
	kind, path string
	selects    []string
	upto       int64 // what the deltaLink goes on from
	entries    []entry
	pages      [][]entry
}

// link is a nextLink (with a round) or deltaLink (without).
type link struct {
	round   *round
	page    int
	kind    string
	selects []string
	since   int64
	issued  time.Time
}

// page is an answer to a delta request, before faults.
type page struct {
	round   *round
	number  int
	value   []entry
	next    string // else delta
	delta   string
	request *http.Request
}

func expired() answer {
	return refuse(http.StatusBadRequest, "syncStateNotFound", "The sync state generation is not found; it may have expired.")
}

func (s *Server) delta(kind string, r *http.Request, fault Fault) answer {
	var rd *round
	number := 0
	switch where(r) {
	case Starts:
		if r.Form.Get("$expand")+r.Form.Get("$orderby")+r.Form.Get("$top") != "" {
			return refuse(http.StatusBadRequest, "Request_UnsupportedQuery", "The query option is not supported by delta (Rule GRAPH-8).")
		}
		selects := selected(r)
		for _, name := range selects {
			switch name {
			case "skills", "signInActivity": // kept outside the directory (Rule GRAPH-10)
				return refuse(http.StatusNotImplemented, "NotImplemented", "The property "+name+" is not trackable.")
			case "nonsense":
				return refuse(http.StatusBadRequest, "Request_BadRequest", "Could not find a property named '"+name+"' on type 'microsoft.graph."+strings.TrimSuffix(kind, "s")+"'.")
			}
		}
		if len(selects) == 0 && kind == "groups" {
			selects = []string{"displayName", members} // Rule GRAPH-9
		}
		rd = s.begin(kind, r.URL.Path, selects, 0, false, fault)
		if strings.EqualFold(r.Form.Get("$deltatoken"), "latest") { // Rule GRAPH-17
			rd.entries, rd.pages = nil, nil
		}
	default:
		// The link is good byte for byte, and not otherwise (Rule GRAPH-7).
		l := s.links[r.RequestURI]
		if l == nil || l.kind != kind || s.options.Now().Sub(l.issued) > tokenLife {
			return expired()
		}
		rd, number = l.round, l.page
		if rd == nil {
			rd = s.begin(kind, r.URL.Path, l.selects, l.since, prefersMinimal(r), fault)
		}
	}
	p := &page{round: rd, number: number, value: []entry{}, request: r}
	if number < len(rd.pages) {
		p.value = rd.pages[number]
	}
	if number+1 < len(rd.pages) {
		p.next = s.issue(rd.path, &link{round: rd, page: number + 1, kind: kind})
	} else {
		p.delta = s.issue(rd.path, &link{kind: kind, selects: rd.selects, since: rd.upto})
	}
	if fault.page != nil {
		fault.page(s, p)
	}
	body := map[string]any{"@odata.context": s.URL + "/v1.0/$metadata#" + kind, "value": p.value}
	if p.next != "" {
		body["@odata.nextLink"] = p.next
	} else {
		body["@odata.deltaLink"] = p.delta
	}
	a := reply(http.StatusOK, body)
	if prefersMinimal(r) {
		a.header.Set("Preference-Applied", "return=minimal")
	}
	return a
}

// prefersMinimal tells whether unchanged properties are to be left out (Rule
// GRAPH-16).
func prefersMinimal(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Prefer"), "return=minimal")
}

// issue makes a link. Tokens are opaque, their names come in mixed case, and
// they hold what a client that takes them apart would write differently.
func (s *Server) issue(path string, l *link) string {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails
	names := [...]string{"$deltatoken", "$deltaToken", "%24deltatoken"}
	if l.round != nil {
		names = [...]string{"$skiptoken", "$skipToken", "%24skiptoken"}
	}
	s.issued++
	uri := fmt.Sprintf("%s?%s=%s%%2D%%2e~!'%%7Ea", path, names[s.issued%len(names)], base64.RawURLEncoding.EncodeToString(b))
	l.issued = s.options.Now()
	s.links[uri] = l
	return s.URL + uri
}

// begin works out a round: what changed after since, in what is selected.
func (s *Server) begin(kind, path string, selects []string, since int64, minimal bool, fault Fault) *round {
	rd := &round{kind: kind, path: path, selects: selects, upto: s.state.number}
	if fault.stale > 0 {
		rd.upto = max(since, s.state.number-fault.stale)
	}
	of := map[string]string{"users": userType, "groups": groupType}[kind]
	var first, rest []entry
	for _, o := range s.state.order {
		if o.kind != of {
			continue
		}
		chunks := s.changes(o, selects, since, rd.upto, minimal)
		if len(chunks) > 0 {
			first, rest = append(first, chunks[0]), append(rest, chunks[1:]...)
		}
	}
	rd.entries = slices.Concat(first, rest)
	said := rd.entries
	if fault.round != nil {
		fault.round(s, rd)
	}
	if len(said) > 0 {
		s.last[kind] = said
	}
	rd.pages = slices.Collect(slices.Chunk(rd.entries, s.options.PageSize))
	return rd
}

// changes are the entries of one object, more than one if it has many edges.
func (s *Server) changes(o *object, selects []string, since, upto int64, minimal bool) []entry {
	changed := func(n int64) bool { return n > since && n <= upto }
	if o.state != live {
		if !changed(o.changed) {
			return nil
		}
		return []entry{{"id": o.id, "@removed": map[string]any{"reason": map[lifetime]string{soft: "changed", hard: "deleted"}[o.state]}}}
	}
	differs := changed(o.changed)
	for _, name := range selects {
		if p, ok := o.properties[name]; ok && changed(p.changed) {
			differs = true
		}
	}
	edges := map[string][]any{}
	longest := 0
	for _, e := range s.state.out[o.id] {
		if !changed(e.changed) || !slices.Contains(selects, e.relation) || e.relation == members && !s.shows(o) {
			continue
		}
		x := map[string]any{"@odata.type": s.state.kind(e.to), "id": e.to}
		if !e.live {
			x["@removed"] = map[string]any{"reason": "deleted"} // Rule GRAPH-11
		}
		edges[e.relation] = append(edges[e.relation], x)
		longest = max(longest, len(edges[e.relation]))
	}
	if !differs && longest == 0 {
		return nil
	}
	named := selects
	if minimal && !changed(o.changed) { // what is new, or was restored, comes whole
		named = slices.DeleteFunc(slices.Clone(selects), func(name string) bool { return !changed(o.properties[name].changed) })
	}
	var out []entry
	size := s.options.EdgesPerEntry
	for from := 0; from == 0 || from < longest; from += size {
		e := entry(o.render(named))
		for relation, list := range edges {
			if from < len(list) {
				e[relation+"@delta"] = list[from:min(from+size, len(list))]
			}
		}
		out = append(out, e)
	}
	return out
}

func cloneEntries(in []entry) []entry {
	out := make([]entry, len(in))
	for i, e := range in {
		out[i] = maps.Clone(e)
	}
	return out
}
