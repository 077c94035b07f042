package ldap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// Source reads one LDAP server.
type Source struct {
	*dialer
	config Config
	others []*dialer // to where references may lead
	now    func() time.Time
	way    atomic.Value // a string: how the last round followed changes
}

// New makes a source of a valid configuration; it does not connect.
func New(c Config) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	d, err := newDialer(c.Server)
	if err != nil {
		return nil, err
	}
	s := &Source{dialer: d, config: c.withDefaults(), now: time.Now}
	for _, url := range c.Referrals {
		one := c.Server
		one.URL = url
		other, err := newDialer(one)
		if err != nil {
			return nil, err
		}
		s.others = append(s.others, other)
	}
	return s, nil
}

// cursor is where a round goes on.
type cursor struct {
	// Identity is of what gave it (Rule SRC-2).
	Identity string `json:"identity"`
	// Full is when everything was read last.
	Full time.Time `json:"full"`
	// Cookies are the server's, by search (Rule LDAP-15).
	Cookies map[string][]byte `json:"cookies,omitempty"`
	// Containers are the ids of all that entries lie in, by search.
	Containers map[string][]directory.ObjectID `json:"containers,omitempty"`
	// Newest is the newest modifyTimestamp that was read (Rule LDAP-25).
	Newest string `json:"newest,omitempty"`
	// Log is up to where the log of changes was read, if there is one.
	Log *position `json:"log,omitempty"`
	// Witnesses are the entries that were changed last. One that is not as new any more
	// shows that the server was put back.
	Witnesses []witness `json:"witnesses,omitempty"`
	// Dynamic are the ids of the groups whose members are found by a search.
	Dynamic []directory.ObjectID `json:"dynamic,omitempty"`
}

func (c cursor) encode() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic("internal error: cursor of an LDAP source: " + err.Error())
	}
	return b
}

// identityOf sums up what a cursor belongs to.
func identityOf(of ...any) string {
	b, err := json.Marshal(of)
	if err != nil {
		panic("internal error: identity of an LDAP source: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

var errIdentity = fmt.Errorf("the source's configuration or the attributes that rules name have changed: %w", directory.ErrCursorExpired)

// last reads the cursor of the last round; zero for none. What everything was
// read for too long ago is no cursor any more.
func (s *Source) last(start directory.Start) (cursor, error) {
	of := []any{s.config.URL, s.config.UniqueID, s.config.Users, s.config.Groups, s.config.Changes, s.config.Referrals, start.Attributes}
	if s.config.ChangesLog != "" {
		of = append(of, s.config.ChangesLog)
	}
	identity := identityOf(of...)
	if start.Cursor == nil {
		return cursor{Identity: identity}, nil
	}
	var c cursor
	if err := json.Unmarshal(start.Cursor, &c); err != nil || c.Identity != identity {
		return c, errIdentity
	}
	if age := s.now().Sub(c.Full); age < 0 || age > time.Duration(s.config.FullHours)*time.Hour {
		return cursor{Identity: identity}, nil
	}
	return c, nil
}

// connect reaches the server.
func (s *Source) connect(ctx context.Context) (*connection, error) {
	c, err := s.dialer.connect(ctx)
	if err == nil {
		c.refer = s.refer(ctx, nil)
	}
	return c, err
}

// round is one round of a source.
type round struct {
	*connection
	begin func(directory.Mode) error
	yield func(directory.Page) error
	own   error // of the caller, which is returned as it is
}

func (r *round) start(mode directory.Mode) error {
	r.own = r.begin(mode)
	return r.own
}

func (r *round) hand(p directory.Page) error {
	defer r.link.pause()()
	r.own = r.yield(p)
	return r.own
}

// ended is what is returned when a round ends with err.
func (r *round) ended(ctx context.Context, err error) error {
	if r.own != nil || err == nil {
		return r.own
	}
	return ended(ctx, err)
}

// Read reads what has changed since the last round, or all users and groups.
func (s *Source) Read(ctx context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
	last, err := s.last(start)
	if err != nil {
		return err
	}
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	r := &round{connection: c, begin: begin, yield: yield}
	method, err := s.method(c)
	s.way.Store(methods[method])
	switch {
	case err != nil:
	case method == contentSync:
		err = s.synchronize(r, start.Attributes, last)
	case dates(method) && last.Newest != "":
		err = s.poll(r, start.Attributes, last)
	default:
		err = s.full(r, start.Attributes, last, method)
	}
	return r.ended(ctx, err)
}

// root is what a server says of itself (Rule LDAP-3), by attribute in lower case.
type root map[string][]string

func (c *connection) root(attributes ...string) (root, error) {
	root := root{}
	var e entry
	request := ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", attributes, nil)
	if _, err := c.search(request, func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		for _, a := range e.attributes {
			root[strings.ToLower(a.name)] = slices.Clone(a.values)
		}
		return nil
	}, nil); err != nil {
		return nil, fmt.Errorf("read the server's root entry: %w", err)
	}
	return root, nil
}

func (r root) offers(control string) bool { return slices.Contains(r["supportedcontrol"], control) }

// method chooses how changes are followed (Rule LDAP-3).
func (s *Source) method(c *connection) (string, error) {
	switch {
	case len(s.others) > 0:
		return everything, nil
	case dates(s.config.Changes), s.config.Changes == everything:
		return s.config.Changes, nil
	}
	root, err := c.root("supportedControl", "vendorVersion")
	if err != nil {
		return "", err
	}
	// 389's gives an end that means "what I have not named is gone" with a list of
	// what has changed, and leaves operational attributes out of that, such as the one
	// that locks an account (Rules LDAP-18, LDAP-20).
	unfit := slices.ContainsFunc(root["vendorversion"], func(v string) bool { return strings.HasPrefix(v, "389-Directory/") })
	offered := root.offers(ldap.ControlTypeSyncRequest) && idForm(s.config.UniqueID) == entryUUID && !unfit
	if offered {
		// The list of controls is the whole server's; a database may be without.
		offered, err = s.tries(c)
	}
	switch {
	case err != nil:
		return "", err
	case offered:
		return contentSync, nil
	case s.config.Changes == contentSync && unfit:
		return "", fmt.Errorf("%w: the content synchronisation of 389 Directory Server leaves out what locks accounts, and to it who was not named is gone; leave changes out", directory.ErrIncomplete)
	case s.config.Changes == contentSync:
		return "", fmt.Errorf("%w: the server does not offer content synchronisation (control %s), which changes: content_sync asks for; set up the overlay syncprov there, or leave changes out",
			directory.ErrIncomplete, ldap.ControlTypeSyncRequest)
	}
	return timestamps, nil
}

// dates tells whether a way of following changes goes by when entries were changed.
func dates(method string) bool {
	_, logged := changeLogs[method]
	return logged || method == timestamps
}

// tries asks for content synchronisation of the two bases alone.
func (s *Source) tries(c *connection) (bool, error) {
	for _, base := range []string{s.config.Users.Base, s.config.Groups.Base} {
		request := ldap.NewSearchRequest(base, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"1.1"},
			[]ldap.Control{ldap.NewControlSyncRequest(ldap.SyncRequestModeRefreshOnly, nil, false)})
		_, err := c.search(request, func(string) error { return nil }, nil)
		if ldap.IsErrorWithCode(err, ldap.LDAPResultUnavailableCriticalExtension) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read below %s: %w", base, err)
		}
	}
	return true, nil
}

// part is one of the searches that a read consists of.
type part struct {
	what, base, filter string
	shape              *shape
}

// of puts the search before an error.
func (p part) of(err error) error { return fmt.Errorf("read %s below %s: %w", p.what, p.base, err) }

func (s *Source) parts(attributes []string) []part {
	u, g := s.config.Users, s.config.Groups
	if s.config.dynamic() { // those have a search of their own
		g.Filter = "(&" + g.Filter + "(!" + isDynamic + "))"
	}
	return []part{
		{"users", u.Base, u.Filter, s.config.newShape(directory.KindUser, attributes)},
		{"groups", g.Base, g.Filter, s.config.newShape(directory.KindGroup, attributes)},
	}
}

// full reads everything, page by page.
func (s *Source) full(r *round, attributes []string, last cursor, method string) error {
	if err := r.start(directory.Full); err != nil {
		return err
	}
	seen := &stamps{now: s.now()}
	for _, p := range s.parts(attributes) {
		if dates(method) {
			p.shape.stamps = seen
		}
		if err := r.read(p, p.filter); err != nil {
			return p.of(err)
		}
	}
	next := cursor{Identity: last.Identity, Full: s.now()}
	if !seen.missing && len(seen.newest) > 0 {
		mark := seen.mark(s.now()).UTC().Truncate(time.Second)
		next.Newest, next.Witnesses = mark.Format(generalizedTime), seen.witnesses(mark)
	}
	return s.finish(r, attributes, directory.Page{}, last, next)
}

// finish reads the groups whose members are found by a search, and ends the round.
func (s *Source) finish(r *round, attributes []string, end directory.Page, last, next cursor) error {
	if s.config.dynamic() {
		if err := s.readDynamic(r, attributes, &end, last, &next); err != nil {
			return err
		}
	}
	end.Cursor, end.Complete = next.encode(), true
	return r.hand(end)
}

// pageValues bounds a page by the edges on it, too: a page of large groups is
// handed on in pieces.
const pageValues = 50_000

// gathering is a page that fills.
type gathering struct {
	page  directory.Page
	edges int
	limit int // objects
	hand  func(directory.Page) error
}

func (r *round) gather() *gathering { return &gathering{limit: int(r.pageSize), hand: r.hand} }

// add takes an entry, and hands the page on when it is full.
func (g *gathering) add(s *shape, e *entry) error {
	before := len(g.page.Members)
	if err := s.add(e, &g.page); err != nil {
		return err
	}
	for _, m := range g.page.Members[before:] {
		g.edges += len(m.Add)
	}
	if g.edges < pageValues && len(g.page.Upserts)+len(g.page.Present) < g.limit {
		return nil
	}
	return g.flush()
}

// flush hands on what there is.
func (g *gathering) flush() error {
	if len(g.page.Upserts) == 0 && len(g.page.Present) == 0 && len(g.page.Removed) == 0 && len(g.page.Members) == 0 && len(g.page.Problems) == 0 {
		return nil
	}
	full := g.page
	g.page, g.edges = directory.Page{}, 0
	return g.hand(full)
}

// read hands on one part, or what of it another filter finds. It returns nil only
// after the server said that the last page was all.
func (r *round) read(p part, filter string) error {
	var e entry
	g := r.gather()
	return r.paged(p.base, filter, p.shape.attributes(), nil, func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		return g.add(p.shape, &e)
	}, g.flush)
}

// critical is the paging control, marked so that a server which does not know it
// must refuse the search instead of ignoring it (Rule LDAP-4).
type critical struct{ *ldap.ControlPaging }

func (c critical) Encode() *ber.Packet {
	children := c.ControlPaging.Encode().Children
	packet := ber.NewSequence("")
	packet.AppendChild(children[0])
	packet.AppendChild(ber.NewBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, true, ""))
	packet.AppendChild(children[1])
	return packet
}

// paged searches page by page. It returns nil only after the server ended the
// last page well and without a cookie (Rules SRC-1, LDAP-4).
func (c *connection) paged(base, filter string, attributes []string, controls []ldap.Control, take func(message string) error, pageEnd func() error) error {
	return c.pagedIn(ldap.ScopeWholeSubtree, base, filter, attributes, controls, take, pageEnd)
}

// pagedIn is paged in another scope than the whole subtree.
func (c *connection) pagedIn(scope int, base, filter string, attributes []string, controls []ldap.Control, take func(message string) error, pageEnd func() error) error {
	paging := ldap.NewControlPaging(c.pageSize)
	own := controls
	controls = append(slices.Clip(controls), critical{paging})
	var references []string
	there := func(base string) error { return c.pagedIn(scope, base, filter, attributes, own, take, pageEnd) }
	for first := true; ; first = false {
		request := ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, 0, 0, false, filter, attributes, controls)
		result, err := c.search(request, take, nil)
		switch {
		case err != nil && first:
			return c.referred(err, scope, there)
		case err != nil:
			return err
		}
		answer, ok := ldap.FindControl(result.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if !ok {
			return fmt.Errorf("%w: the server answered without paged results (control %s), so whether that was all is not known", directory.ErrIncomplete, ldap.ControlTypePaging)
		}
		if err := pageEnd(); err != nil {
			return err
		}
		references = append(references, result.Referrals...)
		if len(answer.Cookie) == 0 {
			return c.elsewhere(references, scope, there)
		}
		paging.SetCookie(answer.Cookie)
	}
}

// search sends one request and gives each entry of the answer to take, and each
// intermediate message to between, if there is one. Without an error the server
// has said that its answer ended well: go-ldap's Search, unlike its SearchAsync
// and Syncrepl, gives an error for every other end (Rule LDAP-14). A reference to
// another server is no good end (Rule LDAP-7).
func (c *connection) search(request *ldap.SearchRequest, take, between func(message string) error) (*ldap.SearchResult, error) {
	entries := take
	take = func(message string) error {
		switch {
		case !isBetween(message):
			return entries(message)
		case between != nil:
			return between(message)
		}
		return nil
	}
	var result *ldap.SearchResult
	var err error
	done := make(chan struct{})
	c.link.await(true)
	go func() {
		defer close(done)
		result, err = c.ldap.Search(request)
	}()
	var refused error
	for over := false; !over; {
		select {
		case message := <-c.link.entries:
			refused = take(message)
		case <-done:
			// The link put all entries here before it gave the result to go-ldap.
			for len(c.link.entries) > 0 && refused == nil {
				refused = take(<-c.link.entries)
			}
			over = true
		}
		if refused != nil {
			_ = c.link.Close() // the server would go on
			<-done
			return nil, refused
		}
	}
	c.link.await(false)
	if err != nil {
		return nil, classify(err)
	}
	if len(result.Referrals) > 0 && c.refer == nil {
		return nil, fmt.Errorf("%w: the server refers to %s, and only the configured server is asked, or those of referrals (Rule LDAP-7)", directory.ErrIncomplete, result.Referrals[0])
	}
	return result, nil
}

// Follows is how the last round followed changes (Rule LDAP-3).
func (s *Source) Follows() string {
	way, _ := s.way.Load().(string)
	return way
}

// methods say what the ways of following changes are.
var methods = map[string]string{
	contentSync: "content synchronisation (RFC 4533), at once",
	timestamps:  "modifyTimestamp, and what is gone by a list of all ids",
	accessLog:   "modifyTimestamp and the access log, and a list of all ids where that leaves something open",
	retroLog:    "modifyTimestamp and the retro changelog, and a list of all ids where that leaves something open",
	everything:  "reading everything each time",
}

// Probe connects, binds, tells what the server is, and counts what can be read.
func (s *Source) Probe(ctx context.Context) ([]string, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	root, err := c.root("namingContexts", "supportedControl")
	if err != nil {
		return nil, ended(ctx, err)
	}
	if !root.offers(ldap.ControlTypePaging) {
		return nil, fmt.Errorf("the server does not offer paged results (control %s), without which a large directory cannot be read", ldap.ControlTypePaging)
	}
	facts := []string{
		"connected to " + s.config.URL,
		"naming contexts " + strings.Join(root["namingcontexts"], ", "),
	}
	method, err := s.method(c)
	if err != nil {
		return facts, ended(ctx, err)
	}
	facts = append(facts, "changes are followed by "+methods[method])
	if log, ok := s.config.logged(); ok {
		fact, err := log.probe(c, s.now())
		if err != nil {
			return facts, ended(ctx, err)
		}
		facts = append(facts, fact)
	}
	if root.offers(ldap.ControlTypeManageDsaIT) {
		for _, base := range slices.Compact([]string{s.config.Users.Base, s.config.Groups.Base}) {
			references, err := c.references(base)
			if err != nil {
				return facts, fmt.Errorf("read references below %s: %w", base, ended(ctx, err))
			}
			facts = append(facts, references...)
		}
	}
	var e entry
	for _, p := range s.parts(nil) {
		count := 0
		// All are counted, so that a limit of the account shows here.
		if err := c.paged(p.base, p.filter, []string{string(p.shape.ids)}, nil, func(message string) error {
			count++
			if err := e.read(message); err != nil {
				return err
			}
			if p.shape.ids.of(&e) == "" {
				return p.shape.ids.missing(e.dn)
			}
			return nil
		}, func() error { return nil }); err != nil {
			return facts, fmt.Errorf("read %s below %s: %w", p.what, p.base, ended(ctx, err))
		}
		fact := fmt.Sprintf("%d %s below %s match %s", count, p.what, p.base, p.filter)
		if count == 0 {
			fact += "; see whether the base and filter are right and the account that Ambit binds as may read them"
		}
		facts = append(facts, fact)
	}
	if s.config.dynamic() {
		groups, odd := 0, []string(nil)
		if err := s.dynamicGroups(c, isDynamic, nil, func(p directory.Page, _ string) error {
			groups++
			for _, problem := range p.Problems {
				odd = append(odd, fmt.Sprintf("WARNING: %s: %s", problem.DN, problem.Text))
			}
			return nil
		}); err != nil {
			return facts, ended(ctx, err)
		}
		facts = append(append(facts, fmt.Sprintf("%d dynamic groups below %s, whose members each round searches for", groups, s.config.Groups.Base)), odd...)
	}
	return facts, nil
}
