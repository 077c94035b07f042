package ldap

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// Source reads one LDAP server.
type Source struct {
	config Config
	tls    *tls.Config
}

// New makes a source of a valid configuration; it does not connect.
func New(c Config) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Source{config: c.withDefaults(), tls: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		s.tls.RootCAs = x509.NewCertPool()
		if !s.tls.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM", c.CAFile)
		}
	}
	if c.ClientCertificate != "" {
		pair, err := tls.LoadX509KeyPair(c.ClientCertificate, c.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client_certificate: %w", err)
		}
		s.tls.Certificates = []tls.Certificate{pair}
	}
	return s, nil
}

// patient is a connection on which a server that says nothing for too long is
// taken as gone.
type patient struct {
	net.Conn
	idle time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	if err := p.SetReadDeadline(time.Now().Add(p.idle)); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

// connect dials, encrypts, verifies and binds, in this order.
func (s *Source) connect(ctx context.Context) (*ldap.Conn, error) {
	u, err := url.Parse(s.config.URL)
	if err != nil {
		return nil, err
	}
	network, address := "tcp", u.Host
	switch {
	case u.Scheme == "ldapi":
		network = "unix"
		if address, err = url.PathUnescape(u.Host + u.Path); err != nil || address == "" {
			address = "/var/run/slapd/ldapi"
		}
	case u.Port() == "" && u.Scheme == "ldaps":
		address = net.JoinHostPort(u.Hostname(), "636")
	case u.Port() == "":
		address = net.JoinHostPort(u.Hostname(), "389")
	}
	raw, err := (&net.Dialer{Timeout: s.config.idle()}).DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w: %w", s.config.URL, directory.ErrUnreachable, err)
	}
	conn := net.Conn(patient{raw, s.config.idle()})
	verified := s.tls.Clone()
	if verified.ServerName == "" {
		verified.ServerName = u.Hostname()
	}
	if u.Scheme == "ldaps" {
		secure := tls.Client(conn, verified)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = raw.Close() // the handshake's error says more
			return nil, untrusted(s.config.URL, err)
		}
		conn = secure
	}
	l := ldap.NewConn(conn, u.Scheme == "ldaps")
	l.SetTimeout(s.config.idle())
	l.Start()
	if s.config.StartTLS {
		if err := l.StartTLS(verified); err != nil {
			_ = l.Close() // never go on in the clear (Rule LDAP-1)
			return nil, untrusted(s.config.URL, err)
		}
	}
	if err := s.bind(l); err != nil {
		_ = l.Close() // the bind's error says more
		return nil, err
	}
	return l, nil
}

func untrusted(address string, err error) error {
	hint := ""
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		hint = "; name the certificate of its authority with ca_file"
	}
	return fmt.Errorf("secure the connection to %s: %w: %w%s", address, directory.ErrUnreachable, err, hint)
}

func (s *Source) bind(l *ldap.Conn) error {
	var err error
	who := "as the process's user"
	if s.config.External {
		err = l.ExternalBind()
	} else {
		who = "as " + s.config.BindDN
		password, secretErr := s.config.Password.Resolve()
		if secretErr != nil {
			return fmt.Errorf("bind %s: %w: %w", who, directory.ErrAuth, secretErr)
		}
		err = l.Bind(s.config.BindDN, string(password))
	}
	if err != nil {
		return fmt.Errorf("bind to %s %s: %w", s.config.URL, who, classify(err))
	}
	return nil
}

// classify joins the kind of a server's or connection's error to it.
func classify(err error) error {
	for kind, codes := range map[error][]uint16{
		directory.ErrAuth: {
			ldap.LDAPResultInvalidCredentials, ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultStrongAuthRequired,
			ldap.LDAPResultConfidentialityRequired, ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultAuthMethodNotSupported,
		},
		directory.ErrUnreachable: {ldap.LDAPResultUnavailable, ldap.LDAPResultBusy},
	} {
		if ldap.IsErrorAnyOf(err, codes...) {
			return fmt.Errorf("%w: %w", kind, err)
		}
	}
	return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
}

// identity is what a cursor belongs to (Rule SRC-2).
func (s *Source) identity(attributes []string) []byte {
	c := s.config
	b, err := json.Marshal(struct {
		URL        string
		Users      Users
		Groups     Groups
		Attributes []string
	}{c.URL, c.Users, c.Groups, attributes})
	if err != nil {
		panic("internal error: identity of an LDAP source: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return []byte("full:" + hex.EncodeToString(sum[:]))
}

// Read reads all users and groups. Its rounds are always full.
func (s *Source) Read(ctx context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
	cursor := s.identity(start.Attributes)
	if start.Cursor != nil && string(start.Cursor) != string(cursor) {
		return fmt.Errorf("the source's configuration or the attributes that rules name have changed: %w", directory.ErrCursorExpired)
	}
	if err := begin(directory.Full); err != nil {
		return err
	}
	l, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	// A cancelled context must end a read that waits for the server.
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	if err := s.search(ctx, l, s.config.Users.Base, s.config.Users.Filter, s.userAttributes(start.Attributes), s.user, yield); err != nil {
		return fmt.Errorf("read users below %s: %w", s.config.Users.Base, ended(ctx, err))
	}
	if err := s.search(ctx, l, s.config.Groups.Base, s.config.Groups.Filter, s.groupAttributes(start.Attributes), s.group, yield); err != nil {
		return fmt.Errorf("read groups below %s: %w", s.config.Groups.Base, ended(ctx, err))
	}
	return yield(directory.Page{Cursor: cursor, Complete: true})
}

// ended prefers the reason why the caller ended the read.
func ended(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w: %w", directory.ErrIncomplete, cause)
	}
	return err
}

// search streams one paged search. It returns nil only after the server said
// that the last page was all (Rules SRC-1, LDAP-4).
func (s *Source) search(ctx context.Context, l *ldap.Conn, base, filter string, attributes []string, take func(*ldap.Entry, *directory.Page) error, yield func(directory.Page) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	paging := ldap.NewControlPaging(s.config.PageSize)
	for {
		request := ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter, attributes, []ldap.Control{paging})
		response := l.SearchAsync(ctx, request, int(min(s.config.PageSize, 1024)))
		var page directory.Page
		var done *ldap.ControlPaging
		for response.Next() {
			if control, ok := ldap.FindControl(response.Controls(), ldap.ControlTypePaging).(*ldap.ControlPaging); ok {
				done = control
			}
			if referral := response.Referral(); referral != "" {
				return fmt.Errorf("%w: the server refers to %s, and only the configured server is asked (Rule LDAP-7)", directory.ErrIncomplete, referral)
			}
			if entry := response.Entry(); entry != nil {
				if err := take(entry, &page); err != nil {
					return err
				}
			}
		}
		if err := response.Err(); err != nil {
			return explain(err)
		}
		if done == nil {
			// The stream ends without an error when the connection closes (Rule LDAP-14).
			return fmt.Errorf("%w: the connection ended before the server said that the page was complete", directory.ErrIncomplete)
		}
		if len(page.Upserts)+len(page.Problems) > 0 {
			if err := yield(page); err != nil {
				return err
			}
		}
		if len(done.Cookie) == 0 {
			return nil
		}
		paging.SetCookie(done.Cookie)
	}
}

// explain adds to limits what lifts them (Rule LDAP-5).
func explain(err error) error {
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultSizeLimitExceeded, ldap.LDAPResultTimeLimitExceeded, ldap.LDAPResultAdminLimitExceeded) {
		return fmt.Errorf("%w; lift the limit for the account that Ambit binds as", classify(err))
	}
	return classify(err)
}

func (s *Source) userAttributes(extra []string) []string {
	u := s.config.Users
	guest, _, _ := strings.Cut(u.Guest, "=")
	return names(append([]string{"entryUUID", u.UserName, u.DisplayName, u.Mail, u.Manager, u.Disabled, guest}, extra...))
}

func (s *Source) groupAttributes(extra []string) []string {
	g := s.config.Groups
	all := []string{"entryUUID", g.Name, g.Owner}
	for _, class := range g.Classes {
		all = append(all, memberAttributes[class])
	}
	return names(append(all, extra...))
}

func names(all []string) []string {
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(n string) bool { return n == "" })
}

// entry reads what users and groups share. It fails where going on would make
// the entry look gone: one without its id.
func (s *Source) entry(e *ldap.Entry, page *directory.Page, kind directory.Kind, skip ...string) (directory.Object, string, error) {
	o := directory.Object{Kind: kind, Attributes: make(map[string][]string, len(e.Attributes))}
	dn, err := NormalDN(e.DN)
	if err != nil {
		return o, "", fmt.Errorf("%w: entry %q: the name cannot be read: %w", directory.ErrIncomplete, e.DN, err)
	}
	o.DN = dn
	for _, a := range e.Attributes {
		name, _, _ := strings.Cut(a.Name, ";") // options (Rule LDAP-8)
		switch {
		case strings.EqualFold(name, "entryUUID"):
			if len(a.Values) == 1 {
				o.ID = directory.ObjectID(strings.ToLower(a.Values[0]))
			}
			continue
		case slices.ContainsFunc(skip, func(s string) bool { return strings.EqualFold(s, name) }):
			continue
		}
		values := o.Attributes[name]
		for _, v := range a.Values {
			if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				page.Problems = append(page.Problems, directory.Problem{
					DN: e.DN, Text: fmt.Sprintf("a value of %s is not text in UTF-8 and was left out; mend it in the directory, or do not name the attribute in rules", name),
				})
				continue
			}
			values = append(values, v)
		}
		if len(values) > 1 {
			slices.Sort(values) // LDAP gives values in no order
		}
		if len(values) > 0 {
			o.Attributes[name] = values
		}
	}
	if o.ID == "" {
		return o, "", fmt.Errorf("%w: entry %q has no entryUUID; let the account that Ambit binds as read it", directory.ErrIncomplete, e.DN)
	}
	for i := range page.Problems {
		if p := &page.Problems[i]; p.DN == e.DN {
			p.Object = o.ID
		}
	}
	return o, dn, nil
}

// value finds an attribute whatever the case of its name.
func value(o directory.Object, name string) []string {
	if v, ok := o.Attributes[name]; ok || name == "" {
		return v
	}
	for n, v := range o.Attributes {
		if strings.EqualFold(n, name) {
			return v
		}
	}
	return nil
}

// translate puts a source's attribute under the name that rules know.
func translate(o directory.Object, to, from string) {
	if v := value(o, from); len(v) > 0 {
		o.Attributes[to] = v[:1]
	}
}

func (s *Source) user(e *ldap.Entry, page *directory.Page) error {
	u := s.config.Users
	o, _, err := s.entry(e, page, directory.KindUser, u.Manager)
	if err != nil {
		return err
	}
	translate(o, directory.AttrUserName, u.UserName)
	translate(o, directory.AttrDisplayName, u.DisplayName)
	translate(o, directory.AttrMail, u.Mail)
	if u.Disabled != "" {
		o.Attributes[directory.AttrEnabled] = []string{"true"}
		if len(value(o, u.Disabled)) > 0 {
			o.Attributes[directory.AttrEnabled] = []string{"false"}
		}
	}
	if name, want, ok := strings.Cut(u.Guest, "="); ok && slices.ContainsFunc(value(o, name), func(v string) bool { return strings.EqualFold(v, want) }) {
		o.Attributes[directory.AttrUserType] = []string{"Guest"}
	}
	if manager := e.GetEqualFoldAttributeValue(u.Manager); manager != "" {
		ref, problem := reference(manager)
		if problem != "" {
			page.Problems = append(page.Problems, directory.Problem{Object: o.ID, DN: e.DN, Text: u.Manager + ": " + problem})
		} else {
			o.Attributes[directory.AttrManager] = []string{string(ref)}
		}
	}
	page.Upserts = append(page.Upserts, directory.Upsert{Object: o})
	return nil
}

func (s *Source) group(e *ldap.Entry, page *directory.Page) error {
	g := s.config.Groups
	o, _, err := s.entry(e, page, directory.KindGroup, "member", "uniqueMember", "memberUid", g.Owner)
	if err != nil {
		return err
	}
	translate(o, directory.AttrDisplayName, g.Name)
	o.Attributes[directory.AttrGroupKind] = []string{"security"}
	members := directory.Members{Group: o.ID, Relation: directory.Member, Whole: true}
	owners := directory.Members{Group: o.ID, Relation: directory.Owner, Whole: true}
	for _, a := range e.Attributes {
		name, _, _ := strings.Cut(a.Name, ";")
		list := &members
		switch {
		case strings.EqualFold(name, g.Owner):
			list = &owners
		case !slices.ContainsFunc(g.Classes, func(class string) bool { return strings.EqualFold(memberAttributes[class], name) }):
			continue
		}
		list.Add = slices.Grow(list.Add, len(a.Values))
		for _, v := range a.Values {
			if strings.EqualFold(name, "memberUid") {
				if utf8.ValidString(v) {
					list.Add = append(list.Add, directory.ByUserName(v))
				}
				continue
			}
			if strings.EqualFold(name, "uniqueMember") {
				v, _, _ = strings.Cut(v, "#'") // the optional identifier (RFC 4517)
			}
			ref, problem := reference(v)
			if problem != "" {
				page.Problems = append(page.Problems, directory.Problem{Object: o.ID, DN: e.DN, Text: name + ": " + problem})
				continue
			}
			list.Add = append(list.Add, ref)
		}
	}
	page.Upserts = append(page.Upserts, directory.Upsert{Object: o})
	page.Members = append(page.Members, members, owners)
	return nil
}

func reference(dn string) (ref directory.Ref, problem string) {
	if !utf8.ValidString(dn) {
		return "", "a value is not text in UTF-8 and was left out"
	}
	normal, err := NormalDN(dn)
	if err != nil || normal == "" {
		return "", fmt.Sprintf("%q is not a DN and was left out", dn)
	}
	return directory.ByDN(normal), ""
}

// Probe connects, binds, and tells what the server is and whether it can be read.
func (s *Source) Probe(ctx context.Context) ([]string, error) {
	l, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	root, err := l.Search(ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false, "(objectClass=*)",
		[]string{"namingContexts", "supportedControl", "vendorName"}, nil))
	if err != nil || len(root.Entries) != 1 {
		return nil, fmt.Errorf("read the server's root entry: %w", classify(err))
	}
	if !slices.Contains(root.Entries[0].GetAttributeValues("supportedControl"), ldap.ControlTypePaging) {
		return nil, fmt.Errorf("the server does not offer paged results (control %s), without which a large directory cannot be read", ldap.ControlTypePaging)
	}
	facts := []string{
		"connected to " + s.config.URL,
		"naming contexts " + strings.Join(root.Entries[0].GetAttributeValues("namingContexts"), ", "),
	}
	for what, where := range map[string][2]string{"users": {s.config.Users.Base, s.config.Users.Filter}, "groups": {s.config.Groups.Base, s.config.Groups.Filter}} {
		found, err := l.Search(ldap.NewSearchRequest(where[0], ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 1, 0, false, where[1], []string{"entryUUID"}, nil))
		if err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) {
			return facts, fmt.Errorf("read %s below %s: %w", what, where[0], explain(err))
		}
		switch {
		case len(found.Entries) == 0:
			facts = append(facts, fmt.Sprintf("no %s below %s match %s", what, where[0], where[1]))
		case found.Entries[0].GetAttributeValue("entryUUID") == "":
			return facts, fmt.Errorf("%s below %s: entryUUID cannot be read; let the account read operational attributes", what, where[0])
		default:
			facts = append(facts, fmt.Sprintf("%s below %s can be read", what, where[0]))
		}
	}
	slices.Sort(facts[2:])
	return facts, nil
}
