package entra

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ambit-iam/ambit/directory"
)

// reading is an object on its way into the mirror's words.
type reading struct {
	object object
	// whole: what is not named is not set. Otherwise it is as it was (Rule
	// GRAPH-16).
	whole      bool
	attributes map[string][]string
	faults     []string
}

// upsert hands on what a delta page says of an object. What is not enough to
// judge by is read again directly.
func (r *round) upsert(h *side, id directory.ObjectID, o object, out *directory.Page) {
	x := reading{object: o, whole: r.cursor.Mode == full, attributes: map[string][]string{}}
	var enough bool
	if h.kind == directory.KindUser {
		enough = x.user(r.selection.furtherUsers)
		if raw, ok := o["manager@delta"]; ok {
			enough = x.managerDelta(raw) && enough
		}
	} else {
		enough = x.group(r.selection.furtherGroups)
	}
	if !enough {
		h.readAgain(id)
		return
	}
	r.hand(h, id, x, out)
}

// hand gives a reading to the page.
func (r *round) hand(h *side, id directory.ObjectID, x reading, out *directory.Page) {
	if gone, err := x.deleted(); err != nil {
		// Its last good state stays in place (Rule SRC-10).
		out.Problems = append(out.Problems, directory.Problem{Object: id, Text: err.Error()})
		return
	} else if gone {
		r.takeRemoved(h, id)
		return
	}
	for _, fault := range x.faults {
		// Not given as the object's own problem: the rest of it counts.
		out.Problems = append(out.Problems, directory.Problem{Text: fmt.Sprintf("%s %s: %s", strings.TrimSuffix(h.name, "s"), id, fault)})
	}
	if len(x.attributes) == 0 && !x.whole {
		return
	}
	if h.kind == directory.KindUser {
		r.remarkUser(id, x)
	}
	out.Upserts = append(out.Upserts, directory.Upsert{
		Object: directory.Object{ID: id, Kind: h.kind, Attributes: x.attributes}, Partial: !x.whole,
	})
}

// set gives an attribute its values; none clear it.
func (x *reading) set(attribute string, values ...string) {
	switch {
	case len(values) > 0:
		x.attributes[attribute] = values
	case !x.whole:
		x.attributes[attribute] = []string{}
	}
}

// is tells whether the entry names the property, and whether that is null.
func (x *reading) is(property string) (named, null bool) {
	raw, ok := x.object[property]
	return ok, ok && string(raw) == "null"
}

// copy takes a property over under the attribute's name.
func (x *reading) copy(attribute, property string) {
	x.take(attribute, property, func(raw json.RawMessage) ([]string, error) { return scalars(raw) })
}

func (x *reading) take(attribute, property string, read func(json.RawMessage) ([]string, error)) {
	raw, ok := x.object[property]
	if !ok {
		return
	}
	values, err := read(raw)
	if err != nil {
		x.faults = append(x.faults, fmt.Sprintf("the value of %s was left out: %v; mend it in the directory", property, err))
		return
	}
	x.set(attribute, values...)
}

// user reads a user's properties, and tells whether they can be judged by. A
// user without a name is one whose properties may not be read (Rule GRAPH-4).
func (x *reading) user(further []string) bool {
	if !x.visible("userPrincipalName") {
		return false
	}
	x.copy(directory.AttrUserName, "userPrincipalName")
	x.copy(directory.AttrDisplayName, "displayName")
	x.copy(directory.AttrMail, "mail")
	x.copy(directory.AttrUserType, "userType")
	for _, property := range [...]string{"externalUserState", "onPremisesImmutableId", "onPremisesSecurityIdentifier"} {
		x.copy(property, property)
	}
	x.copy(directory.AttrEnabled, "accountEnabled")
	if named, null := x.is("accountEnabled"); null || x.whole && !named {
		x.set(directory.AttrEnabled, "false") // what cannot be judged denies
	}
	x.take(directory.AttrPlans, "assignedPlans", plans)
	x.take("assignedLicenses", "assignedLicenses", licences)
	x.further(further)
	return true
}

// visible tells whether the property that every object of the type has can be
// seen. Where it is left out as unchanged, a null elsewhere may be one that was
// cleared or one that may not be read (Rules GRAPH-4, GRAPH-16).
func (x *reading) visible(property string) bool {
	named, null := x.is(property)
	if named || x.whole {
		return named && !null
	}
	for _, raw := range x.object {
		if string(raw) == "null" {
			return false
		}
	}
	return true
}

// managerDelta reads the annotation, and tells whether it can be judged by: one
// that only takes a manager away may be an old one, which takes away another than
// the user has now (Rule GRAPH-19).
func (x *reading) managerDelta(raw json.RawMessage) bool {
	var list []struct {
		ID      string          `json:"id"`
		Removed json.RawMessage `json:"@removed"`
	}
	if json.Unmarshal(raw, &list) != nil {
		return false
	}
	now := map[string]bool{}
	for _, m := range list {
		if m.Removed == nil && m.ID != "" {
			now[m.ID] = true
		}
	}
	switch {
	case len(now) > 1, len(now) == 0 && len(list) > 0 && !x.whole:
		return false
	}
	for id := range now {
		x.set(directory.AttrManager, string(directory.ByID(directory.ObjectID(id))))
	}
	return true
}

// group reads a group's properties, and tells whether they can be judged by.
func (x *reading) group(further []string) bool {
	if !x.visible("displayName") {
		return false
	}
	x.copy(directory.AttrDisplayName, "displayName")
	x.copy(directory.AttrVisibility, "visibility")
	for _, property := range [...]string{
		"mailNickname", "groupTypes", directory.AttrRoleAssignable, "membershipRule", directory.AttrRuleState, "onPremisesSyncEnabled", "onPremisesSecurityIdentifier",
	} {
		x.copy(property, property)
	}
	x.further(further)
	return x.groupKind()
}

// groupKind works the kind out of three properties (Rule GRAPH-30), which must be
// there together.
func (x *reading) groupKind() bool {
	var types []string
	var security, mail bool
	n := 0
	for property, into := range map[string]any{"groupTypes": &types, "securityEnabled": &security, "mailEnabled": &mail} {
		if raw, ok := x.object[property]; ok && json.Unmarshal(raw, into) == nil {
			n++
		}
	}
	switch {
	case n == 0 && !x.whole:
		return true
	case n < 3:
		return false
	case slices.Contains(types, "Unified"):
		x.set(directory.AttrGroupKind, "m365")
	case security && mail:
		x.set(directory.AttrGroupKind, "mail-security")
	case security:
		x.set(directory.AttrGroupKind, "security")
	case mail:
		x.set(directory.AttrGroupKind, "distribution")
	default:
		x.set(directory.AttrGroupKind) // none that is known
	}
	return true
}

// further reads what rules name, under the names that they use.
func (x *reading) further(attributes []string) {
	for _, attribute := range attributes {
		property, field, nested := strings.Cut(attribute, ".")
		x.take(attribute, property, func(raw json.RawMessage) ([]string, error) {
			for nested && string(raw) != "null" {
				var fields map[string]json.RawMessage
				if err := json.Unmarshal(raw, &fields); err != nil {
					return nil, fmt.Errorf("%s has no fields", property)
				}
				var next string
				next, field, nested = strings.Cut(field, ".")
				if raw = fields[next]; raw == nil {
					return nil, nil
				}
			}
			return scalars(raw)
		})
	}
}

// deleted tells whether the object says itself that it was deleted.
func (x *reading) deleted() (bool, error) {
	named, null := x.is("deletedDateTime")
	if !named || null {
		return false, nil
	}
	var at time.Time
	if err := json.Unmarshal(x.object["deletedDateTime"], &at); err != nil {
		return false, fmt.Errorf("deletedDateTime cannot be read: %w", err)
	}
	return true, nil
}

// scalars reads a plain value, or a list of them, which Graph gives in no order.
func scalars(raw json.RawMessage) ([]string, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("it is not text in UTF-8")
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	out := make([]string, 0, len(list))
	for _, one := range list {
		var text string
		switch {
		case string(one) == "null":
			continue
		case len(one) > 0 && one[0] == '{':
			return nil, errors.New("it has fields, of which rules must name one")
		case json.Unmarshal(one, &text) != nil:
			text = string(one) // a number, true or false
		}
		if strings.ContainsRune(text, 0) {
			return nil, errors.New("it is not text")
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out, nil
}

// plans lists the service plans in force (Rule GRAPH-34).
func plans(raw json.RawMessage) ([]string, error) {
	var assigned []struct{ ServicePlanID, CapabilityStatus string }
	if err := json.Unmarshal(raw, &assigned); err != nil {
		return nil, err
	}
	var out []string
	for _, a := range assigned {
		if a.ServicePlanID != "" && (a.CapabilityStatus == "Enabled" || a.CapabilityStatus == "Warning") {
			out = append(out, strings.ToLower(a.ServicePlanID))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// licences lists the products assigned, by id.
func licences(raw json.RawMessage) ([]string, error) {
	var assigned []struct {
		SkuID string `json:"skuId"`
	}
	if err := json.Unmarshal(raw, &assigned); err != nil {
		return nil, err
	}
	var out []string
	for _, a := range assigned {
		out = append(out, strings.ToLower(a.SkuID))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (r *round) remark(text string, of directory.ObjectID) {
	m := r.said.remarks[text]
	if m.count++; m.count == 1 {
		m.of = of
	}
	r.said.remarks[text] = m
}

// remarkUser notes what is odd about a user (Rules GRAPH-31, SRC-11).
func (r *round) remarkUser(id directory.ObjectID, x reading) {
	if named, null := x.is("userType"); null || x.whole && !named {
		r.remark("have no userType and count as members", id)
	}
	if v, ok := x.attributes[directory.AttrUserType]; ok && len(v) > 0 && v[0] != "Member" && v[0] != "Guest" {
		r.remark(fmt.Sprintf("have the userType %q, which Ambit does not know", v[0]), id)
	}
	if named, null := x.is("accountEnabled"); null || x.whole && !named {
		r.remark("do not say whether the account is enabled, and count as disabled", id)
	}
}

// remarkType notes a member of a type that is not known. The edge is kept (Rule
// SRC-11).
func (r *round) remarkType(group directory.ObjectID, relation directory.Relation, odataType string) {
	switch odataType {
	case "", "#microsoft.graph.user", "#microsoft.graph.group", "#microsoft.graph.device", "#microsoft.graph.servicePrincipal", "#microsoft.graph.orgContact":
	default:
		r.remark(fmt.Sprintf("have a %s of type %q, which Ambit does not know; it is kept", relation, odataType), group)
	}
}
