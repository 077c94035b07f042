package entra

import (
	"maps"
	"slices"

	"github.com/ambit-iam/ambit/directory"
)

// memberReadHidden is the permission without which Graph shows groups that hide
// their members as empty (Rule GRAPH-3).
const memberReadHidden = "Member.Read.Hidden"

// hiddenMembership is the visibility of groups that show their members to nobody else.
const hiddenMembership = "HiddenMembership"

// hidesMembers tells whether the group shows its members to nobody else.
func (o object) hidesMembers() bool { return o.text("visibility") == hiddenMembership }

// noteHidden notes whether a group hides its members, and shows us one all the same.
func (h *side) noteHidden(id directory.ObjectID, o object, shows bool) {
	if !o.hidesMembers() {
		if _, named := o["visibility"]; named {
			delete(h.Hidden, id)
		}
		return
	}
	if h.Hidden == nil {
		h.Hidden = map[directory.ObjectID]bool{}
	}
	if _, known := h.Hidden[id]; !known || shows {
		h.Hidden[id] = !shows
	}
	h.Shown = h.Shown || shows
}

// seesHidden tells whether hidden members are shown to us: the token says so, or,
// where it cannot be read, some group has shown one.
func (r *round) seesHidden() bool {
	held, known := r.graph.credential.holds(memberReadHidden)
	return held || !known && r.cursor.Groups.Shown
}

// noteUnseen tells of the groups whose members we do not see. They keep those that
// they had: that members are unknown does not mean that there are none.
func (r *round) noteUnseen(out *directory.Page) {
	h := &r.cursor.Groups
	sees := r.seesHidden()
	for _, id := range slices.Sorted(maps.Keys(h.Hidden)) {
		h.Hidden[id] = !sees && (h.Hidden[id] || r.cursor.Mode == delta)
		if h.Hidden[id] {
			out.Problems = append(out.Problems, unseen(id))
		}
	}
}

func unseen(group directory.ObjectID) directory.Problem {
	return directory.Problem{Object: group, Text: "the group hides its members: it keeps those that it had; grant the application permission " + memberReadHidden}
}

// sawNothing tells whether there are groups whose members were not shown before the
// round, and are now: that is no change of which a delta would tell.
func (r *round) sawNothing() bool {
	return r.cursor.Mode == delta && slices.Contains(slices.Collect(maps.Values(r.cursor.Groups.Hidden)), true) && r.seesHidden()
}
