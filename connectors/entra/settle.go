package entra

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

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
		for _, id := range h.Again {
			read := r.readUser
			if h.kind == directory.KindGroup {
				read = r.readGroup
			}
			isGone, err := read(h, id, &out)
			if err != nil {
				return out, fmt.Errorf("%s %s: %w", h.kind, id, err)
			}
			gone[id] = isGone
		}
		for _, id := range slices.Sorted(maps.Keys(gone)) {
			if gone[id] {
				out.Removed = append(out.Removed, id)
			}
		}
	}
	for _, text := range slices.Sorted(maps.Keys(r.said.remarks)) {
		m := r.said.remarks[text]
		out.Problems = append(out.Problems, directory.Problem{Text: fmt.Sprintf("%d objects %s; one is %s", m.count, text, m.of)})
	}
	r.cursor.Mode = ""
	for _, h := range r.halves {
		if r.said.inPart {
			// Its beginning may contradict the rest: everything is read once more.
			h.Link = h.Base
		}
		*h.half = half{Link: h.Link}
	}
	out.Cursor, out.Complete = r.cursor.bytes(), true
	return out, nil
}

// direct reads one object, and tells whether it is gone.
func (r *round) direct(h *side, id directory.ObjectID, out *directory.Page, take func(*reading) bool, build func() (*abstractions.RequestInformation, error)) (bool, error) {
	var o object
	err := r.graph.get(r.ctx, request{needs: h.needs, build: build}, &o)
	if gone(err) {
		return true, nil
	}
	if err != nil {
		return false, incomplete(err)
	}
	if read, err := o.id(); err != nil || read != id {
		return false, fmt.Errorf("%w: Graph answered with another object", directory.ErrIncomplete)
	}
	x := reading{object: o, whole: true, attributes: map[string][]string{}}
	if !take(&x) {
		out.Problems = append(out.Problems, directory.Problem{
			Object: id, Text: fmt.Sprintf("the %s's properties cannot be read; grant the application permission %s", h.kind, h.needs),
		})
		return false, nil
	}
	if isGone, err := x.deleted(); err == nil && isGone {
		return true, nil
	}
	r.hand(h, id, x, out)
	return false, nil
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

func (r *round) readUser(h *side, id directory.ObjectID, out *directory.Page) (bool, error) {
	return r.direct(h, id, out, func(x *reading) bool {
		if raw, ok := x.object["manager"]; ok {
			var manager struct{ ID string }
			if json.Unmarshal(raw, &manager) == nil && manager.ID != "" {
				x.set(directory.AttrManager, string(directory.ByID(directory.ObjectID(manager.ID))))
			}
		}
		return x.user(r.selection.furtherUsers)
	}, func() (*abstractions.RequestInformation, error) {
		return users.NewUsersRequestBuilderInternal(map[string]string{}, r.graph.adapter).ByUserId(string(id)).ToGetRequestInformation(r.ctx,
			&users.UserItemRequestBuilderGetRequestConfiguration{QueryParameters: &users.UserItemRequestBuilderGetQueryParameters{
				Select: without(r.selection.users, "manager"), Expand: []string{"manager($select=id)"},
			}})
	})
}

func (r *round) readGroup(h *side, id directory.ObjectID, out *directory.Page) (bool, error) {
	one := func() *groups.GroupItemRequestBuilder {
		return groups.NewGroupsRequestBuilderInternal(map[string]string{}, r.graph.adapter).ByGroupId(string(id))
	}
	isGone, err := r.direct(h, id, out, func(x *reading) bool { return x.group(r.selection.furtherGroups) }, func() (*abstractions.RequestInformation, error) {
		return one().ToGetRequestInformation(r.ctx, &groups.GroupItemRequestBuilderGetRequestConfiguration{
			QueryParameters: &groups.GroupItemRequestBuilderGetQueryParameters{Select: without(r.selection.groups, "members", "owners")},
		})
	})
	if err != nil || isGone {
		return isGone, err
	}
	top := int32(999)
	for relation, build := range map[directory.Relation]func() (*abstractions.RequestInformation, error){
		directory.Member: func() (*abstractions.RequestInformation, error) {
			return one().Members().ToGetRequestInformation(r.ctx, &groups.ItemMembersRequestBuilderGetRequestConfiguration{
				QueryParameters: &groups.ItemMembersRequestBuilderGetQueryParameters{Select: []string{"id"}, Top: &top},
			})
		},
		directory.Owner: func() (*abstractions.RequestInformation, error) {
			return one().Owners().ToGetRequestInformation(r.ctx, &groups.ItemOwnersRequestBuilderGetRequestConfiguration{
				QueryParameters: &groups.ItemOwnersRequestBuilderGetQueryParameters{Select: []string{"id"}, Top: &top},
			})
		},
	} {
		m := directory.Members{Group: id, Relation: relation, Whole: true}
		err := r.graph.list(r.ctx, request{needs: h.needs, build: build}, func(o object) error {
			far, err := o.id()
			m.Add = append(m.Add, directory.ByID(far))
			return err
		})
		if gone(err) {
			return true, nil // the group went meanwhile (Rule GRAPH-27)
		}
		if err != nil {
			return false, incomplete(err)
		}
		out.Members = append(out.Members, m)
	}
	return false, nil
}
