package entra

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	abstractions "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoftgraph/msgraph-sdk-go/groups"
	"github.com/microsoftgraph/msgraph-sdk-go/users"

	"github.com/ambit-iam/ambit/directory"
)

// permissions are the least that a read needs (Rule GRAPH-3).
var permissions = []string{"User.Read.All", "GroupMember.Read.All", "Member.Read.Hidden (for groups with hidden membership)"}

// Source reads one tenant.
type Source struct {
	config Config
	pause  time.Duration // the first, where the service does not say how long
}

// New makes a source of a valid configuration; it does not connect.
func New(c Config) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Source{c.withDefaults(), 200 * time.Millisecond}, nil
}

// The properties that a delta query selects (Rule GRAPH-10): what is not selected
// neither comes nor counts as a change.
var (
	userSelect = []string{
		"id", "userPrincipalName", "displayName", "mail", "accountEnabled", "userType", "assignedPlans", "externalUserState",
		"onPremisesImmutableId", "employeeId", "department", "manager",
	}
	groupSelect = []string{
		"id", "displayName", "mailEnabled", "securityEnabled", "groupTypes", "isAssignableToRole", "membershipRuleProcessingState",
		"visibility", "members", "owners",
	}
)

func (s *Source) selects(extra []string) (forUsers, forGroups []string) {
	return merged(userSelect, extra), groupSelect
}

// merged adds the attributes that rules name and that are not the connector's own.
func merged(own, extra []string) []string {
	out := slices.Clone(own)
	for _, e := range extra {
		if !slices.Contains(out, e) && !slices.Contains(translated, e) {
			out = append(out, e)
		}
	}
	return out
}

// translated are the names that the connector makes out of others.
var translated = []string{
	directory.AttrUserName, directory.AttrEnabled, directory.AttrPlans, directory.AttrGroupKind,
}

// cursor is what is stored between reads. Links are kept byte for byte.
type cursor struct {
	// Identity is of what gave the links (Rule SRC-2).
	Identity string `json:"identity"`
	// Users and Groups are the delta links of the last complete round.
	Users  string `json:"users,omitempty"`
	Groups string `json:"groups,omitempty"`
	// Next is where a round that is not complete goes on, in the phase of users or
	// groups; Done is the users' new delta link once that phase is over.
	Next     string `json:"next,omitempty"`
	OnGroups bool   `json:"on_groups,omitempty"`
	Done     string `json:"done,omitempty"`
	// Disputed is what that round has contradicted itself about so far. Resumed
	// tells that it may have done so unseen: before and after an interruption.
	Disputed disputed `json:"disputed,omitzero"`
	Resumed  bool     `json:"resumed,omitempty"`
}

// disputed lists what a round contradicts itself about (Rule SRC-3).
type disputed struct {
	Users  []string         `json:"users,omitempty"`
	Groups []string         `json:"groups,omitempty"`
	Edges  []directory.Edge `json:"edges,omitempty"`
}

func (c cursor) bytes() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic("internal error: Graph cursor: " + err.Error())
	}
	return b
}

func (s *Source) identity(extra []string) string {
	forUsers, forGroups := s.selects(extra)
	sum := sha256.Sum256([]byte(strings.Join([]string{
		s.config.TenantID, s.config.Cloud, s.config.GraphEndpoint, strings.Join(forUsers, ","), strings.Join(forGroups, ","),
	}, "\x00")))
	return hex.EncodeToString(sum[:])
}

// Read runs one round: users, then groups (Rule GRAPH-21).
func (s *Source) Read(ctx context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
	at := cursor{Identity: s.identity(start.Attributes)}
	if start.Cursor != nil {
		if err := json.Unmarshal(start.Cursor, &at); err != nil || at.Identity != s.identity(start.Attributes) {
			return fmt.Errorf("the source's configuration or the attributes that rules name have changed: %w", directory.ErrCursorExpired)
		}
	}
	g, err := newGraph(s.config, s.pause)
	if err != nil {
		return err
	}
	defer func() { g.close() }()
	mode := directory.Full
	if at.Users != "" {
		mode = directory.Delta
	}
	if !start.Resumed {
		at.Next, at.OnGroups, at.Done, at.Disputed = "", false, "", disputed{}
	}
	at.Resumed = start.Resumed
	r := &round{ctx: ctx, graph: g, cursor: at, mode: mode, yield: yield, seen: map[string]sighting{}, edges: map[directory.Edge]bool{}}
	r.begin = func() error { return begin(mode) }
	forUsers, forGroups := s.selects(start.Attributes)
	r.userSelect = slices.DeleteFunc(slices.Clone(forUsers), func(name string) bool { return name == "manager" })
	if !r.cursor.OnGroups {
		link, err := r.phase(r.cursor.Users, func() (*abstractions.RequestInformation, error) {
			return g.sdk.Users().Delta().ToGetRequestInformation(ctx, &users.DeltaRequestBuilderGetRequestConfiguration{
				QueryParameters: &users.DeltaRequestBuilderGetQueryParameters{Select: forUsers},
			})
		}, func(link string) (*abstractions.RequestInformation, error) {
			return g.sdk.Users().Delta().WithUrl(link).ToGetRequestInformation(ctx, nil)
		}, r.user)
		if err != nil {
			return fmt.Errorf("read users: %w", err)
		}
		r.cursor.Done, r.cursor.OnGroups, r.cursor.Next = link, true, ""
	}
	link, err := r.phase(r.cursor.Groups, func() (*abstractions.RequestInformation, error) {
		return g.sdk.Groups().Delta().ToGetRequestInformation(ctx, &groups.DeltaRequestBuilderGetRequestConfiguration{
			QueryParameters: &groups.DeltaRequestBuilderGetQueryParameters{Select: forGroups},
		})
	}, func(link string) (*abstractions.RequestInformation, error) {
		return g.sdk.Groups().Delta().WithUrl(link).ToGetRequestInformation(ctx, nil)
	}, r.group)
	if err != nil {
		return fmt.Errorf("read groups: %w", err)
	}
	last, err := r.settle()
	if err != nil {
		return fmt.Errorf("read again what the round contradicts: %w", err)
	}
	end := cursor{Identity: at.Identity, Users: r.cursor.Done, Groups: link}
	if at.Resumed {
		// Nobody compared what came before the interruption with what came after it,
		// and a delta would not come back to it: the next round is full again.
		end.Users, end.Groups = "", ""
	}
	last.Cursor = end.bytes()
	last.Complete = true
	return r.yield(last)
}

// round is one round in progress.
type round struct {
	ctx    context.Context
	graph  *graph
	cursor cursor
	mode   directory.Mode
	begin  func() error
	begun  bool
	// userSelect is for reading one user again.
	userSelect []string
	yield      func(directory.Page) error

	// seen and edges hold what this read has said, to find where the round
	// contradicts itself (Rules SRC-3, GRAPH-15).
	seen  map[string]sighting
	edges map[directory.Edge]bool // true: added
}

// sighting is what was said of an object.
type sighting struct {
	removed  bool
	said     [sha256.Size]byte
	disputed bool
}

// maxIdlePages ends a chain of links that says nothing new (Rule GRAPH-20).
const maxIdlePages = 1000

// phase follows one delta chain to its end and returns the new delta link.
func (r *round) phase(delta string, first func() (*abstractions.RequestInformation, error), follow func(string) (*abstractions.RequestInformation, error), take func(item, *directory.Page) error) (string, error) {
	link, stored, restarted := r.cursor.Next, r.cursor.Next != "", false
	if link == "" {
		link = delta
	}
	resumed := stored
	visited := map[string]bool{}
	for idle := 0; ; {
		visited[link] = true
		build := first
		if link != "" {
			build = func() (*abstractions.RequestInformation, error) { return follow(link) }
		}
		body, err := r.graph.fetch(r.ctx, build)
		if answer := (*failure)(nil); errors.As(err, &answer) && answer.status < 500 && !errors.Is(err, directory.ErrIncomplete) && !errors.Is(err, directory.ErrAuth) {
			lost := answer.status == http.StatusGone || answer.code == "syncStateNotFound" || answer.code == "resyncRequired"
			switch {
			case stored, lost && link == delta:
				// What was stored is of no use any more: neither the link in the middle
				// of a round, nor the one at its beginning (Rule GRAPH-18).
				return "", fmt.Errorf("%w: %w", directory.ErrCursorExpired, err)
			case r.mode == directory.Delta && link != delta && !restarted:
				// A skip token does not live long (Rule GRAPH-13). In a full round the
				// pages so far may hold what has gone meanwhile, which nobody would tell
				// us of again; so that one ends, and starts over.
				link, restarted, visited = delta, true, map[string]bool{}
				continue
			}
			return "", fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		if err != nil {
			return "", err
		}
		var said page
		if err := json.Unmarshal(body, &said); err != nil {
			return "", fmt.Errorf("%w: decode a page: %w", directory.ErrIncomplete, err)
		}
		if (said.Next == "") == (said.Delta == "") {
			return "", fmt.Errorf("%w: a page has not exactly one of nextLink and deltaLink (Rule GRAPH-7)", directory.ErrIncomplete)
		}
		var p directory.Page
		before := len(r.seen) + len(r.edges)
		for _, i := range said.Value {
			if err := take(i, &p); err != nil {
				return "", err
			}
		}
		if idle++; len(r.seen)+len(r.edges) > before {
			idle = 0
		}
		if said.Next != "" && (visited[said.Next] || idle > maxIdlePages) {
			err := fmt.Errorf("%w: the links go round in a circle (Rule GRAPH-20)", directory.ErrIncomplete)
			if resumed {
				return "", fmt.Errorf("%w: %w", directory.ErrCursorExpired, err) // the stored link leads nowhere
			}
			return "", err
		}
		if said.Next != "" && !r.graph.own(said.Next) {
			return "", fmt.Errorf("%w: a link leads to another host than %s (Rule SEC-4)", directory.ErrIncomplete, r.graph.host)
		}
		if !r.begun {
			if err := r.begin(); err != nil {
				return "", err
			}
			r.begun = true
		}
		if said.Next != "" && r.mode == directory.Full {
			// A delta round is short, and starts over from its beginning: what it
			// contradicts itself about is then seen whole.
			r.cursor.Next = said.Next
			p.Cursor = r.cursor.bytes()
		}
		if len(p.Upserts)+len(p.Removed)+len(p.Members)+len(p.Problems) > 0 || p.Cursor != nil {
			if err := r.yield(p); err != nil {
				return "", err
			}
		}
		if said.Delta != "" {
			return said.Delta, nil
		}
		link, stored = said.Next, false
	}
}

// settle reads directly what the round contradicts itself about, and lets that
// decide (Rule SRC-3).
func (r *round) settle() (directory.Page, error) {
	// Groups are read after users: who is in one came back in between, if the
	// round says both that the user is gone and that the user is a member.
	for e, added := range r.edges {
		id, _ := e.Far.ID()
		if before := r.seen[string(id)]; added && before.removed && !before.disputed {
			before.disputed = true
			r.seen[string(id)] = before
			r.cursor.Disputed.Users = append(r.cursor.Disputed.Users, string(id))
		}
	}
	// What is read below is not compared with what was said.
	disputed := r.cursor.Disputed
	r.seen, r.edges = map[string]sighting{}, map[directory.Edge]bool{}
	var p directory.Page
	for _, id := range disputed.Users {
		err := r.again(id, r.user, &p, func() (*abstractions.RequestInformation, error) {
			return r.graph.sdk.Users().ByUserId(id).ToGetRequestInformation(r.ctx, &users.UserItemRequestBuilderGetRequestConfiguration{
				QueryParameters: &users.UserItemRequestBuilderGetQueryParameters{Select: r.userSelect, Expand: []string{"manager($select=id)"}},
			})
		})
		if err != nil {
			return p, fmt.Errorf("user %s: %w", id, err)
		}
	}
	for _, id := range disputed.Groups {
		err := r.again(id, r.group, &p, func() (*abstractions.RequestInformation, error) {
			return r.graph.sdk.Groups().ByGroupId(id).ToGetRequestInformation(r.ctx, &groups.GroupItemRequestBuilderGetRequestConfiguration{
				QueryParameters: &groups.GroupItemRequestBuilderGetQueryParameters{Select: slices.DeleteFunc(slices.Clone(groupSelect), func(s string) bool { return s == "members" || s == "owners" })},
			})
		})
		if err != nil {
			return p, fmt.Errorf("group %s: %w", id, err)
		}
	}
	type list struct {
		group    directory.ObjectID
		relation directory.Relation
	}
	done := map[list]bool{}
	for _, e := range disputed.Edges {
		l := list{e.Group, e.Relation}
		if done[l] || slices.Contains(p.Removed, e.Group) {
			continue
		}
		done[l] = true
		whole, err := r.readEdges(l.group, l.relation)
		if gone(err) {
			p.Removed = append(p.Removed, l.group) // Rule GRAPH-27
			continue
		}
		if err != nil {
			return p, fmt.Errorf("%ss of group %s: %w", l.relation, l.group, err)
		}
		p.Members = append(p.Members, whole)
	}
	return p, nil
}

// again reads one object directly; one that is not there is gone.
func (r *round) again(id string, take func(item, *directory.Page) error, p *directory.Page, build func() (*abstractions.RequestInformation, error)) error {
	body, err := r.graph.fetch(r.ctx, build)
	if gone(err) {
		p.Removed = append(p.Removed, directory.ObjectID(id))
		return nil
	}
	if err != nil {
		return err
	}
	var i item
	if err := json.Unmarshal(body, &i); err != nil {
		return fmt.Errorf("%w: decode: %w", directory.ErrIncomplete, err)
	}
	// A plain read gives the manager as an object (Rule GRAPH-35).
	i["manager@delta"] = json.RawMessage("[]")
	if raw := i["manager"]; len(raw) > 0 && string(raw) != "null" {
		i["manager@delta"] = slices.Concat(json.RawMessage("["), raw, json.RawMessage("]"))
	}
	return take(i, p)
}

func gone(err error) bool {
	answer := (*failure)(nil)
	return errors.As(err, &answer) && answer.status == http.StatusNotFound
}

// readEdges lists one group's members or owners directly.
func (r *round) readEdges(group directory.ObjectID, relation directory.Relation) (directory.Members, error) {
	out := directory.Members{Group: group, Relation: relation, Whole: true}
	one := r.graph.sdk.Groups().ByGroupId(string(group))
	for link := ""; ; {
		body, err := r.graph.fetch(r.ctx, func() (*abstractions.RequestInformation, error) {
			switch {
			case relation == directory.Owner && link != "":
				return one.Owners().WithUrl(link).ToGetRequestInformation(r.ctx, nil)
			case relation == directory.Owner:
				return one.Owners().ToGetRequestInformation(r.ctx, &groups.ItemOwnersRequestBuilderGetRequestConfiguration{
					QueryParameters: &groups.ItemOwnersRequestBuilderGetQueryParameters{Select: []string{"id"}},
				})
			case link != "":
				return one.Members().WithUrl(link).ToGetRequestInformation(r.ctx, nil)
			}
			return one.Members().ToGetRequestInformation(r.ctx, &groups.ItemMembersRequestBuilderGetRequestConfiguration{
				QueryParameters: &groups.ItemMembersRequestBuilderGetQueryParameters{Select: []string{"id"}},
			})
		})
		if err != nil {
			return out, err
		}
		var said page
		if err := json.Unmarshal(body, &said); err != nil {
			return out, fmt.Errorf("%w: decode a list: %w", directory.ErrIncomplete, err)
		}
		for _, i := range said.Value {
			out.Add = append(out.Add, directory.ByID(directory.ObjectID(i.text("id"))))
		}
		if link = said.Next; link == "" {
			return out, nil
		}
	}
}

// Probe gets a token and tries each permission (Rule GRAPH-3).
func (s *Source) Probe(ctx context.Context) ([]string, error) {
	g, err := newGraph(s.config, s.pause)
	if err != nil {
		return nil, err
	}
	defer func() { g.close() }()
	facts := []string{"Graph at " + s.config.GraphEndpoint}
	var missing []error
	for _, try := range []struct {
		what, permission string
		build            func() (*abstractions.RequestInformation, error)
	}{
		{"users", permissions[0], func() (*abstractions.RequestInformation, error) {
			return g.sdk.Users().Delta().ToGetRequestInformation(ctx, &users.DeltaRequestBuilderGetRequestConfiguration{
				QueryParameters: &users.DeltaRequestBuilderGetQueryParameters{Select: []string{"id", "manager"}},
			})
		}},
		{"groups and their members", permissions[1], func() (*abstractions.RequestInformation, error) {
			return g.sdk.Groups().Delta().ToGetRequestInformation(ctx, &groups.DeltaRequestBuilderGetRequestConfiguration{
				QueryParameters: &groups.DeltaRequestBuilderGetQueryParameters{Select: []string{"id", "members"}},
			})
		}},
	} {
		_, err := g.fetch(ctx, try.build)
		answer := (*failure)(nil)
		switch {
		case err == nil:
			facts = append(facts, try.what+" can be read")
		case errors.As(err, &answer) && answer.status == http.StatusForbidden:
			missing = append(missing, fmt.Errorf("%s cannot be read: %w: grant the application permission %s", try.what, directory.ErrAuth, try.permission))
		default:
			return facts, fmt.Errorf("read %s: %w", try.what, err)
		}
	}
	return facts, errors.Join(missing...)
}
