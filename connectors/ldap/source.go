package ldap

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// Source reads one LDAP server.
type Source struct {
	config Config
	target target
	tls    *tls.Config
}

// New makes a source of a valid configuration; it does not connect.
func New(c Config) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	where, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	s := &Source{config: c.withDefaults(), target: where, tls: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}}
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
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := begin(directory.Full); err != nil {
		return err
	}
	var own error // of the caller, which is returned as it is
	hand := func(p directory.Page) error {
		own = yield(p)
		return own
	}
	for _, part := range s.parts(start.Attributes) {
		err := s.read(c, part, hand)
		switch {
		case own != nil:
			return own
		case err != nil:
			return fmt.Errorf("read %s below %s: %w", part.what, part.base, ended(ctx, err))
		}
	}
	return yield(directory.Page{Cursor: cursor, Complete: true})
}

// part is one of the two searches that a read consists of.
type part struct {
	what, base, filter string
	shape              *shape
}

func (s *Source) parts(attributes []string) [2]part {
	u, g := s.config.Users, s.config.Groups
	return [2]part{
		{"users", u.Base, u.Filter, s.config.newShape(directory.KindUser, attributes)},
		{"groups", g.Base, g.Filter, s.config.newShape(directory.KindGroup, attributes)},
	}
}

// pageValues bounds a page by the edges on it, too: a page of large groups is
// handed on in pieces.
const pageValues = 50_000

// read hands on one part. It returns nil only after the server said that the
// last page was all.
func (s *Source) read(c *connection, p part, hand func(directory.Page) error) error {
	var e entry
	var page directory.Page
	edges := 0
	flush := func() error {
		if len(page.Upserts) == 0 {
			return nil
		}
		full := page
		page, edges = directory.Page{}, 0
		return hand(full)
	}
	return s.paged(c, p.base, p.filter, p.shape.attributes(), func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		before := len(page.Members)
		if err := p.shape.add(&e, &page); err != nil {
			return err
		}
		for _, m := range page.Members[before:] {
			edges += len(m.Add)
		}
		if edges < pageValues {
			return nil
		}
		return flush()
	}, flush)
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
func (s *Source) paged(c *connection, base, filter string, attributes []string, take func(message string) error, pageEnd func() error) error {
	paging := ldap.NewControlPaging(s.config.PageSize)
	for {
		request := ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter, attributes, []ldap.Control{critical{paging}})
		result, err := c.search(request, take)
		if err != nil {
			return err
		}
		if len(result.Referrals) > 0 {
			return fmt.Errorf("%w: the server refers to %s, and only the configured server is asked (Rule LDAP-7)", directory.ErrIncomplete, result.Referrals[0])
		}
		answer, ok := ldap.FindControl(result.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging)
		if !ok {
			return fmt.Errorf("%w: the server answered without paged results (control %s), so whether that was all is not known", directory.ErrIncomplete, ldap.ControlTypePaging)
		}
		if err := pageEnd(); err != nil {
			return err
		}
		if len(answer.Cookie) == 0 {
			return nil
		}
		paging.SetCookie(answer.Cookie)
	}
}

// search sends one request and gives each entry of the answer to take. Without
// an error the server has said that its answer ended well: go-ldap's Search,
// unlike its SearchAsync, gives an error for every other end (Rule LDAP-14).
func (c *connection) search(request *ldap.SearchRequest, take func(message string) error) (*ldap.SearchResult, error) {
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
	return result, nil
}

// Probe connects, binds, tells what the server is, and counts what can be read.
func (s *Source) Probe(ctx context.Context) ([]string, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	root := map[string][]string{}
	var e entry
	request := ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"namingContexts", "supportedControl"}, nil)
	if _, err := c.search(request, func(message string) error {
		if err := e.read(message); err != nil {
			return err
		}
		for _, a := range e.attributes {
			root[strings.ToLower(a.name)] = slices.Clone(a.values)
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read the server's root entry: %w", ended(ctx, err))
	}
	if !slices.Contains(root["supportedcontrol"], ldap.ControlTypePaging) {
		return nil, fmt.Errorf("the server does not offer paged results (control %s), without which a large directory cannot be read", ldap.ControlTypePaging)
	}
	facts := []string{
		"connected to " + s.config.URL,
		"naming contexts " + strings.Join(root["namingcontexts"], ", "),
	}
	for _, p := range s.parts(nil) {
		count := 0
		// All are counted, so that a limit of the account shows here.
		if err := s.paged(c, p.base, p.filter, []string{"entryUUID"}, func(message string) error {
			count++
			if err := e.read(message); err != nil {
				return err
			}
			if len(e.attributes) == 0 {
				return fmt.Errorf("%q has no entryUUID; let the account that Ambit binds as read it", e.dn)
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
	return facts, nil
}
