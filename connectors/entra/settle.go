package entra

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	abstractions "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoftgraph/msgraph-sdk-go/groups"
	"github.com/microsoftgraph/msgraph-sdk-go/users"

	"github.com/ambit-iam/ambit/directory"
)

// settle makes the round's last page. What the round contradicts itself about, or
// does not say enough of, is read directly, and that decides (Rules SRC-3,
// GRAPH-15). Objects that are gone are named here, not before.
func (r *round) settle() (directory.Page, error) {
	var out directory.Page
	for _, h := range r.halves {
		gone := map[directory.ObjectID]bool{}
		for _, id := range h.Removed {
			gone[id] = !h.again[id]
		}
		if err := r.readDirectly(h, gone, &out); err != nil {
			return out, err
		}
		for _, id := range slices.Sorted(maps.Keys(gone)) {
			if gone[id] {
				out.Removed = append(out.Removed, id)
			}
		}
	}
	r.noteUnseen(&out)
	if r.cursor.Mode == full {
		if err := r.compareCounts(&out); err != nil {
			return out, err
		}
	}
	for _, text := range slices.Sorted(maps.Keys(r.said.remarks)) {
		m := r.said.remarks[text]
		out.Problems = append(out.Problems, directory.Problem{Text: fmt.Sprintf("%d objects %s; one is %s", m.count, text, m.of)})
	}
	r.cursor.Mode, r.cursor.At = "", r.graph.now().UTC().Truncate(time.Second)
	for _, h := range r.halves {
		if r.said.inPart {
			// Its beginning may contradict the rest: everything is read once more.
			h.Link = h.Base
		}
		// Delta does not say again what it has said of those that could not be read.
		*h.half = half{Link: h.Link, Again: h.unread[:min(len(h.unread), maxUnread)], Hidden: h.Hidden, Shown: h.Shown}
	}
	out.Cursor, out.Complete = r.cursor.bytes(), true
	return out, nil
}

// maxUnread is how many objects that could not be read are asked for once more with
// the next round. Where there are more it is the permission that lacks, and the next
// full round brings them.
const maxUnread = 1000

// readDirectly reads the half's contradictory objects, in batches (Rule GRAPH-24),
// and notes which are gone.
func (r *round) readDirectly(h *side, gone map[directory.ObjectID]bool, out *directory.Page) error {
	build, take := r.userRequests, r.takeUser
	if h.kind == directory.KindGroup {
		build, take = r.groupRequests, r.takeGroup
	}
	each := len(build(h, ""))
	for ids := range slices.Chunk(h.Again, maxBatch/each) {
		var requests []request
		for _, id := range ids {
			requests = append(requests, build(h, string(id))...)
		}
		answers, err := r.graph.batch(r.ctx, requests)
		if err != nil {
			return fmt.Errorf("%ss: %w", h.kind, err)
		}
		for i, id := range ids {
			if gone[id], err = take(h, id, answers[i*each:(i+1)*each], out); err != nil {
				return fmt.Errorf("%s %s: %w", h.kind, id, err)
			}
		}
	}
	return nil
}

// direct takes one object that was read directly, and tells whether it is gone.
func (r *round) direct(h *side, id directory.ObjectID, a answer, out *directory.Page, take func(*reading) bool) (x reading, isGone bool, err error) {
	var o object
	err = a.decode(&o)
	if gone(err) {
		return x, true, nil
	}
	if err != nil {
		return x, false, incomplete(err)
	}
	if read, err := o.id(); err != nil || read != id {
		return x, false, fmt.Errorf("%w: Graph answered with another object", directory.ErrIncomplete)
	}
	x = reading{object: o, whole: true, attributes: map[string][]string{}}
	if !take(&x) {
		h.unread = append(h.unread, id)
		out.Problems = append(out.Problems, directory.Problem{
			Object: id, Text: fmt.Sprintf("the %s's properties cannot be read; grant the application permission %s", h.kind, h.needs),
		})
		return x, false, nil
	}
	if isGone, err := x.deleted(); err == nil && isGone {
		return x, true, nil
	}
	r.hand(h, id, x, out)
	return x, false, nil
}

// incomplete is for what Graph refuses in the middle of a round.
func incomplete(err error) error {
	var refused *refusal
	if errors.As(err, &refused) && !errors.Is(err, directory.ErrAuth) && !errors.Is(err, directory.ErrIncomplete) {
		return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
	}
	return err
}

func without(list []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(names, s) })
}

func (r *round) userRequests(h *side, id string) []request {
	return []request{{needs: h.needs, low: r.cursor.Mode == full, build: func() (*abstractions.RequestInformation, error) {
		return users.NewUsersRequestBuilderInternal(map[string]string{}, r.graph.adapter).ByUserId(id).ToGetRequestInformation(r.ctx,
			&users.UserItemRequestBuilderGetRequestConfiguration{QueryParameters: &users.UserItemRequestBuilderGetQueryParameters{
				Select: without(r.selection.users, "manager"), Expand: []string{"manager($select=id)"},
			}})
	}}}
}

func (r *round) takeUser(h *side, id directory.ObjectID, answers []answer, out *directory.Page) (bool, error) {
	_, isGone, err := r.direct(h, id, answers[0], out, func(x *reading) bool {
		if raw, ok := x.object["manager"]; ok {
			var manager struct{ ID string }
			if json.Unmarshal(raw, &manager) == nil && manager.ID != "" {
				x.set(directory.AttrManager, string(directory.ByID(directory.ObjectID(manager.ID))))
			}
		}
		return x.user(r.selection.furtherUsers)
	})
	return isGone, err
}

// groupRequests ask for the group, its members and its owners.
func (r *round) groupRequests(h *side, id string) []request {
	one := groups.NewGroupsRequestBuilderInternal(map[string]string{}, r.graph.adapter).ByGroupId(id)
	top := int32(999)
	builds := []func() (*abstractions.RequestInformation, error){
		func() (*abstractions.RequestInformation, error) {
			return one.ToGetRequestInformation(r.ctx, &groups.GroupItemRequestBuilderGetRequestConfiguration{
				QueryParameters: &groups.GroupItemRequestBuilderGetQueryParameters{Select: without(r.selection.groups, "members", "owners")},
			})
		},
		func() (*abstractions.RequestInformation, error) {
			return one.Members().ToGetRequestInformation(r.ctx, &groups.ItemMembersRequestBuilderGetRequestConfiguration{
				QueryParameters: &groups.ItemMembersRequestBuilderGetQueryParameters{Select: []string{"id"}, Top: &top},
			})
		},
		func() (*abstractions.RequestInformation, error) {
			return one.Owners().ToGetRequestInformation(r.ctx, &groups.ItemOwnersRequestBuilderGetRequestConfiguration{
				QueryParameters: &groups.ItemOwnersRequestBuilderGetQueryParameters{Select: []string{"id"}, Top: &top},
			})
		},
	}
	var out []request
	for _, build := range builds {
		out = append(out, request{needs: h.needs, low: r.cursor.Mode == full, build: build})
	}
	return out
}

func (r *round) takeGroup(h *side, id directory.ObjectID, answers []answer, out *directory.Page) (bool, error) {
	x, isGone, err := r.direct(h, id, answers[0], out, func(x *reading) bool { return x.group(r.selection.furtherGroups) })
	if err != nil || isGone {
		return isGone, err
	}
	for i, relation := range [...]directory.Relation{directory.Member, directory.Owner} {
		m := directory.Members{Group: id, Relation: relation, Whole: true}
		err := r.graph.pages(r.ctx, request{needs: h.needs}, answers[i+1].decode, func(o object) error {
			far, err := o.id()
			m.Add = append(m.Add, directory.ByID(far))
			return err
		})
		switch {
		case gone(err):
			return true, nil // the group went meanwhile (Rule GRAPH-27)
		case err != nil:
			return false, incomplete(err)
		}
		if relation == directory.Member {
			h.noteHidden(id, x.object, len(m.Add) > 0)
			if len(m.Add) == 0 && x.object.hidesMembers() && !r.seesHidden() {
				continue // noteUnseen tells of it
			}
		}
		out.Members = append(out.Members, m)
	}
	return false, nil
}
