// Package directory is the vocabulary of what a source says: users, groups,
// the edges between them, and the pages in which they arrive.
//
// It owns plain values and the rule for what a round means (Rules SRC-1 to
// SRC-12). It does not read a source, store anything or decide access.
//
// A round is a sequence of pages. It has exactly two outcomes (Rule SRC-1):
// its last page says Complete, or it is incomplete. Only a complete round may
// take anything away.
package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// SourceID names one configured source, such as "corp-ldap". It is a lower-case
// word of letters, digits and hyphens, unique in the tenant.
type SourceID string

// ObjectID is the immutable id that the source itself gives (Rule SRC-4):
// entryUUID, objectGUID, Graph id. It is never a DN, UPN, mail or name.
type ObjectID string

// Kind tells what an object is.
type Kind uint8

// The kinds. Other is anything that the source names as a member and that is
// neither: a device, a service principal, an unknown type (Rule SRC-11).
const (
	KindUnknown Kind = iota
	KindUser
	KindGroup
	KindOther
)

var kindNames = [...]string{"unknown", "user", "group", "other"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's name; an unknown one is an error.
func (k *Kind) UnmarshalText(b []byte) error {
	i := slices.Index(kindNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("unknown directory object kind %q", b)
	}
	*k = Kind(i)
	return nil
}

// Relation tells how an edge's far end belongs to its group.
type Relation uint8

// The relations of an edge.
const (
	Member Relation = iota
	Owner
)

var relationNames = [...]string{"member", "owner"}

func (r Relation) String() string {
	if int(r) < len(relationNames) {
		return relationNames[r]
	}
	return fmt.Sprintf("relation(%d)", uint8(r))
}

// MarshalText writes the relation's name.
func (r Relation) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a relation's name; an unknown one is an error.
func (r *Relation) UnmarshalText(b []byte) error {
	i := slices.Index(relationNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("unknown directory relation %q", b)
	}
	*r = Relation(i)
	return nil
}

// The attributes that every connector translates its source's own names to, so
// that rules and guards can rely on them. Connectors add the source's other
// attributes under their own names, as the mapping asks.
const (
	// AttrUserName is the sign-in name: userPrincipalName, uid, sAMAccountName.
	AttrUserName = "userName"
	// AttrDisplayName is the name that people read.
	AttrDisplayName = "displayName"
	// AttrMail is the primary mail address.
	AttrMail = "mail"
	// AttrEnabled is "true" or "false". Absent means the source has no such
	// notion, and counts as true.
	AttrEnabled = "enabled"
	// AttrExpires is the instant from which the account may not be used any more, in
	// RFC 3339 and UTC. Sources say nothing when it passes (Rule AD-16).
	AttrExpires = "expires"
	// AttrUserType is "Member" or "Guest" (Rule GRAPH-31). Absent counts as Member.
	AttrUserType = "userType"
	// AttrManager is a reference (see Ref) to the manager.
	AttrManager = "manager"
	// AttrPlans lists the service plans in force, by id (Rule GRAPH-34).
	AttrPlans = "plans"
	// AttrGroupKind is "security", "m365", "distribution" or "mail-security"
	// (Rule GRAPH-30); LDAP groups are "security".
	AttrGroupKind = "groupKind"
	// AttrVisibility is the group's visibility where the source has one.
	AttrVisibility = "visibility"
	// AttrRoleAssignable is "true" for a group that can hold administrator roles of
	// the source's own (Rule GRAPH-30).
	AttrRoleAssignable = "isAssignableToRole"
	// AttrSID is the security identifier by which other domains name an object. A user
	// or group has its own; anything else that has one stands for the user or group of
	// another domain whose it is (Rule AD-19). No source can have an attribute of its
	// own of this name.
	AttrSID = "@sid"
	// AttrRuleState is "Paused" for a group whose members are not kept as its rule in
	// the source says (Rule GRAPH-29).
	AttrRuleState = "membershipRuleProcessingState"
)

// Object is a user, a group or something else that can be a member, as the
// source said it last. Attribute values are UTF-8; a value that is not is
// reported by the connector as a Problem and left out (bad input is shown,
// never guessed).
type Object struct {
	ID   ObjectID `json:"id"`
	Kind Kind     `json:"kind"`
	// DN is the LDAP name, normalised (Rule LDAP-9); empty for Graph and SCIM.
	// References by DN are resolved with it inside the mirror.
	DN string `json:"dn,omitempty"`
	// Attributes maps an attribute's name to its values in a stable order.
	Attributes map[string][]string `json:"attributes,omitempty"`
}

// Get returns the attribute's first value, or "".
func (o Object) Get(attr string) string {
	if v := o.Attributes[attr]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Enabled tells whether the account may be used: true unless the source says
// otherwise.
func (o Object) Enabled() bool { return !strings.EqualFold(o.Get(AttrEnabled), "false") }

// Guest tells whether the user is a guest (Rule GRAPH-31: a null type counts as
// member).
func (o Object) Guest() bool { return strings.EqualFold(o.Get(AttrUserType), "Guest") }

// Name is what people call the object: display name, else user name, else id.
func (o Object) Name() string {
	for _, a := range [...]string{AttrDisplayName, AttrUserName} {
		if v := o.Get(a); v != "" {
			return v
		}
	}
	return string(o.ID)
}

// Ref names an object as its source does: by id, or, in LDAP, by DN until the
// mirror has resolved it (Rule SRC-4). It is written "id:…", "dn:…" or "uid:…".
type Ref string

// The ways to make a reference. A DN must be normalised.
func ByID(id ObjectID) Ref { return Ref("id:" + string(id)) }

// ByDN refers to an object by its normalised DN.
func ByDN(dn string) Ref { return Ref("dn:" + dn) }

// ByUserName refers to a user by sign-in name, as posixGroup.memberUid does.
func ByUserName(name string) Ref { return Ref("uid:" + name) }

// ID returns the id, if the reference is by id.
func (r Ref) ID() (ObjectID, bool) {
	s, ok := strings.CutPrefix(string(r), "id:")
	return ObjectID(s), ok
}

// DN returns the normalised DN, if the reference is by DN.
func (r Ref) DN() (string, bool) { return strings.CutPrefix(string(r), "dn:") }

// UserName returns the sign-in name, if the reference is by user name.
func (r Ref) UserName() (string, bool) { return strings.CutPrefix(string(r), "uid:") }

// Edge is one membership or ownership, as given by the source.
type Edge struct {
	Group    ObjectID `json:"group"`
	Relation Relation `json:"relation"`
	Far      Ref      `json:"far"`
}

// Members is what a page says of one group's edges of one relation.
type Members struct {
	Group    ObjectID
	Relation Relation
	// Whole means that Add is the complete list of the group's edges of this
	// relation, so that any other ends. In a full round without Whole the union
	// over the round's pages is the list (Rule GRAPH-14).
	Whole  bool
	Add    []Ref
	Remove []Ref
}

// Upsert is an object's new state.
type Upsert struct {
	Object
	// Partial means that attributes which are absent from Object.Attributes keep
	// their last value, and that an attribute with no values was cleared (Rule
	// GRAPH-16). Otherwise the object is replaced whole.
	Partial bool
}

// Problem is something a connector could not take over: it is shown, and the
// object keeps its last good state.
type Problem struct {
	Object ObjectID
	DN     string
	Text   string // a sentence that says what is wrong and what to do
}

// Page is one step of a round. Applying a page is idempotent (Rule SRC-3).
type Page struct {
	Upserts []Upsert
	// Removed objects are gone; their edges and manager links go too (Rule SRC-6).
	Removed []ObjectID
	// RemovedKind, where it is set, is the kind that all of Removed were of. To a
	// search for groups that follows changes, a user is gone that has changed.
	RemovedKind Kind

	Members  []Members
	Problems []Problem
	// Present objects are as the source said them last, of a delta round only.
	Present []Present
	// Listed, on the last page of a delta round, are the kinds of which the round
	// has named every object that there is, as an upsert or as present: any other
	// object of the kind is gone.
	Listed []Kind

	// Cursor is where to go on after this page. It is committed with the page's
	// data (Rule SRC-2). Nil keeps the cursor that the store has.
	Cursor []byte
	// Complete marks the round's last page: the source itself said that it is
	// finished.
	Complete bool
}

// Present names an object that is as it was said last.
type Present struct {
	ID ObjectID
	// DN is its name, if the source said that too; the object may have moved.
	DN string
}

// Mode tells what a round's absence means.
type Mode uint8

// The modes of a round.
const (
	// Full: what a complete round did not name is gone.
	Full Mode = iota
	// Delta: only what is named as removed is gone.
	Delta
)

func (m Mode) String() string {
	if m == Delta {
		return "delta"
	}
	return "full"
}

// Start is what a connector is told when a round begins.
type Start struct {
	// Cursor is the last committed one, nil for none. A connector whose identity
	// (server, suffix, filter, attributes, tenant) does not match it must answer
	// ErrCursorExpired (Rule SRC-2).
	Cursor []byte
	// Attributes are the source's attributes that mapping rules name, beyond the
	// connector's own, sorted.
	Attributes []string
	// Resumed means that Cursor was committed in the middle of a round.
	Resumed bool
	// Mirrored is how many objects of each kind are mirrored; nil where that is not
	// known.
	Mirrored map[Kind]int
}

// Reader is one source of directory facts. A connector implements it.
type Reader interface {
	// Read runs one round and hands each page to yield in order. mode is decided
	// before the first page: the connector calls begin with it exactly once. It
	// returns nil only after a page with Complete was yielded; every other end
	// is an error that wraps ErrIncomplete, ErrCursorExpired or the cause. An
	// error from begin or yield ends the round and is returned as it is.
	Read(ctx context.Context, start Start, begin func(Mode) error, yield func(Page) error) error
	// Probe checks that the source can be reached with the configured
	// credentials and permissions, and says what it found, one line a fact.
	Probe(ctx context.Context) ([]string, error)
}

// Watcher is a Reader that can be told when its source changes. What has changed
// it does not say: that is what a round is for. So a watch that misses something
// costs time and nothing else.
type Watcher interface {
	// Watch calls changed, from one goroutine, each time something may have changed
	// since the round that gave start.Cursor. It returns when the context or the
	// connection ends; nil at once where the source offers no such thing.
	Watch(ctx context.Context, start Start, changed func()) error
}

// Follower is a Reader that chooses how it follows its source's changes.
type Follower interface {
	// Follows says in words which way the last round took; "" before the first.
	Follows() string
}

// Usage is what reading a source has cost since its connector was made.
type Usage struct {
	Requests int64 `json:"requests"` // on the wire, those for tokens and those repeated included
	Units    int64 `json:"units"`    // of the source's own budget (Rule GRAPH-25)
}

// Metered is a Reader that counts what reading costs.
type Metered interface{ Usage() Usage }

// Errors a caller may branch on.
var (
	// ErrIncomplete: the round ended before the source said it was finished.
	// What it said can be added; nothing may be removed (Rule SRC-1).
	ErrIncomplete = errors.New("incomplete read")
	// ErrNothingYet: the source has yet to say anything, ever. It is incomplete.
	ErrNothingYet = fmt.Errorf("nothing yet: %w", ErrIncomplete)
	// ErrCursorExpired: the cursor is of no use any more; start a full round.
	ErrCursorExpired = errors.New("cursor expired")
	// ErrAuth: the source refused the credentials or the permission is missing.
	ErrAuth = errors.New("not authorized by the source")
	// ErrUnreachable: no connection, or one that cannot be trusted (TLS).
	ErrUnreachable = errors.New("source unreachable")
)

// Throttled is returned when the source asked to wait longer than the connector
// itself is willing to.
type Throttled struct{ RetryAfter time.Duration }

func (t *Throttled) Error() string {
	return fmt.Sprintf("throttled by the source for %s", t.RetryAfter)
}

// View is the read side of the mirror that mapping rules see: the newest
// complete facts of all sources. Implementations are safe for concurrent
// readers while nobody writes.
type View interface {
	// Sources lists the mirrored sources, sorted.
	Sources() []SourceID
	// Object returns one object.
	Object(SourceID, ObjectID) (Object, bool)
	// Objects calls yield for every object of the kind, in id order, until it
	// returns false.
	Objects(source SourceID, kind Kind, yield func(Object) bool)
	// Resolve turns a reference into an id, and tells of what kind; false while
	// nothing by that name is mirrored (Rule SRC-5: pending).
	Resolve(SourceID, Ref) (ObjectID, Kind, bool)
	// Members lists the resolved direct edges of a group, in id order.
	Members(source SourceID, group ObjectID, rel Relation, yield func(ObjectID) bool)
	// MemberOf lists the groups that have the object as a direct edge, in id order.
	MemberOf(source SourceID, member ObjectID, rel Relation, yield func(ObjectID) bool)
}
