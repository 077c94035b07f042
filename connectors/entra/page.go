package entra

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ambit-iam/ambit/directory"
)

// page is one answer of a delta query or a list.
type page struct {
	Value []item `json:"value"`
	Next  string `json:"@odata.nextLink"`
	Delta string `json:"@odata.deltaLink"`
}

// item is an object as it came: a property that is absent, null or there.
type item map[string]json.RawMessage

// text returns a property that is text, or "".
func (i item) text(name string) string {
	var s string
	if json.Unmarshal(i[name], &s) != nil {
		return ""
	}
	return s
}

// removed tells whether the object or edge is gone (Rules GRAPH-11, GRAPH-12).
func (i item) removed() bool {
	_, ok := i["@removed"]
	return ok
}

// attributes reads the properties that are plain values; a null one is there
// without values, which clears it (Rule GRAPH-16).
func (i item) attributes() map[string][]string {
	out := map[string][]string{}
	for name, raw := range i {
		if name == "id" || strings.Contains(name, "@") || name == "assignedPlans" || name == "manager" {
			continue
		}
		var v any
		if json.Unmarshal(raw, &v) != nil {
			continue
		}
		switch v := v.(type) {
		case nil:
			out[name] = nil
		case string:
			out[name] = []string{v}
		case bool:
			out[name] = []string{strconv.FormatBool(v)}
		case float64:
			out[name] = []string{strconv.FormatFloat(v, 'f', -1, 64)}
		case []any:
			var list []string
			for _, e := range v {
				if s, ok := e.(string); ok {
					list = append(list, s)
				}
			}
			slices.Sort(list)
			out[name] = list
		}
	}
	return out
}

// note remembers what the round said of an object, and finds a contradiction: two
// different things about one object on different pages (Rule SRC-3). The same
// thing twice is no news. It tells whether the object is disputed.
func (r *round) note(id string, i item, relations ...string) bool {
	plain := make(item, len(i))
	for name, raw := range i {
		if !slices.Contains(relations, name) {
			plain[name] = raw
		}
	}
	b, err := json.Marshal(plain) // keys are sorted
	if err != nil {
		b = nil
	}
	now := sighting{removed: i.removed(), said: sha256.Sum256(b)}
	before, again := r.seen[id]
	if again && (before.disputed || before != now) {
		now.disputed = true
	}
	first := now.disputed && !before.disputed
	r.seen[id] = now
	return first
}

// kinds maps Graph's types to ours; others are kept as what they are (Rule SRC-11).
func kind(odataType string) directory.Kind {
	switch odataType {
	case "#microsoft.graph.user":
		return directory.KindUser
	case "#microsoft.graph.group":
		return directory.KindGroup
	case "":
		return directory.KindUnknown
	}
	return directory.KindOther
}

func (r *round) user(i item, p *directory.Page) error {
	id := i.text("id")
	if id == "" {
		return fmt.Errorf("%w: a user has no id", directory.ErrIncomplete)
	}
	if r.note(id, i) {
		r.cursor.Disputed.Users = append(r.cursor.Disputed.Users, id)
	}
	if i.removed() {
		p.Removed = append(p.Removed, directory.ObjectID(id))
		return nil
	}
	a := i.attributes()
	rename(a, directory.AttrUserName, "userPrincipalName")
	rename(a, directory.AttrEnabled, "accountEnabled")
	if raw, ok := i["assignedPlans"]; ok {
		plans, err := plans(raw)
		if err != nil {
			p.Problems = append(p.Problems, directory.Problem{Object: directory.ObjectID(id), Text: "assignedPlans cannot be read: " + err.Error()})
		} else {
			a[directory.AttrPlans] = plans
		}
	}
	if raw, ok := i["manager@delta"]; ok {
		var links []item
		if err := json.Unmarshal(raw, &links); err != nil {
			return fmt.Errorf("%w: decode the manager of user %s: %w", directory.ErrIncomplete, id, err)
		}
		a[directory.AttrManager] = nil
		for _, l := range links {
			if !l.removed() {
				a[directory.AttrManager] = []string{string(directory.ByID(directory.ObjectID(l.text("id"))))}
			}
		}
	}
	if limited(a) {
		// Without the right to the type, everything is null (Rule GRAPH-4).
		p.Problems = append(p.Problems, directory.Problem{Object: directory.ObjectID(id), Text: "only the id can be read; grant User.Read.All"})
		return nil
	}
	p.Upserts = append(p.Upserts, directory.Upsert{Partial: true, Object: directory.Object{ID: directory.ObjectID(id), Kind: directory.KindUser, Attributes: a}})
	return nil
}

// limited tells whether there are properties and all of them are null.
func limited(a map[string][]string) bool {
	for _, v := range a {
		if len(v) > 0 {
			return false
		}
	}
	return len(a) > 2
}

func rename(a map[string][]string, to, from string) {
	if v, ok := a[from]; ok {
		a[to] = v
	}
}

// plans lists the service plans in force: enabled or in warning (Rule GRAPH-34).
func plans(raw json.RawMessage) ([]string, error) {
	var assigned []struct {
		ServicePlanID    string `json:"servicePlanId"`
		CapabilityStatus string `json:"capabilityStatus"`
	}
	if err := json.Unmarshal(raw, &assigned); err != nil {
		return nil, err
	}
	var out []string
	for _, a := range assigned {
		if a.CapabilityStatus == "Enabled" || a.CapabilityStatus == "Warning" {
			out = append(out, a.ServicePlanID)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (r *round) group(i item, p *directory.Page) error {
	id := i.text("id")
	if id == "" {
		return fmt.Errorf("%w: a group has no id", directory.ErrIncomplete)
	}
	// A group comes on many pages, each with a part of its edges (Rule GRAPH-14).
	if r.note(id, i, "members@delta", "owners@delta") {
		r.cursor.Disputed.Groups = append(r.cursor.Disputed.Groups, id)
	}
	if i.removed() {
		p.Removed = append(p.Removed, directory.ObjectID(id))
		return nil
	}
	a := i.attributes()
	if k := groupKind(i); k != "" {
		a[directory.AttrGroupKind] = []string{k}
	}
	if !limited(a) {
		p.Upserts = append(p.Upserts, directory.Upsert{Partial: true, Object: directory.Object{ID: directory.ObjectID(id), Kind: directory.KindGroup, Attributes: a}})
	} else {
		p.Problems = append(p.Problems, directory.Problem{Object: directory.ObjectID(id), Text: "only the id can be read; grant GroupMember.Read.All"})
	}
	for name, relation := range map[string]directory.Relation{"members@delta": directory.Member, "owners@delta": directory.Owner} {
		raw, ok := i[name]
		if !ok {
			continue
		}
		var far []item
		if err := json.Unmarshal(raw, &far); err != nil {
			return fmt.Errorf("%w: decode %s of group %s: %w", directory.ErrIncomplete, name, id, err)
		}
		list := directory.Members{Group: directory.ObjectID(id), Relation: relation}
		for _, f := range far {
			ref := directory.ByID(directory.ObjectID(f.text("id")))
			e := directory.Edge{Group: list.Group, Relation: relation, Far: ref}
			if added, again := r.edges[e]; again && added == f.removed() {
				r.cursor.Disputed.Edges = append(r.cursor.Disputed.Edges, e)
			}
			r.edges[e] = !f.removed()
			if f.removed() {
				list.Remove = append(list.Remove, ref)
				continue
			}
			list.Add = append(list.Add, ref)
			if kind(f.text("@odata.type")) == directory.KindOther {
				p.Upserts = append(p.Upserts, directory.Upsert{Partial: true, Object: directory.Object{
					ID: directory.ObjectID(f.text("id")), Kind: directory.KindOther, Attributes: map[string][]string{"type": {f.text("@odata.type")}},
				}})
			}
		}
		p.Members = append(p.Members, list)
	}
	slices.SortFunc(p.Members, func(a, b directory.Members) int { return strings.Compare(string(a.Group), string(b.Group)) })
	return nil
}

// groupKind reads the kind where the page says enough for it (Rule GRAPH-30).
func groupKind(i item) string {
	var types []string
	var security, mail bool
	if json.Unmarshal(i["groupTypes"], &types) != nil || json.Unmarshal(i["securityEnabled"], &security) != nil {
		return ""
	}
	if raw, ok := i["mailEnabled"]; ok && json.Unmarshal(raw, &mail) != nil {
		return ""
	}
	switch {
	case slices.Contains(types, "Unified"):
		return "m365"
	case security && mail:
		return "mail-security"
	case security:
		return "security"
	}
	return "distribution"
}
