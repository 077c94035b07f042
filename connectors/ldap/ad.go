package ldap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// The controls that Active Directory has beyond others'.
const (
	controlExtendedDN   = "1.2.840.113556.1.4.529"
	controlDomainScope  = "1.2.840.113556.1.4.1339" // no references to other domains
	controlNotification = "1.2.840.113556.1.4.528"
	controlLinkTTL      = "1.2.840.113556.1.4.2309"
)

// extendedDN asks for DNs with their GUIDs, in text.
var extendedDN = ldap.NewControlString(controlExtendedDN, true, "\x30\x03\x02\x01\x01")

// ActiveDirectory reads one domain of Active Directory: at first in full, then
// what has changed, by DirSync or by uSNChanged. Everything is named by GUID: a
// DN is never looked up (Rule AD-10).
type ActiveDirectory struct {
	config  ADConfig
	dialers []*dialer
	now     func() time.Time
	// nextEnd is when the next membership ends by itself, in Unix seconds.
	nextEnd atomic.Int64
	way     atomic.Value // a string: how the last round followed changes
	took    atomic.Int64 // nanoseconds of the last round
	listed  atomic.Bool  // it listed all ids
}

// NewAD makes a source of a valid configuration; it does not connect.
func NewAD(c ADConfig) (*ActiveDirectory, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &ActiveDirectory{config: c.withDefaults(), now: time.Now}
	for _, url := range slices.Concat([]string{c.URL}, c.Fallbacks) {
		one := c.Server
		one.URL = url
		d, err := newDialer(one)
		if err != nil {
			return nil, err
		}
		s.dialers = append(s.dialers, d)
	}
	return s, nil
}

// adCursor is where a round goes on.
type adCursor struct {
	// Identity is of what gave it (Rule SRC-2).
	Identity string `json:"identity"`
	// Full is when everything was read last.
	Full time.Time `json:"full"`
	// Invocations are the databases of the controllers that were read, by the
	// controller's name: another one means that the controller was restored.
	Invocations map[string]string `json:"invocations,omitempty"`
	// Cookies are DirSync's, by kind (Rule AD-11).
	Cookies map[string][]byte `json:"cookies,omitempty"`
	// Tombstones: DirSync has shown deleted objects, so it shows them to this account
	// (Rule AD-9).
	Tombstones bool `json:"tombstones,omitempty"`
	// USNs are the last changes that controllers had when they were read, by database
	// (Rule AD-12).
	USNs map[string]int64 `json:"usns,omitempty"`
	// Ends are the memberships that end by themselves (Rule AD-23).
	Ends []linkEnd `json:"ends,omitempty"`
}

// linkEnd is a membership that ends.
type linkEnd struct {
	Group  directory.ObjectID `json:"group"`
	Member directory.ObjectID `json:"member"`
	End    time.Time          `json:"end"`
}

func (c adCursor) encode() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic("internal error: cursor of an Active Directory: " + err.Error())
	}
	return b
}

// last reads the cursor of the last round; one without more than an identity if
// there is none, or everything is to be read again.
func (s *ActiveDirectory) last(start directory.Start) (adCursor, error) {
	c := s.config
	fresh := adCursor{Identity: identityOf("ad with SIDs", c.URL, c.Fallbacks, c.Domain, c.Users, c.Groups, c.Changes, start.Attributes)}
	if start.Cursor == nil {
		return fresh, nil
	}
	var last adCursor
	if err := json.Unmarshal(start.Cursor, &last); err != nil || last.Identity != fresh.Identity {
		return last, errIdentity
	}
	if age := s.now().Sub(last.Full); age < 0 || age > time.Duration(c.FullHours)*time.Hour {
		return fresh, nil
	}
	return last, nil
}

// domain is what a controller says of itself and its domain.
type domain struct {
	name       string // the controller's
	invocation string // its database's
	base       string // the domain's root
	sid        string
	usn        int64 // the last change that it has
	root       root
	dirSync    bool
	restricted bool // DirSync only with what the account may see (Rule AD-5)
	ttl        bool // it tells when links end
}

// connect reaches the first controller that can be.
func (s *ActiveDirectory) connect(ctx context.Context) (*connection, error) {
	var errs []error
	for _, d := range s.dialers {
		c, err := d.connect(ctx)
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
		if !errors.Is(err, directory.ErrUnreachable) || ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// survey finds out where the connection has led. The change number is read before
// anything else is (Rule AD-12).
func (s *ActiveDirectory) survey(c *connection) (domain, error) {
	var d domain
	var err error
	if d.root, err = c.root("defaultNamingContext", "dnsHostName", "dsServiceName", "highestCommittedUSN", "supportedControl"); err != nil {
		return d, err
	}
	one := func(name string) string {
		if v := d.root[name]; len(v) == 1 {
			return v[0]
		}
		return ""
	}
	d.name, d.base = strings.ToLower(one("dnshostname")), one("defaultnamingcontext")
	if s.config.Domain != "" {
		d.base = s.config.Domain
	}
	if d.usn, err = strconv.ParseInt(one("highestcommittedusn"), 10, 64); err != nil || d.base == "" || d.name == "" {
		return d, fmt.Errorf("%w: the server does not say what a domain controller says of itself; use ldap for a directory that is not Active Directory", directory.ErrIncomplete)
	}
	if service := one("dsservicename"); service != "" {
		value, err := c.value(service, "invocationId")
		if err != nil {
			return d, fmt.Errorf("read the controller's own object %s: %w", service, err)
		}
		id, _ := guidText(value)
		d.invocation = string(id)
	}
	if d.invocation == "" {
		return d, fmt.Errorf("%w: the controller does not say its invocationId, without which it cannot be told whether it was restored; let the account that Ambit binds as read %s",
			directory.ErrIncomplete, one("dsservicename"))
	}
	sid, err := c.value(d.base, "objectSid")
	if err != nil {
		return d, fmt.Errorf("read the domain's root %s: %w", d.base, err)
	}
	var ok bool
	if d.sid, ok = sidText(sid); !ok {
		return d, fmt.Errorf("%w: the domain's root %s has no objectSid; let the account that Ambit binds as read it", directory.ErrIncomplete, d.base)
	}
	d.ttl = d.root.offers(controlLinkTTL)
	if d.root.offers(ldap.ControlTypeDirSync) {
		// A search that finds nothing tells what the account may.
		request := ldap.NewSearchRequest(d.base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=organization)", []string{"1.1"},
			[]ldap.Control{ldap.NewRequestControlDirSync(0, dirSyncBytes, nil)})
		_, err := c.search(request, func(string) error { return nil }, nil)
		d.restricted = ldap.IsErrorWithCode(err, ldap.LDAPResultInsufficientAccessRights)
		d.dirSync = err == nil || d.restricted
		if !d.dirSync && !ldap.IsErrorAnyOf(err, ldap.LDAPResultUnavailableCriticalExtension, ldap.LDAPResultUnwillingToPerform) {
			return d, fmt.Errorf("ask for DirSync: %w", err)
		}
	}
	return d, nil
}

// value reads an attribute of one object; "" if it has none.
func (c *connection) value(dn, attribute string) (string, error) {
	values, err := c.values(dn, attribute, nil)
	if len(values) != 1 {
		return "", err
	}
	return values[0], err
}

// values reads all values of an attribute of one object.
func (c *connection) values(dn, attribute string, controls []ldap.Control) ([]string, error) {
	var values []string
	var e entry
	request := ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{attribute}, controls)
	_, err := c.search(request, func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		for _, a := range e.attributes {
			values = append(values, a.values...)
		}
		return nil
	}, nil)
	return values, err
}

// method chooses how changes are followed (Rule AD-1).
func (s *ActiveDirectory) method(d domain) (string, error) {
	switch {
	case s.config.Changes == byUSN, s.config.Changes == everything:
		return s.config.Changes, nil
	case d.dirSync:
		return dirSync, nil
	case s.config.Changes == dirSync:
		return "", fmt.Errorf("%w: the controller does not offer DirSync (control %s), which changes: dirsync asks for", directory.ErrIncomplete, ldap.ControlTypeDirSync)
	}
	return byUSN, nil
}

// way says what a method is to the account.
func (d domain) way(method string) string {
	switch {
	case method == dirSync && d.restricted:
		return "DirSync with what the account may see; what is gone by a list of all ids"
	case method == dirSync:
		return "DirSync, with the right Replicating Directory Changes; what is gone by its tombstones, once it has shown one, and before by a list of all ids"
	case method == byUSN:
		return "uSNChanged, and what is gone by a list of all ids"
	case method == everything:
		return methods[everything]
	}
	return "" // there is none
}

// Follows is how the last round followed changes (Rules AD-1, LDAP-3).
func (s *ActiveDirectory) Follows() string {
	way, _ := s.way.Load().(string)
	return way
}

// adRound is one round.
type adRound struct {
	*round
	source *ActiveDirectory
	domain domain
	mode   directory.Mode
	now    time.Time
	kinds  []adKind
	// groupBySID finds the primary groups, which are named by number.
	groupBySID map[string]directory.ObjectID
	ends       []linkEnd
	removed    []removal
	tombstones bool
	// told are the objects that a full round has told of.
	told map[directory.ObjectID]struct{}
}

// adKind is one of the searches that a round consists of.
type adKind struct {
	what string
	kind directory.Kind
	// class finds the objects and their tombstones, filter those that are of
	// interest, in a search.
	class, filter string
	base          string // as configured; "" for the whole domain
	below         string // normalized
	shape         *shape
}

func (s *ActiveDirectory) kinds(d domain, attributes []string) ([]adKind, error) {
	user := "(&(objectClass=user)(!(objectClass=computer)))"
	const foreign = "(objectClass=foreignSecurityPrincipal)"
	c := s.config
	kinds := []adKind{
		{what: "users", kind: directory.KindUser, class: user, filter: "(&" + user + "(sAMAccountType=" + normalAccount + "))", base: c.Users.Base},
		{what: "foreign members", kind: directory.KindOther, class: foreign, filter: foreign, base: "CN=ForeignSecurityPrincipals," + d.base},
		{what: "groups", kind: directory.KindGroup, class: "(objectClass=group)", filter: "(objectClass=group)", base: c.Groups.Base},
	}
	for i := range kinds {
		k := &kinds[i]
		k.shape = c.newADShape(k.kind, attributes)
		or(&k.base, d.base)
		var err error
		if k.below, err = NormalDN(k.base); err != nil {
			return nil, err
		}
	}
	return kinds, nil
}

// within tells whether an object lies below the base.
func (k adKind) within(dn string) bool { return dn == k.below || strings.HasSuffix(dn, ","+k.below) }

func (k adKind) attributes(more ...string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(k.shape.attributes(), adAttributes, adKindAttributes[k.kind], more))))
}

func (k adKind) of(err error) error { return fmt.Errorf("read %s below %s: %w", k.what, k.base, err) }

// Read reads what has changed since the last round, or all users and groups.
func (s *ActiveDirectory) Read(ctx context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
	began := time.Now()
	defer func() { s.took.Store(int64(time.Since(began))) }()
	last, err := s.last(start)
	if err != nil {
		return err
	}
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	r := &adRound{round: &round{connection: c, begin: begin, yield: yield}, source: s, now: s.now(), groupBySID: map[string]directory.ObjectID{}, told: map[directory.ObjectID]struct{}{}}
	return r.ended(ctx, r.run(last, start.Attributes))
}

func (r *adRound) run(last adCursor, attributes []string) error {
	s := r.source
	var err error
	if r.domain, err = s.survey(r.connection); err != nil {
		return err
	}
	if r.kinds, err = s.kinds(r.domain, attributes); err != nil {
		return err
	}
	method, err := s.method(r.domain)
	s.way.Store(r.domain.way(method))
	if err != nil {
		return err
	}
	// A controller under its old name with another database was restored, and may
	// not have what it had (Rule AD-12).
	if known := last.Invocations[r.domain.name]; known != "" && known != r.domain.invocation {
		last = adCursor{Identity: last.Identity}
	}
	usn, known := last.USNs[r.domain.invocation]
	if r.domain.usn < usn {
		return fmt.Errorf("the controller %s had change %d when it was read last and now has none beyond %d, so its database was put back to an earlier state, as by a snapshot of its machine (Rule AD-12): %w",
			r.domain.name, usn, r.domain.usn, directory.ErrCursorExpired)
	}
	next := adCursor{Identity: last.Identity, Full: last.Full, USNs: maps.Clone(last.USNs), Invocations: maps.Clone(last.Invocations)}
	if next.Invocations == nil {
		next.Invocations = map[string]string{}
	}
	if next.USNs == nil {
		next.USNs = map[string]int64{}
	}
	next.Invocations[r.domain.name], next.USNs[r.domain.invocation] = r.domain.invocation, r.domain.usn
	var end directory.Page
	r.mode = directory.Delta
	switch { // what one way has read the other does not go on from
	case method == dirSync && last.Cookies == nil, method == byUSN && (!known || last.Cookies != nil), method == everything:
		r.mode, next.Full = directory.Full, r.now
	default:
		r.ends, r.tombstones = last.Ends, last.Tombstones
	}
	if err := r.start(r.mode); err != nil {
		return err
	}
	lists := method != dirSync || !r.tombstones
	s.listed.Store(lists)
	if r.mode == directory.Delta && lists {
		for _, k := range r.kinds {
			if err := r.list(k); err != nil {
				return k.of(err)
			}
			end.Listed = append(end.Listed, k.kind)
		}
	}
	switch method {
	case dirSync:
		next.Cookies, err = r.dirSync(last.Cookies)
	case byUSN:
		err = r.search(usn)
	default:
		err = r.search(0)
	}
	if err != nil {
		return err
	}
	r.endLinks(&end)
	next.Ends, next.Tombstones = r.ends, r.tombstones
	s.rememberEnds(next.Ends)
	end.Cursor, end.Complete = next.encode(), true
	return r.hand(end)
}

// controls are sent with searches for objects.
func (r *adRound) controls() []ldap.Control {
	controls := []ldap.Control{extendedDN, ldap.NewControlString(controlDomainScope, true, "")}
	if r.domain.ttl {
		controls = append(controls, ldap.NewControlString(controlLinkTTL, false, ""))
	}
	return controls
}

// search reads every object, or those that have changed since a change number,
// page by page.
func (r *adRound) search(since int64) error {
	for _, k := range r.kinds {
		filter := k.filter
		if r.mode == directory.Delta {
			filter = "(&" + filter + "(uSNChanged>=" + strconv.FormatInt(since+1, 10) + "))"
		}
		if err := r.objects(k, filter, k.base, true, nil); err != nil {
			return k.of(err)
		}
	}
	return nil
}

// objects hands on the objects that a filter finds, groups with all of their
// members if asked for. found, if not nil, gets the id of each object of the kind.
func (r *adRound) objects(k adKind, filter, base string, members bool, found map[directory.ObjectID]struct{}) error {
	var more []string
	members = members && k.kind == directory.KindGroup
	if members {
		more = append(more, "member")
	}
	if r.mode == directory.Delta {
		// What has come into a base brings what it was a member of; its groups need not
		// have changed.
		more = append(more, "memberOf")
	}
	var e entry
	var page directory.Page
	var groups []adObject
	return r.paged(base, filter, k.attributes(more...), r.controls(), func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		o, err := k.shape.readAD(&e, false)
		if err != nil {
			return err
		}
		if !k.within(o.dn) {
			return nil
		}
		if found != nil {
			found[o.id] = struct{}{}
		}
		if r.tell(k, &o, &page) && members {
			groups = append(groups, o)
		}
		return nil
	}, func() error {
		full, whole := page, groups
		page, groups = directory.Page{}, nil
		if err := r.primaries(&full); err != nil {
			return err
		}
		if err := r.hand(full); err != nil {
			return err
		}
		for i := range whole {
			if err := r.members(&whole[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// tell puts an object that is said whole on the page. It tells whether it is one
// that counts.
func (r *adRound) tell(k adKind, o *adObject, page *directory.Page) bool {
	if o.conflict {
		page.Problems = append(page.Problems, directory.Problem{
			DN:   o.dn,
			Text: "the object lost its name to another in replication (CNF) and is left out; rename or delete one of the two (Rule AD-24)",
		})
		if r.mode == directory.Delta {
			page.Removed = append(page.Removed, o.id)
		}
		return false
	}
	for _, text := range o.problems {
		page.Problems = append(page.Problems, directory.Problem{Object: o.id, DN: o.dn, Text: text})
	}
	missing := o.sid == "" || k.kind == directory.KindUser && (o.enabled == nil || o.primary == "")
	if missing || o.spoilt {
		if !o.spoilt {
			page.Problems = append(page.Problems, directory.Problem{
				Object: o.id, DN: o.dn,
				Text: "objectSid is missing, or of a user userAccountControl or primaryGroupID, so the object stays as it was; let the account that Ambit binds as read them",
			})
		}
		return false
	}
	said := o.object(k.kind)
	// A controller is believed about the SIDs of its own domain alone, and of those that
	// stand for somebody else about those of others (Rule AD-19).
	if own := strings.HasPrefix(o.sid, r.domain.sid+"-"); own == (k.kind != directory.KindOther) {
		said.Attributes[directory.AttrSID] = []string{o.sid}
	}
	page.Upserts = append(page.Upserts, directory.Upsert{Object: said})
	if r.mode == directory.Full {
		r.told[o.id] = struct{}{}
	}
	for _, g := range o.memberOf {
		if dn, err := NormalDN(g.dn); err == nil && r.groups().within(dn) {
			page.Members = append(page.Members, directory.Members{Group: g.id, Add: []directory.Ref{directory.ByID(o.id)}})
		}
	}
	switch k.kind {
	case directory.KindUser:
		page.Members = append(page.Members, directory.Members{Group: directory.ObjectID(r.domain.sid + "-" + o.primary), Add: []directory.Ref{directory.ByID(o.id)}})
	case directory.KindGroup:
		r.groupBySID[o.sid] = o.id
		page.Members = append(page.Members, directory.Members{Group: o.id, Relation: directory.Owner, Whole: true, Add: o.owners})
	}
	return true
}

// primaries puts the ids of groups in the place of their SIDs, by which users name
// their primary groups (Rule AD-17).
func (r *adRound) primaries(page *directory.Page) error {
	kept := page.Members[:0]
	for _, m := range page.Members {
		if strings.HasPrefix(string(m.Group), "S-") {
			id, err := r.group(string(m.Group))
			if err != nil {
				return err
			}
			if m.Group = id; id == "" {
				continue // not to be seen
			}
		}
		kept = append(kept, m)
	}
	page.Members = kept
	return nil
}

// group finds a group by its SID; "" if there is none to be seen, or it is none of
// those that are read.
func (r *adRound) group(sid string) (directory.ObjectID, error) {
	if id, ok := r.groupBySID[sid]; ok {
		return id, nil
	}
	var id directory.ObjectID
	var e entry
	request := ldap.NewSearchRequest("<SID="+sid+">", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=group)", []string{"1.1"}, r.controls())
	_, err := r.connection.search(request, func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		x, ok := parseExtended(e.dn)
		dn, err := NormalDN(x.dn)
		if ok && err == nil && r.groups().within(dn) {
			id = x.id
		}
		return nil
	}, nil)
	if err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) {
		return "", fmt.Errorf("find the primary group %s: %w", sid, err)
	}
	r.groupBySID[sid] = id
	return id, nil
}

func (r *adRound) users() adKind  { return r.kinds[0] }
func (r *adRound) groups() adKind { return r.kinds[2] }

// members hands on all members of a group, those that are still to be asked for
// and those whose primary group it is.
func (r *adRound) members(o *adObject) error {
	all := o.edges.add
	for partial, next := o.edges.partial, o.edges.next; partial; {
		more, err := r.part(o.id, next)
		if err != nil {
			return fmt.Errorf("the members of %s from %d on: %w", o.dn, next, err)
		}
		if more.partial && more.next <= next {
			return fmt.Errorf("%w: the members of %s from %d on end at %d", directory.ErrIncomplete, o.dn, next, more.next)
		}
		all, partial, next = append(all, more.add...), more.partial, more.next
	}
	m := directory.Members{Group: o.id, Add: r.refs(all)}
	if r.mode == directory.Delta {
		m.Whole = true
		primary, err := r.primaryMembers(o.sid)
		if err != nil {
			return err
		}
		m.Add = append(m.Add, primary...)
		r.ends = slices.DeleteFunc(r.ends, func(e linkEnd) bool { return e.Group == o.id })
	}
	r.note(o.id, all)
	return r.hand(directory.Page{Members: []directory.Members{m}})
}

// refs are those of the members that are read, too. The others are none of Ambit's
// affair until they come into a base.
func (r *adRound) refs(members []extended) []directory.Ref {
	out := make([]directory.Ref, 0, len(members))
	for _, m := range members {
		dn, err := NormalDN(m.dn)
		if err == nil && slices.ContainsFunc(r.kinds, func(k adKind) bool { return k.within(dn) }) {
			out = append(out, directory.ByID(m.id))
		}
	}
	return out
}

// note keeps which links end.
func (r *adRound) note(group directory.ObjectID, members []extended) {
	for _, m := range members {
		r.ends = slices.DeleteFunc(r.ends, func(e linkEnd) bool { return e.Group == group && e.Member == m.id })
		if m.ttl > 0 {
			r.ends = append(r.ends, linkEnd{group, m.id, r.now.Add(m.ttl).UTC()})
		}
	}
}

// endLinks takes away the links that have ended.
func (r *adRound) endLinks(page *directory.Page) {
	r.ends = slices.DeleteFunc(r.ends, func(e linkEnd) bool {
		if e.End.After(r.now) {
			return false
		}
		page.Members = append(page.Members, directory.Members{Group: e.Group, Remove: []directory.Ref{directory.ByID(e.Member)}})
		return true
	})
}

// part reads a part of a group's members (Rule AD-13). A group without any has no
// first part.
func (r *adRound) part(id directory.ObjectID, from int) (memberValues, error) {
	var part memberValues
	found := false
	var e entry
	request := ldap.NewSearchRequest("<GUID="+string(id)+">", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=group)",
		[]string{"member;range=" + strconv.Itoa(from) + "-*"}, r.controls())
	_, err := r.connection.search(request, func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		found = from == 0
		for _, a := range e.attributes {
			base, options, _ := strings.Cut(strings.ToLower(a.name), ";")
			if base == "member" {
				found = true
				if err := part.read(a, options, false); err != nil {
					return err
				}
			}
		}
		return nil
	}, nil)
	if err == nil && !found {
		err = fmt.Errorf("%w: the controller does not give them", directory.ErrIncomplete)
	}
	return part, err
}

// primaryMembers are those whose primary group has the SID.
func (r *adRound) primaryMembers(sid string) ([]directory.Ref, error) {
	number, ok := strings.CutPrefix(sid, r.domain.sid+"-")
	if !ok {
		return nil, nil // of another domain, or built in
	}
	users := r.users()
	var out []directory.Ref
	err := r.ids(users, "(&"+users.filter+"(primaryGroupID="+ldap.EscapeFilter(number)+"))", func(x extended) error {
		out = append(out, directory.ByID(x.id))
		return nil
	})
	return out, err
}

// ids gives the ids and names that a filter finds below a kind's base.
func (r *adRound) ids(k adKind, filter string, take func(extended) error) error {
	var e entry
	return r.paged(k.base, filter, []string{"1.1"}, r.controls(), func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		x, ok := parseExtended(e.dn)
		if !ok {
			return fmt.Errorf("%w: entry %q came without its GUID (control %s)", directory.ErrIncomplete, e.dn, controlExtendedDN)
		}
		return take(x)
	}, func() error { return nil })
}

// list tells of all objects only that they are there, and their names. It is for
// where deletions do not show: uSNChanged says nothing of them without rights on
// the tombstones, and DirSync shows those only to some accounts (Rules AD-6,
// AD-9). What it does not show cannot be asked for, so it is believed to once it
// has.
func (r *adRound) list(k adKind) error {
	g := r.gather()
	err := r.ids(k, k.filter, func(x extended) error {
		if strings.Contains(strings.ToLower(x.dn), `\0acnf:`) {
			return nil
		}
		dn, err := NormalDN(x.dn)
		if err != nil {
			return fmt.Errorf("%w: entry %q: the name cannot be read: %w", directory.ErrIncomplete, x.dn, err)
		}
		if !k.within(dn) {
			return nil
		}
		g.page.Present = append(g.page.Present, directory.Present{ID: x.id, DN: dn})
		if len(g.page.Present) < g.limit {
			return nil
		}
		return g.flush()
	})
	if err != nil {
		return err
	}
	return g.flush()
}
