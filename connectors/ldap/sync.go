package ldap

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// containers are what entries lie in. One that moves gives everything below it
// another name, of which servers say nothing (Rule LDAP-21).
const containers = "(|(objectClass=organizationalUnit)(objectClass=organization)(objectClass=dcObject)(objectClass=locality)(objectClass=country)(objectClass=container))"

// containerParts are the searches for containers.
func (s *Source) containerParts() []part {
	bases := []string{s.config.Users.Base, s.config.Groups.Base}
	parts := make([]part, 0, len(bases))
	for _, base := range slices.Compact(bases) {
		parts = append(parts, part{what: "containers", base: base, filter: containers})
	}
	return parts
}

// name is under which a cursor keeps the part's cookie.
func (p part) name() string { return p.what + " " + p.base }

// synchronize reads by content synchronisation (RFC 4533): everything if there
// are no cookies, else what has changed since the server gave them.
func (s *Source) synchronize(r *round, attributes []string, last cursor) error {
	mode := directory.Delta
	next := cursor{Identity: last.Identity, Full: last.Full, Cookies: map[string][]byte{}, Containers: last.Containers}
	if last.Cookies == nil {
		mode, next.Full, next.Containers = directory.Full, s.now(), map[string][]directory.ObjectID{}
	}
	if err := r.start(mode); err != nil {
		return err
	}
	// To the search for other groups a dynamic one that has changed is gone.
	var dynamic []found
	if s.config.dynamic() {
		var err error
		if dynamic, err = s.find(r.connection, s.config.Groups.Base, "(&"+s.config.Groups.Filter+isDynamic+")", s.config.UniqueID); err != nil {
			return err
		}
	}
	var end directory.Page
	// The containers come first: one that moves later shows next time.
	for _, p := range slices.Concat(s.containerParts(), s.parts(attributes)) {
		f := refresh{part: p, gathering: r.gather(), sent: last.Cookies[p.name()], gone: map[directory.ObjectID]struct{}{}, there: map[directory.ObjectID]struct{}{}, dynamic: dynamic}
		if err := f.run(r); err != nil {
			return p.of(err)
		}
		switch {
		case p.shape == nil && mode == directory.Full:
			next.Containers[p.name()] = slices.Sorted(maps.Keys(f.there))
		case p.shape == nil && f.lost(last.Containers[p.name()]):
			return fmt.Errorf("a container below %s is gone, or has left it with all that is in it (Rule LDAP-21): %w", p.base, directory.ErrCursorExpired)
		case p.shape != nil && f.listed:
			end.Listed = append(end.Listed, p.shape.kind)
		}
		next.Cookies[p.name()] = f.cookie
		if f.cookie == nil && next.Cookies != nil {
			next.Cookies = nil
			end.Problems = append(end.Problems, directory.Problem{Text: fmt.Sprintf(
				"the server gave no cookie for the %s below %s, so everything is read each time; see whether its overlay syncprov is set up as it should be", p.what, p.base)})
		}
	}
	return s.finish(r, attributes, end, last, next)
}

// refresh is one search's refresh stage.
type refresh struct {
	part
	*gathering
	sent, cookie []byte
	// gone are the ids that are, unless the entries that follow say otherwise.
	gone map[directory.ObjectID]struct{}
	// there are the containers that are.
	there map[directory.ObjectID]struct{}
	// dynamic are groups that it is not for.
	dynamic []found
	said    bool // the server said anything
	// listed: it named all there is (the present phase, Rule LDAP-17).
	listed bool

	entry entry
}

// run asks for what there is, or for what has changed. It returns nil only after
// the server said Sync Done (Rule LDAP-14), whose cookie alone counts (Rule
// LDAP-16).
func (f *refresh) run(r *round) error {
	control := ldap.NewControlSyncRequest(ldap.SyncRequestModeRefreshOnly, f.sent, false)
	attributes := []string{"1.1"}
	if f.shape != nil {
		attributes = f.shape.attributes()
	}
	request := ldap.NewSearchRequest(f.base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, f.filter, attributes, []ldap.Control{control})
	result, err := r.search(request, f.take, f.between)
	if err != nil {
		if f.sent != nil && ldap.IsErrorAnyOf(err, ldap.LDAPResultSyncRefreshRequired, ldap.LDAPResultProtocolError, ldap.LDAPResultUnwillingToPerform) {
			return fmt.Errorf("the server does not take its cookie any more (Rule LDAP-20): %w: %w", directory.ErrCursorExpired, err)
		}
		return err
	}
	done, ok := ldap.FindControl(result.Controls, ldap.ControlTypeSyncDone).(*ldap.ControlSyncDone)
	switch {
	case !ok:
		return fmt.Errorf("%w: the server ended without Sync Done (control %s), so whether that was all is not known", directory.ErrIncomplete, ldap.ControlTypeSyncDone)
	case len(done.Cookie) > 0:
		f.cookie = done.Cookie
	case f.said && f.sent != nil:
		// Rule LDAP-19: this is how slapd answers a cookie that it cannot make out.
		return fmt.Errorf("the server took our cookie and gave none: %w", directory.ErrCursorExpired)
	default:
		f.cookie = f.sent // nothing has changed
	}
	for _, g := range f.dynamic {
		delete(f.gone, g.id)
	}
	f.listed = f.sent != nil && !done.RefreshDeletes
	if len(f.gone) > 0 && f.shape != nil {
		f.page.Removed, f.page.RemovedKind = slices.Sorted(maps.Keys(f.gone)), f.shape.kind
	}
	return f.flush()
}

// lost tells whether one of the containers that were known is not there any more.
func (f *refresh) lost(known []directory.ObjectID) bool {
	return slices.ContainsFunc(known, func(id directory.ObjectID) bool {
		_, gone := f.gone[id]
		_, there := f.there[id]
		return gone || f.listed && !there
	})
}

// take takes an entry.
func (f *refresh) take(message string) error {
	f.said = true
	if err := f.entry.read(message); err != nil {
		return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
	}
	value, _ := f.entry.control(ldap.ControlTypeSyncState)
	state, id, ok := syncState(value)
	if !ok {
		return fmt.Errorf("%w: entry %q came without its Sync State (control %s)", directory.ErrIncomplete, f.entry.dn, ldap.ControlTypeSyncState)
	}
	switch {
	case f.shape == nil && f.sent != nil && (state == ldap.SyncStateAdd || state == ldap.SyncStateModify):
		return fmt.Errorf("%q was added or changed, and so may be the names of all that is in it (Rule LDAP-21): %w", f.entry.dn, directory.ErrCursorExpired)
	case state == ldap.SyncStateDelete:
		f.gone[id] = struct{}{}
		return nil
	case f.shape == nil:
		f.there[id] = struct{}{}
		return nil
	case state == ldap.SyncStatePresent:
		f.page.Present = append(f.page.Present, directory.Present{ID: id})
		return nil
	}
	if said := entryUUID.of(&f.entry); said != "" && said != id {
		// What is gone it tells of by the one, and what is there is known by the other.
		return fmt.Errorf("%w: content synchronisation calls %q %s, and its entryUUID is %s; set changes: timestamps", directory.ErrIncomplete, f.entry.dn, id, said)
	}
	delete(f.gone, id) // it went and came back
	return f.gathering.add(f.shape, &f.entry)
}

// between takes an intermediate message: of those, only sets of ids matter here.
func (f *refresh) between(message string) error {
	f.said = true
	info, err := readSyncInfo(message)
	if err != nil {
		return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
	}
	for _, id := range info.ids {
		switch {
		case info.deleted:
			f.gone[id] = struct{}{}
		case f.shape == nil:
			f.there[id] = struct{}{}
		default:
			f.page.Present = append(f.page.Present, directory.Present{ID: id})
		}
	}
	if len(f.page.Present) < f.limit {
		return nil
	}
	return f.flush()
}

// syncState reads a Sync State control (RFC 4533, 2.2).
func syncState(value string) (state ldap.ControlSyncStateState, id directory.ObjectID, ok bool) {
	tag, body, _, ok := element(value)
	if !ok || tag != tagSequence {
		return 0, "", false
	}
	tag, code, body, ok := element(body)
	if !ok || tag != tagEnumerated || len(code) != 1 || code[0] > byte(ldap.SyncStateDelete) {
		return 0, "", false
	}
	tag, uuid, _, ok := element(body)
	if !ok || tag != tagOctets || len(uuid) != 16 {
		return 0, "", false
	}
	return ldap.ControlSyncStateState(code[0]), uuidText(uuid), true
}

// uuidText writes a UUID as entryUUID does.
func uuidText(uuid string) directory.ObjectID {
	h := hex.EncodeToString([]byte(uuid))
	return directory.ObjectID(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:])
}

// syncInfo is what matters of a Sync Info message (RFC 4533, 2.5).
type syncInfo struct {
	deleted bool // the ids are of entries that are gone, not of such as are there
	ids     []directory.ObjectID
	// refreshed: the refresh stage is over, in one of its two ways.
	refreshed, present bool
}

// The choices of a Sync Info message.
const (
	infoCookie  = 0x80
	infoDelete  = 0xa1
	infoPresent = 0xa2
	infoIDs     = 0xa3
)

// The parts of an intermediate message (RFC 4511, 4.13).
const (
	tagResponseName  = 0x80
	tagResponseValue = 0x81
)

// readSyncInfo reads a message that holds one. It knows no other intermediate
// messages, and ignores them.
func readSyncInfo(message string) (info syncInfo, err error) {
	_, _, message, ok := element(message) // the message's number
	tag, body, _, more := element(message)
	if !ok || !more || tag != tagBetween {
		return info, errMalformed
	}
	tag, name, body, ok := element(body)
	if !ok || tag != tagResponseName || name != ldap.ControlTypeSyncInfo {
		return info, nil
	}
	tag, value, _, ok := element(body)
	if !ok || tag != tagResponseValue {
		return info, errMalformed
	}
	choice, fields, _, ok := element(value)
	if !ok {
		return info, errMalformed
	}
	// Flags and cookies can be left out; each has a tag of its own.
	flag := choice == infoDelete || choice == infoPresent // the default
	var set string
	for choice != infoCookie && fields != "" {
		var field string
		if tag, field, fields, ok = element(fields); !ok {
			return info, errMalformed
		}
		switch tag {
		case tagBoolean:
			flag = field != "" && field[0] != 0
		case tagSet:
			set = field
		}
	}
	info.refreshed = flag && choice != infoIDs && choice != infoCookie
	info.present = choice == infoPresent
	info.deleted = flag && choice == infoIDs
	for set != "" {
		var id string
		if tag, id, set, ok = element(set); !ok || tag != tagOctets || len(id) != 16 {
			return info, errMalformed
		}
		info.ids = append(info.ids, uuidText(id))
	}
	return info, nil
}
