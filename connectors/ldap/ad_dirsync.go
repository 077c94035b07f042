package ldap

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// dirSyncBytes is how much the controller is asked to put into one answer.
const dirSyncBytes = 1 << 20

// maxIdle is how many answers without an object are taken before DirSync is said
// to go nowhere.
const maxIdle = 100

// adContainers are what objects lie in. What moves with one is not told of (Rule
// AD-10).
const adContainers = "(|(objectClass=organizationalUnit)(objectClass=container)(objectClass=builtinDomain)(objectClass=domainDNS))"

// removal is a member that was taken out of a group.
type removal struct{ group, member directory.ObjectID }

// dirSync asks kind by kind what has changed since the cookies were given, or for
// everything if there are none, until the controller says that nothing is left
// (Rule AD-2). The base is the whole domain's, since no other is
// allowed (Rule AD-4).
func (r *adRound) dirSync(cookies map[string][]byte) (map[string][]byte, error) {
	next := map[string][]byte{}
	for _, k := range slices.Concat([]adKind{{what: "containers", class: adContainers, base: r.domain.base}}, r.kinds) {
		cookie := cookies[k.what]
		for idle, more := 0, true; more; idle++ {
			var batch dirSyncBatch
			done, err := r.changes(k, cookie, &batch)
			if err != nil {
				if cookie != nil && refused(err) {
					err = fmt.Errorf("the controller does not take its cookie any more: %w: %w", directory.ErrCursorExpired, err)
				}
				return nil, k.of(err)
			}
			if err := r.takeBatch(k, &batch); err != nil {
				return nil, k.of(err)
			}
			if batch.size > 0 {
				idle = 0
			}
			if idle > maxIdle {
				return nil, k.of(fmt.Errorf("%w: DirSync gave %d answers without an object and did not end", directory.ErrIncomplete, idle))
			}
			cookie, more = done.Cookie, done.Flags != 0
		}
		next[k.what] = cookie
		if r.mode == directory.Full && k.shape != nil {
			if err := r.untold(k); err != nil {
				return nil, k.of(err)
			}
		}
	}
	return next, r.removals()
}

// refused tells whether a controller refused a request for what it asks, and not for
// the moment or because of a limit. Where it was with a cookie it was for that: the
// round's survey was answered without one. Samba's says that it cannot take the whole
// control (Rule AD-11).
func refused(err error) bool {
	answer, ok := errors.AsType[*ldap.Error](err)
	return ok && answer.ResultCode < ldap.ErrorNetwork && !ldap.IsErrorAnyOf(err, ldap.LDAPResultTimeLimitExceeded, ldap.LDAPResultSizeLimitExceeded,
		ldap.LDAPResultAdminLimitExceeded, ldap.LDAPResultBusy, ldap.LDAPResultUnavailable)
}

// untold reads the objects that a full DirSync has kept to itself. Samba's does so
// with some that were there from the first, and any may with what the account could
// not see.
func (r *adRound) untold(k adKind) error {
	var ids []directory.ObjectID
	if err := r.ids(k, k.filter, func(x extended) error {
		if _, ok := r.told[x.id]; !ok {
			ids = append(ids, x.id)
		}
		return nil
	}); err != nil {
		return err
	}
	return r.readAgain(k, ids, true)
}

// dirSyncBatch is one answer.
type dirSyncBatch struct {
	size   int
	page   directory.Page
	reread []directory.ObjectID
	whole  []adObject // groups whose members are read in full
	groups []adObject // what their members have changed by
}

// changes asks for one answer, with the members that were added and removed instead
// of whole lists (Rule AD-3), and without the right to replicate for what the account
// may see (Rule AD-5).
func (r *adRound) changes(k adKind, cookie []byte, batch *dirSyncBatch) (*ldap.ControlDirSync, error) {
	flags := ldap.DirSyncIncrementalValues
	if r.domain.restricted {
		flags |= ldap.DirSyncObjectSecurity
	}
	attributes := adAttributes
	if k.shape != nil {
		attributes = k.attributes()
	}
	if k.kind == directory.KindGroup {
		attributes = append(attributes, "member")
	}
	controls := []ldap.Control{ldap.NewRequestControlDirSync(flags, dirSyncBytes, cookie), extendedDN}
	if r.domain.ttl {
		controls = append(controls, ldap.NewControlString(controlLinkTTL, false, ""))
	}
	shape := k.shape
	if shape == nil {
		shape = r.source.config.newADShape(directory.KindUnknown, nil)
	}
	var e entry
	request := ldap.NewSearchRequest(r.domain.base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, k.class, attributes, controls)
	result, err := r.connection.search(request, func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		o, err := shape.readAD(&e, true)
		if err != nil {
			return err
		}
		batch.size++
		return r.sort(k, &o, batch)
	}, nil)
	if err != nil {
		return nil, err
	}
	done, ok := ldap.FindControl(result.Controls, ldap.ControlTypeDirSync).(*ldap.ControlDirSync)
	if !ok || len(done.Cookie) == 0 {
		return nil, fmt.Errorf("%w: the controller answered without DirSync's cookie, so whether that was all is not known", directory.ErrIncomplete)
	}
	return done, nil
}

// sort decides what is to be done about an object that has changed.
func (r *adRound) sort(k adKind, o *adObject, batch *dirSyncBatch) error {
	delta := r.mode == directory.Delta
	moved := o.renamed && !o.whole
	r.tombstones = r.tombstones || o.deleted
	switch {
	case o.deleted && delta && k.shape != nil:
		batch.page.Removed = append(batch.page.Removed, o.id)
	case o.deleted:
	case o.restored && delta:
		return fmt.Errorf("%q was restored, and what it was a member of is not told: %w", o.dn, directory.ErrCursorExpired)
	case k.shape == nil && delta && moved:
		return fmt.Errorf("%q was renamed or moved with all that is in it (Rule AD-10): %w", o.dn, directory.ErrCursorExpired)
	case k.shape == nil:
	case k.kind == directory.KindUser && o.whole && o.account != normalAccount:
	case k.kind != directory.KindGroup && o.whole && k.within(o.dn):
		r.tell(k, o, &batch.page)
	case k.kind != directory.KindGroup && !o.whole:
		batch.reread = append(batch.reread, o.id)
	case k.kind == directory.KindGroup:
		if !o.whole {
			batch.reread = append(batch.reread, o.id)
		}
		switch {
		case !k.within(o.dn) || o.whole && !r.tell(k, o, &batch.page):
		case delta && (moved || o.edges.odd):
			batch.whole = append(batch.whole, *o)
		default:
			batch.groups = append(batch.groups, *o)
		}
	}
	return nil
}

// takeBatch hands on one answer, after it ended.
func (r *adRound) takeBatch(k adKind, batch *dirSyncBatch) error {
	if err := r.primaries(&batch.page); err != nil {
		return err
	}
	for i := range batch.groups {
		o := &batch.groups[i]
		batch.page.Members = append(batch.page.Members, directory.Members{Group: o.id, Add: r.refs(o.edges.add)})
		r.note(o.id, o.edges.add)
		for _, m := range o.edges.remove {
			r.removed = append(r.removed, removal{o.id, m.id})
		}
	}
	if batch.size > 0 && k.shape != nil {
		if err := r.hand(batch.page); err != nil {
			return err
		}
	}
	if err := r.readAgain(k, batch.reread, false); err != nil {
		return err
	}
	for i := range batch.whole {
		o := &batch.whole[i]
		for sid, id := range r.groupBySID {
			if id == o.id {
				o.sid = sid
			}
		}
		if o.sid == "" {
			continue // it is gone again
		}
		all, err := r.part(o.id, 0)
		if err != nil {
			return fmt.Errorf("the members of %s: %w", o.dn, err)
		}
		o.edges = all
		if err := r.members(o); err != nil {
			return err
		}
	}
	return nil
}

// again is how many objects are asked for at once.
const again = 50

// readAgain reads objects of which DirSync has said only what has changed. One
// that is not found any more is gone, or of no interest any more. members are those
// of groups.
func (r *adRound) readAgain(k adKind, ids []directory.ObjectID, members bool) error {
	slices.Sort(ids)
	for some := range slices.Chunk(slices.Compact(ids), again) {
		var any strings.Builder
		for _, id := range some {
			any.WriteString(guidFilter(id))
		}
		found := map[directory.ObjectID]struct{}{}
		if err := r.objects(k, "(&"+k.filter+"(|"+any.String()+"))", r.domain.base, members, found); err != nil {
			return err
		}
		if r.mode == directory.Full {
			continue
		}
		var gone directory.Page
		for _, id := range some {
			if _, ok := found[id]; !ok {
				gone.Removed = append(gone.Removed, id)
			}
		}
		if err := r.hand(gone); err != nil {
			return err
		}
	}
	return nil
}

// removals hands on who was taken out of groups: all but those whose primary group
// it has become, which takes them out of its list and leaves them members (Rule
// AD-17).
func (r *adRound) removals() error {
	sids := map[directory.ObjectID]string{}
	for sid, id := range r.groupBySID {
		sids[id] = sid
	}
	users := r.users()
	for some := range slices.Chunk(r.removed, again) {
		var any strings.Builder
		for _, x := range some {
			any.WriteString(guidFilter(x.member))
		}
		primary := map[directory.ObjectID]string{}
		var e entry
		if err := r.paged(r.domain.base, "(&(objectClass=user)(|"+any.String()+"))", []string{"primaryGroupID"}, r.controls(), func(message string) error {
			if err := e.read(message); err != nil {
				return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
			}
			o, err := users.shape.readAD(&e, false)
			primary[o.id] = r.domain.sid + "-" + o.primary
			return err
		}, func() error { return nil }); err != nil {
			return fmt.Errorf("read the primary groups of those who left a group: %w", err)
		}
		var page directory.Page
		for _, x := range some {
			if sid := sids[x.group]; sid != "" && primary[x.member] == sid {
				continue
			}
			page.Members = append(page.Members, directory.Members{Group: x.group, Remove: []directory.Ref{directory.ByID(x.member)}})
			r.ends = slices.DeleteFunc(r.ends, func(e linkEnd) bool { return e.Group == x.group && e.Member == x.member })
		}
		if err := r.hand(page); err != nil {
			return err
		}
	}
	return nil
}
