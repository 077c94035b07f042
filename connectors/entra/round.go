package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"net/http"
	"slices"

	abstractions "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoftgraph/msgraph-sdk-go/groups"
	"github.com/microsoftgraph/msgraph-sdk-go/users"

	"github.com/ambit-iam/ambit/directory"
)

// maxIdlePages is how many pages in a row may say nothing new before the chain of
// links is taken for endless (Rule GRAPH-20). Large tenants do give long runs of
// empty pages.
const maxIdlePages = 1000

// page is an answer to a delta query.
type page struct {
	Value *[]object `json:"value"`
	Next  string    `json:"@odata.nextLink"`
	Delta string    `json:"@odata.deltaLink"`
}

// object is one as it came: a property is absent, null or there (Rule GRAPH-16).
type object map[string]json.RawMessage

// round is one round in progress.
type round struct {
	ctx       context.Context
	graph     *graph
	cursor    cursor
	selection selection
	yield     func(directory.Page) error
	halves    []*side
	said      *said
}

// said is what a round has said so far: what it says twice is no news, and what
// it contradicts is found (Rules SRC-3, GRAPH-15). It holds hashes: one that two
// things share costs a needless read.
type said struct {
	seed    maphash.Seed
	objects map[uint64]uint64      // by id: what was said of it
	edges   map[uint64]bool        // true: is there, false: is gone
	there   map[directory.Kind]int // how many objects it said are there
	// remarks are shown once a round, not once an object.
	remarks map[string]remark

	// inPart: another process read the round's beginning, and what that said is not
	// known.
	inPart bool
	// upto is the cursor that covers it; nil while a page is on its way.
	upto []byte
}

func newSaid() *said {
	return &said{seed: maphash.MakeSeed(), objects: map[uint64]uint64{}, edges: map[uint64]bool{}, there: map[directory.Kind]int{}, remarks: map[string]remark{}}
}

// remark is how many objects something is to be said of, and one of them.
type remark struct {
	count int
	of    directory.ObjectID
}

// side is one half of a round, and how it is read.
type side struct {
	*half
	kind   directory.Kind
	name   string
	needs  string
	begins func() (*abstractions.RequestInformation, error)
	counts func() (*abstractions.RequestInformation, error)
	ahead  *page
	again  map[directory.ObjectID]bool
	// unread are those whose properties could not be read.
	unread []directory.ObjectID
}

// saidGone stands for what is said of an object that is gone.
const saidGone = 0

// newRound makes a round that is read from the cursor on. The SDK's own spelling of
// delta is sent (Rule GRAPH-6).
func newRound(ctx context.Context, g *graph, c cursor, s selection, before *said, yield func(directory.Page) error) *round {
	r := &round{ctx: ctx, graph: g, cursor: c, selection: s, yield: yield, said: before}
	r.halves = []*side{
		{half: &r.cursor.Users, kind: directory.KindUser, name: "users", needs: "User.Read.All", begins: func() (*abstractions.RequestInformation, error) {
			return users.NewUsersRequestBuilderInternal(map[string]string{}, g.adapter).Delta().ToGetRequestInformation(ctx,
				&users.DeltaRequestBuilderGetRequestConfiguration{QueryParameters: &users.DeltaRequestBuilderGetQueryParameters{Select: s.users}})
		}, counts: func() (*abstractions.RequestInformation, error) {
			return users.NewCountRequestBuilderInternal(map[string]string{}, g.adapter).ToGetRequestInformation(ctx, nil)
		}},
		{half: &r.cursor.Groups, kind: directory.KindGroup, name: "groups", needs: "GroupMember.Read.All", begins: func() (*abstractions.RequestInformation, error) {
			return groups.NewGroupsRequestBuilderInternal(map[string]string{}, g.adapter).Delta().ToGetRequestInformation(ctx,
				&groups.DeltaRequestBuilderGetRequestConfiguration{QueryParameters: &groups.DeltaRequestBuilderGetQueryParameters{Select: s.groups}})
		}, counts: func() (*abstractions.RequestInformation, error) {
			return groups.NewCountRequestBuilderInternal(map[string]string{}, g.adapter).ToGetRequestInformation(ctx, nil)
		}},
	}
	for _, h := range r.halves {
		h.again = map[directory.ObjectID]bool{}
		for _, id := range h.Again {
			h.again[id] = true
		}
		for _, id := range h.Removed {
			r.said.objects[r.hash(string(id))] = saidGone
		}
	}
	return r
}

// deadLink is a link that Graph gave and does not know any more.
type deadLink struct{ error }

func (d deadLink) Unwrap() error { return d.error }

func isDead(err error) bool {
	var d deadLink
	return errors.As(err, &d)
}

// readAhead gets the first page of a half that has not ended.
func (r *round) readAhead(h *side) error {
	if h.Done {
		return nil
	}
	p, err := r.fetch(h)
	h.ahead = p
	return err
}

// fetch gets the page at the half's link.
func (r *round) fetch(h *side) (*page, error) {
	var p page
	ask := request{link: h.Link, build: h.begins, needs: h.needs, low: r.cursor.Mode == full}
	if r.cursor.Mode == delta {
		ask.headers = map[string]string{"Prefer": "return=minimal"} // Rule GRAPH-16
	}
	err := r.graph.get(r.ctx, ask, &p)
	var refused *refusal
	switch {
	case errors.Is(err, directory.ErrAuth), errors.Is(err, directory.ErrIncomplete):
		return nil, fmt.Errorf("read %s: %w", h.name, err)
	case errors.As(err, &refused) && h.Link != "" && refused.status < http.StatusInternalServerError:
		// Whatever the code: a link that cannot be followed is of no use.
		return nil, fmt.Errorf("read %s: %w", h.name, deadLink{err})
	case refused != nil:
		return nil, fmt.Errorf("read %s: %w: %w; see which attributes the rules name", h.name, directory.ErrIncomplete, err)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", h.name, err)
	case p.Value == nil:
		return nil, fmt.Errorf("read %s: %w: a page has no value", h.name, directory.ErrIncomplete)
	case (p.Next == "") == (p.Delta == ""):
		return nil, fmt.Errorf("read %s: %w: a page has not exactly one of nextLink and deltaLink (Rule GRAPH-7)", h.name, directory.ErrIncomplete)
	}
	return &p, nil
}

// follow reads a half to its deltaLink.
func (r *round) follow(h *side) error {
	visited := map[string]bool{}
	for idle := 0; !h.Done; {
		p := h.ahead
		if h.ahead = nil; p == nil {
			var err error
			if p, err = r.fetch(h); err != nil {
				return err
			}
		}
		visited[h.Link] = true
		r.said.upto = nil
		before := len(r.said.objects) + len(r.said.edges)
		out, err := r.take(h, *p.Value)
		if err != nil {
			return fmt.Errorf("read %s: %w: %w", h.name, directory.ErrIncomplete, err)
		}
		if idle++; len(r.said.objects)+len(r.said.edges) > before {
			idle = 0
		}
		if err := r.graph.own(p.Next + p.Delta); err != nil {
			return r.abandon(fmt.Errorf("read %s: %w", h.name, err))
		}
		if p.Next != "" && visited[p.Next] || idle > maxIdlePages {
			return r.abandon(fmt.Errorf("read %s: %w: the links go round in a circle, or go on for ever without anything new (Rule GRAPH-20)", h.name, directory.ErrIncomplete))
		}
		h.Link, h.Done = p.Next+p.Delta, p.Delta != ""
		out.Cursor = r.cursor.bytes()
		if err := r.yield(out); err != nil {
			return err
		}
		r.said.upto = out.Cursor
	}
	return nil
}

// abandon ends a round whose links lead nowhere, so that it is not resumed: its
// cursor is one that no round begins with.
func (r *round) abandon(reason error) error {
	r.cursor.Mode = "abandoned"
	return errors.Join(reason, r.yield(directory.Page{Cursor: r.cursor.bytes()}))
}

// take reads a page's objects.
func (r *round) take(h *side, value []object) (directory.Page, error) {
	var out directory.Page
	for _, o := range value {
		id, err := o.id()
		if err != nil {
			return out, err
		}
		if o.removed() {
			r.takeRemoved(h, id)
			continue
		}
		if r.says(h, id, r.content(o)) {
			r.upsert(h, id, o, &out)
		}
		if h.kind == directory.KindGroup {
			if err := r.takeRelations(h, id, o, &out); err != nil {
				return out, fmt.Errorf("group %s: %w", id, err)
			}
		}
	}
	return out, nil
}

func (o object) id() (directory.ObjectID, error) {
	var id string
	if err := json.Unmarshal(o["id"], &id); err != nil || id == "" {
		return "", errors.New("an object has no id")
	}
	return directory.ObjectID(id), nil
}

// text is a property's value, "" if it is no text.
func (o object) text(property string) string {
	var text string
	_ = json.Unmarshal(o[property], &text) // what is no text is none
	return text
}

func (o object) removed() bool {
	_, ok := o["@removed"]
	return ok
}

// takeRemoved notes that an object is gone, softly or for good: both end access
// at once (Rule GRAPH-12).
func (r *round) takeRemoved(h *side, id directory.ObjectID) {
	delete(h.Hidden, id)
	if r.says(h, id, saidGone) {
		h.Removed = append(h.Removed, id)
	}
}

// takeRelations reads a part of a group's members and owners.
func (r *round) takeRelations(h *side, id directory.ObjectID, o object, out *directory.Page) error {
	shows := false
	for property, relation := range map[string]directory.Relation{"members@delta": directory.Member, "owners@delta": directory.Owner} {
		raw, ok := o[property]
		if !ok {
			continue
		}
		added, err := r.takeEdges(h, id, relation, raw, out)
		if err != nil {
			return fmt.Errorf("%s: %w", property, err)
		}
		shows = shows || added > 0 && relation == directory.Member
	}
	if h.Hidden[id] && r.cursor.Mode == delta && o["visibility"] != nil && !o.hidesMembers() {
		h.readAgain(id) // its members were not told of
	}
	h.noteHidden(id, o, shows)
	return nil
}

// takeEdges reads a part of a group's edges (Rules GRAPH-11, GRAPH-14), and
// returns how many there are of those that it adds.
func (r *round) takeEdges(h *side, group directory.ObjectID, relation directory.Relation, raw json.RawMessage, out *directory.Page) (added int, err error) {
	var list []struct {
		Type    string          `json:"@odata.type"`
		ID      string          `json:"id"`
		Removed json.RawMessage `json:"@removed"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return 0, err
	}
	m := directory.Members{Group: group, Relation: relation}
	for _, far := range list {
		if far.ID == "" {
			return 0, errors.New("an edge has no id")
		}
		isThere := far.Removed == nil
		k := r.hash(string(group), relation.String(), far.ID)
		before, again := r.said.edges[k]
		if again && before != isThere {
			h.readAgain(group)
		}
		r.said.edges[k] = isThere
		ref := directory.ByID(directory.ObjectID(far.ID))
		if isThere {
			r.takeFar(directory.ObjectID(far.ID), far.Type)
			m.Add = append(m.Add, ref)
			r.remarkType(group, relation, far.Type)
			continue
		}
		m.Remove = append(m.Remove, ref)
	}
	if len(list) > 0 {
		out.Members = append(out.Members, m)
	}
	return len(m.Add), nil
}

// takeFar looks at an edge's far end. If the round said that it is gone, it may
// have come back since, and its edges with it: they come this once.
func (r *round) takeFar(id directory.ObjectID, odataType string) {
	if content, ok := r.said.objects[r.hash(string(id))]; ok && content == saidGone {
		h := r.halves[0]
		if odataType == "#microsoft.graph.group" {
			h = r.halves[1]
		}
		h.readAgain(id)
	}
}

// says notes what the round says of an object, and tells whether that is news.
// Two different things are a contradiction.
func (r *round) says(h *side, id directory.ObjectID, content uint64) bool {
	k := r.hash(string(id))
	before, again := r.said.objects[k]
	if again && before != content {
		h.readAgain(id)
	}
	r.said.objects[k] = content
	if is, was := content != saidGone, again && before != saidGone; is && !was {
		r.said.there[h.kind]++
	} else if was && !is {
		r.said.there[h.kind]--
	}
	return !again || before != content
}

func (h *side) readAgain(id directory.ObjectID) {
	if !h.again[id] {
		h.again[id] = true
		h.Again = append(h.Again, id)
	}
}

func (r *round) hash(parts ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(r.said.seed)
	for _, p := range parts {
		_, _ = h.WriteString(p) // never fails
		_ = h.WriteByte(0)
	}
	return h.Sum64()
}

// content is what an object's entry says, besides a group's edges: they come in
// parts.
func (r *round) content(o object) uint64 {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if name != "members@delta" && name != "owners@delta" {
			parts = append(parts, name, string(o[name]))
		}
	}
	return r.hash(parts...) | 1 // not saidGone
}
