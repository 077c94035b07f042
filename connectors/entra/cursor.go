package entra

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/directory"
)

// cursor is what is stored with the data that it covers (Rule SRC-2): where each
// half goes on, and, in the middle of a round, what the round's end needs to know
// of what was read so far.
type cursor struct {
	Identity identity `json:"identity"`
	// Mode is empty between rounds.
	Mode mode `json:"mode,omitempty"`
	// At is when the links between rounds were given (Rule GRAPH-18).
	At     time.Time `json:"at,omitzero"`
	Users  half      `json:"users"`
	Groups half      `json:"groups"`
}

type mode string

const (
	full  mode = "full"
	delta mode = "delta"
)

// identity is of what gave the links. They are of no use to anything else.
type identity struct {
	Tenant string `json:"tenant"`
	Cloud  string `json:"cloud"`
	Graph  string `json:"graph"`
	Users  string `json:"users"` // the $select
	Groups string `json:"groups"`
}

// half is one of a round's two delta queries.
type half struct {
	// Link is where to go on, byte for byte as Graph gave it (Rule GRAPH-7); empty
	// at the beginning.
	Link string `json:"link,omitempty"`
	// Base is where the round began.
	Base string `json:"base,omitempty"`
	// Done: Link is the deltaLink for the next round.
	Done bool `json:"done,omitempty"`
	// Removed are the objects that the round said are gone. They are handed on at
	// its end, since it may say otherwise until then.
	Removed []directory.ObjectID `json:"removed,omitempty"`
	// Again are the objects to read directly at the round's end.
	Again []directory.ObjectID `json:"again,omitempty"`
	// Hidden are the groups that hide their members: true where these are not known
	// to us. Shown: one has shown us one.
	Hidden map[directory.ObjectID]bool `json:"hidden,omitempty"`
	Shown  bool                        `json:"shown,omitempty"`
}

func (c cursor) bytes() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic("internal error: cursor of a Graph source: " + err.Error())
	}
	return b
}

// cursor reads the stored one, or makes that of a full round. A cursor that is
// not of this configuration is given up.
func (c Config) cursor(start directory.Start, s selection) (cursor, error) {
	own := identity{
		Tenant: strings.ToLower(c.TenantID), Cloud: c.Cloud, Graph: strings.ToLower(c.GraphEndpoint),
		Users: strings.Join(s.users, ","), Groups: strings.Join(s.groups, ","),
	}
	if start.Cursor == nil {
		return cursor{Identity: own, Mode: full}, nil
	}
	var at cursor
	if err := json.Unmarshal(start.Cursor, &at); err != nil {
		return at, fmt.Errorf("the stored cursor is not one of this connector: %w: %w", directory.ErrCursorExpired, err)
	}
	switch {
	case at.Identity != own:
		return at, fmt.Errorf("the source's configuration or the attributes that rules name have changed: %w", directory.ErrCursorExpired)
	case start.Resumed && (at.Mode == full || at.Mode == delta):
	case !start.Resumed && at.Mode == "" && at.Users.Link != "" && at.Groups.Link != "":
		at.Mode, at.Users.Base, at.Groups.Base = delta, at.Users.Link, at.Groups.Link
	case !start.Resumed && at.Mode == "":
		return at, fmt.Errorf("the last full round was read in two parts, and is read once more: %w", directory.ErrCursorExpired)
	default:
		return at, fmt.Errorf("the stored cursor does not fit the round: %w", directory.ErrCursorExpired)
	}
	return at, nil
}

// selects works out the queries' $select. A name with a dot is a field of a
// property: onPremisesExtensionAttributes.extensionAttribute1.
func selects(attributes []string) (selection, error) {
	s := selection{users: slices.Clone(userProperties[:]), groups: slices.Clone(groupProperties[:])}
	add := func(list []string, name string) []string {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
		return list
	}
	var faults []error
	for _, attribute := range attributes {
		if slices.Contains(translated[:], attribute) {
			continue
		}
		property, _, _ := strings.Cut(attribute, ".")
		if property == "" || strings.ContainsFunc(attribute, func(r rune) bool {
			return r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		}) {
			faults = append(faults, fmt.Errorf("rules name the attribute %q, and Graph has no such property", attribute))
			continue
		}
		ofGroups := slices.Contains(groupOnly[:], property)
		if ofGroups || slices.Contains(sharedProperties[:], property) {
			s.groups, s.furtherGroups = add(s.groups, property), add(s.furtherGroups, attribute)
		}
		if !ofGroups {
			s.users, s.furtherUsers = add(s.users, property), add(s.furtherUsers, attribute)
		}
	}
	return s, errors.Join(faults...)
}
