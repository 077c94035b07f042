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
}

// New makes a source of a valid configuration; it does not connect.
func New(c Config) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Source{c.withDefaults()}, nil
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
	g, err := newGraph(s.config)
	if err != nil {
		return err
	}
	mode := directory.Full
	if at.Users != "" {
		mode = directory.Delta
	}
	if !start.Resumed {
		at.Next, at.OnGroups, at.Done = "", false, ""
	}
	r := &round{ctx: ctx, graph: g, cursor: at, yield: yield, seen: map[string]sighting{}, edges: map[directory.Edge]bool{}}
	r.begin = func() error { return begin(mode) }
	forUsers, forGroups := s.selects(start.Attributes)
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
	last.Cursor = cursor{Identity: r.cursor.Identity, Users: r.cursor.Done, Groups: link}.bytes()
	last.Complete = true
	return r.yield(last)
}

// round is one round in progress.
type round struct {
	ctx    context.Context
	graph  *graph
	cursor cursor
	begin  func() error
	begun  bool
	yield  func(directory.Page) error

	// seen and edges hold what this round has said, to find where it contradicts
	// itself (Rules SRC-3, GRAPH-15); disputed is what it does.
	seen           map[string]sighting
	edges          map[directory.Edge]bool // true: added
	disputedUsers  []string
	disputedEdges  []directory.Edge
	disputedGroups []string
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
	link, resumed := r.cursor.Next, r.cursor.Next != ""
	if link == "" {
		link = delta
	}
	visited := map[string]bool{}
	for idle := 0; ; {
		build := first
		if link != "" {
			build = func() (*abstractions.RequestInformation, error) { return follow(link) }
		}
		body, err := r.graph.fetch(r.ctx, build)
		if answer := (*failure)(nil); errors.As(err, &answer) {
			switch {
			case answer.status == http.StatusGone || answer.code == "syncStateNotFound" || answer.code == "resyncRequired":
				return "", fmt.Errorf("%w: %w", directory.ErrCursorExpired, err)
			case answer.status >= 400 && answer.status < 500 && answer.code != "foreignLink" && resumed:
				// A skip token does not live long; the round starts over from the last
				// delta link (Rule GRAPH-13).
				link, resumed, visited = delta, false, map[string]bool{}
				continue
			case answer.status >= 400 && answer.status < 500:
				return "", fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
			}
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
		if !r.begun {
			if err := r.begin(); err != nil {
				return "", err
			}
			r.begun = true
		}
		if said.Next != "" {
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
		if idle++; len(r.seen)+len(r.edges) > before {
			idle = 0
		}
		if visited[said.Next] || idle > maxIdlePages {
			return "", fmt.Errorf("%w: the links go round in a circle (Rule GRAPH-20)", directory.ErrIncomplete)
		}
		visited[said.Next] = true
		link, resumed = said.Next, true
	}
}

// settle reads directly what the round contradicts itself about, and lets that
// decide (Rule SRC-3).
func (r *round) settle() (directory.Page, error) {
	var p directory.Page
	for _, id := range r.disputedUsers {
		body, err := r.graph.fetch(r.ctx, func() (*abstractions.RequestInformation, error) {
			return r.graph.sdk.Users().ByUserId(id).ToGetRequestInformation(r.ctx, &users.UserItemRequestBuilderGetRequestConfiguration{
				QueryParameters: &users.UserItemRequestBuilderGetQueryParameters{Select: slices.DeleteFunc(slices.Clone(userSelect), func(s string) bool { return s == "manager" })},
			})
		})
		if gone(err) {
			p.Removed = append(p.Removed, directory.ObjectID(id))
			continue
		}
		if err != nil {
			return p, err
		}
		var i item
		if err := json.Unmarshal(body, &i); err != nil {
			return p, fmt.Errorf("%w: decode user %s: %w", directory.ErrIncomplete, id, err)
		}
		delete(r.seen, id)
		if err := r.user(i, &p); err != nil {
			return p, err
		}
	}
	for _, id := range r.disputedGroups {
		body, err := r.graph.fetch(r.ctx, func() (*abstractions.RequestInformation, error) {
			return r.graph.sdk.Groups().ByGroupId(id).ToGetRequestInformation(r.ctx, &groups.GroupItemRequestBuilderGetRequestConfiguration{
				QueryParameters: &groups.GroupItemRequestBuilderGetQueryParameters{Select: slices.DeleteFunc(slices.Clone(groupSelect), func(s string) bool { return s == "members" || s == "owners" })},
			})
		})
		if gone(err) {
			p.Removed = append(p.Removed, directory.ObjectID(id))
			continue
		}
		if err != nil {
			return p, err
		}
		var i item
		if err := json.Unmarshal(body, &i); err != nil {
			return p, fmt.Errorf("%w: decode group %s: %w", directory.ErrIncomplete, id, err)
		}
		delete(r.seen, id)
		if err := r.group(i, &p); err != nil {
			return p, err
		}
	}
	type list struct {
		group    directory.ObjectID
		relation directory.Relation
	}
	done := map[list]bool{}
	for _, e := range r.disputedEdges {
		l := list{e.Group, e.Relation}
		if done[l] || slices.Contains(p.Removed, e.Group) {
			continue
		}
		done[l] = true
		whole, err := r.readEdges(l.group, l.relation)
		if gone(err) {
			continue // the group went meanwhile; its removal comes in a round
		}
		if err != nil {
			return p, err
		}
		p.Members = append(p.Members, whole)
	}
	return p, nil
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
	g, err := newGraph(s.config)
	if err != nil {
		return nil, err
	}
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
