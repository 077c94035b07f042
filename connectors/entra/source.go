package entra

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ambit-iam/ambit/directory"
)

// Source reads one tenant.
type Source struct {
	config Config
	graph  *graph
	// restarts counts the rounds in a row that a dead link ended.
	restarts atomic.Int32
	// broken is what an unfinished round has said, to go on with it.
	broken atomic.Pointer[said]
	tally  atomic.Pointer[tally]
	hook   *hook
}

// New makes a source of a valid configuration; it does not connect.
func New(c Config) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	g, err := newGraph(c)
	if err != nil {
		return nil, err
	}
	return &Source{config: c, graph: g, hook: newHook()}, nil
}

// Usage returns what reading has cost (Rule GRAPH-26).
func (s *Source) Usage() directory.Usage {
	return directory.Usage{Requests: s.graph.wire.requests.Load(), Units: s.graph.wire.units.Load()}
}

// maxRestarts is how many rounds in a row may end by a dead link before that is
// taken for a failure, not for an old link.
const maxRestarts = 3

// Read runs one round: users, then groups (Rule GRAPH-21). It is full without a
// cursor and a delta with one. Where Graph does not know a link any more, it ends
// with ErrCursorExpired, to start again from the last complete round's links, or
// from nothing (Rules GRAPH-13, GRAPH-18).
func (s *Source) Read(ctx context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
	sel, err := selects(start.Attributes)
	if err != nil {
		return err
	}
	c, err := s.config.cursor(start, sel)
	if err != nil {
		return err
	}
	// It is minutes to the next round.
	defer s.graph.wire.base.CloseIdleConnections()
	r := newRound(ctx, s.graph, c, sel, s.saidBefore(start), yield)
	given := c.At
	if err := s.run(r, start.Mirrored, begin); err != nil {
		s.broken.Store(r.said)
		return silence(err, given, s.graph.now())
	}
	s.restarts.Store(0)
	return nil
}

// How long Graph knows its links, and how long before their end that is told (Rule
// GRAPH-18).
const (
	linkLife  = 7 * 24 * time.Hour
	warnAfter = 5 * 24 * time.Hour
)

// silence adds to an error that the links will soon be dead.
func silence(err error, given, now time.Time) error {
	old := now.Sub(given)
	if given.IsZero() || old < warnAfter {
		return err
	}
	return fmt.Errorf("%w; nothing was read to its end for %d days: after %d Graph forgets where to go on, and everything is read again", err, old/(24*time.Hour), linkLife/(24*time.Hour))
}

// saidBefore is what the round that is resumed has said so far, as far as this
// process knows.
func (s *Source) saidBefore(start directory.Start) *said {
	before := s.broken.Swap(nil)
	switch {
	case !start.Resumed:
		return newSaid()
	case before != nil && before.upto != nil && bytes.Equal(before.upto, start.Cursor):
		return before
	}
	part := newSaid()
	part.inPart = true
	return part
}

// run reads a round from where its cursor is to its end.
func (s *Source) run(r *round, mirrored map[directory.Kind]int, begin func(directory.Mode) error) error {
	// Both halves answer before the round begins: a round can only be a full one if
	// it begins so, and one of two links may be dead.
	for _, h := range r.halves {
		if err := r.readAhead(h); err != nil {
			return s.ended(err)
		}
	}
	if r.sawNothing() {
		return fmt.Errorf("%s was granted, and what it shows is not told of as a change: %w", memberReadHidden, directory.ErrCursorExpired)
	}
	mode := directory.Delta
	if r.cursor.Mode == full {
		mode = directory.Full
	}
	if err := begin(mode); err != nil {
		return err
	}
	for _, h := range r.halves {
		if err := r.follow(h); err != nil {
			return s.ended(err)
		}
	}
	last, err := r.settle()
	if err != nil {
		return fmt.Errorf("read again what the round contradicts itself about: %w", err)
	}
	if err := s.count(r, mode, mirrored, &last); err != nil {
		return err
	}
	return r.yield(last)
}

// ended bounds how often a round starts again at once.
func (s *Source) ended(err error) error {
	if !isDead(err) {
		return err
	}
	if s.restarts.Add(1) > maxRestarts {
		s.restarts.Store(0)
		return fmt.Errorf("%w: links die as soon as Graph has given them: %w", directory.ErrIncomplete, err)
	}
	return fmt.Errorf("%w: %w", directory.ErrCursorExpired, err)
}

// selection is what a delta query asks for: what is not selected neither comes
// nor counts as a change (Rule GRAPH-9).
type selection struct {
	users, groups []string
	// further are the attributes that rules name, for users and for groups.
	furtherUsers, furtherGroups []string
}

// The connector's own properties (Rule GRAPH-10).
var (
	userProperties = [...]string{
		"id", "userPrincipalName", "displayName", "mail", "accountEnabled", "userType", "assignedPlans", "assignedLicenses", "manager",
		"externalUserState", "onPremisesImmutableId", "onPremisesSecurityIdentifier", "deletedDateTime",
	}
	groupProperties = [...]string{
		"id", "displayName", "mailNickname", "mailEnabled", "securityEnabled", "groupTypes", "isAssignableToRole", "membershipRule",
		"membershipRuleProcessingState", "onPremisesSyncEnabled", "onPremisesSecurityIdentifier", "visibility", "members", "owners",
	}
	// sharedProperties are those that rules may name and that groups have as well
	// as users; groupOnly those that users have not. Everything else is asked of
	// users alone: a property that a type does not have fails the query.
	sharedProperties = [...]string{
		"createdDateTime", "deletedDateTime", "mail", "mailNickname", "onPremisesDomainName", "onPremisesSamAccountName",
		"onPremisesSecurityIdentifier", "onPremisesSyncEnabled", "preferredLanguage", "proxyAddresses", "securityIdentifier",
	}
	groupOnly = [...]string{
		"classification", "description", "expirationDateTime", "groupTypes", "isAssignableToRole", "mailEnabled", "membershipRule",
		"membershipRuleProcessingState", "renewedDateTime", "securityEnabled", "theme", "uniqueName", "visibility",
	}
	// translated are the names of attributes that the connector itself makes.
	translated = [...]string{
		directory.AttrUserName, directory.AttrDisplayName, directory.AttrMail, directory.AttrEnabled, directory.AttrUserType, directory.AttrManager,
		directory.AttrPlans, directory.AttrGroupKind, directory.AttrVisibility,
	}
)
