// Package ldaptest is an LDAP server in process, over TLS on loopback, for the
// demo and for tests of what a real server does only on a bad day. It knows a
// simple bind, paged searches with the filters that Ambit sends, and changes
// while it runs. It is not for production.
package ldaptest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/loopback"
)

// BindDN and Password are the account that may read.
const (
	BindDN   = "cn=ambit,dc=example,dc=com"
	Password = "ambit-reads"
)

// Fault is something that a search runs into. The zero Fault is none.
type Fault struct {
	// After so many entries of the search, over all pages.
	After int
	// Cut closes the connection.
	Cut bool
	// Stall says nothing any more, until the server closes.
	Stall bool
	// Result ends the search with this code instead of success.
	Result uint16
	// Unpaged leaves the paging control out of the answer.
	Unpaged bool
	// Refer sends a search reference to another server.
	Refer string
}

// Server is a running server.
type Server struct {
	// URL is ldaps://127.0.0.1:port; CAFile verifies its certificate.
	URL, CAFile string

	listener net.Listener
	closed   chan struct{}
	group    sync.WaitGroup

	mu      sync.Mutex
	entries []company.Entry
	conns   map[net.Conn]bool
	fault   Fault
}

// Start serves the entries. It keeps its certificates in dir, below ldap. Close
// ends it.
func Start(dir string, entries []company.Entry) (*Server, error) {
	dir = filepath.Join(dir, "ldap")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the LDAP server: %w", err)
	}
	if err := loopback.Certificates(dir); err != nil {
		return nil, err
	}
	certificate, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	if err != nil {
		return nil, fmt.Errorf("certificate of the LDAP server: %w", err)
	}
	s := &Server{CAFile: filepath.Join(dir, "ca.pem"), closed: make(chan struct{}), conns: map[net.Conn]bool{}}
	for _, e := range entries {
		s.entries = append(s.entries, clone(e))
	}
	s.listener, err = tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s.URL = "ldaps://" + s.listener.Addr().String()
	s.group.Go(s.accept)
	return s, nil
}

func clone(e company.Entry) company.Entry {
	out := company.Entry{DN: e.DN}
	for _, a := range e.Attributes {
		out.Attributes = append(out.Attributes, company.Attribute{Name: a.Name, Values: slices.Clone(a.Values)})
	}
	return out
}

// Close ends all connections.
func (s *Server) Close() error {
	close(s.closed)
	err := s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close() // it is going away
	}
	s.mu.Unlock()
	s.group.Wait()
	return err
}

// Arm makes every search run into the fault, until another is armed.
func (s *Server) Arm(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Change edits the values of an entry's attribute; no values remove it. An entry
// that is not there is the caller's mistake.
func (s *Server) Change(dn, attribute string, edit func(values []string) []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.entries {
		e := &s.entries[i]
		if e.DN != dn {
			continue
		}
		at := slices.IndexFunc(e.Attributes, func(a company.Attribute) bool { return a.Name == attribute })
		if at < 0 {
			e.Attributes = append(e.Attributes, company.Attribute{Name: attribute})
			at = len(e.Attributes) - 1
		}
		// A search that runs sees the entry as it was.
		values := edit(slices.Clone(e.Attributes[at].Values))
		e.Attributes = slices.Clone(e.Attributes)
		e.Attributes[at].Values = values
		if len(values) == 0 {
			e.Attributes = slices.Delete(e.Attributes, at, at+1)
		}
		return
	}
	panic("internal error: no such entry in the directory: " + dn)
}

// RemoveMember takes a person out of a group, by DN.
func (s *Server) RemoveMember(group, member string) {
	s.Change(group, "member", func(v []string) []string {
		return slices.DeleteFunc(v, func(m string) bool { return m == member })
	})
}

// AddMember puts a person into a group, by DN.
func (s *Server) AddMember(group, member string) {
	s.Change(group, "member", func(v []string) []string { return append(v, member) })
}

// EmptyGroup takes everybody out of a group and returns who was in it.
func (s *Server) EmptyGroup(group string) (was []string) {
	s.Change(group, "member", func(v []string) []string { was = v; return nil })
	return was
}

// Add puts an entry into the directory.
func (s *Server) Add(e company.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = append(s.entries, clone(e))
}

// Remove takes an entry out of the directory. What names it as a member stays.
func (s *Server) Remove(dn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = slices.DeleteFunc(slices.Clone(s.entries), func(e company.Entry) bool { return e.DN == dn })
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		s.group.Go(func() {
			s.serve(conn)
			_ = conn.Close() // served
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
	}
}

var errCut = errors.New("cut")

func (s *Server) serve(conn net.Conn) {
	bound := false
	for {
		packet, err := ber.ReadPacket(conn)
		if err != nil || len(packet.Children) < 2 {
			return
		}
		id, _ := packet.Children[0].Value.(int64)
		op := packet.Children[1]
		reply := func(tag ber.Tag, code uint16, controls ...ldap.Control) error {
			return send(conn, id, result(tag, code), controls...)
		}
		switch op.Tag {
		case ldap.ApplicationBindRequest:
			dn, _ := op.Children[1].Value.(string)
			bound = dn == BindDN && op.Children[2].Data.String() == Password
			code := uint16(ldap.LDAPResultInvalidCredentials)
			if bound {
				code = ldap.LDAPResultSuccess
			}
			err = reply(ldap.ApplicationBindResponse, code)
		case ldap.ApplicationSearchRequest:
			if !bound {
				err = reply(ldap.ApplicationSearchResultDone, ldap.LDAPResultInsufficientAccessRights)
				break
			}
			err = s.search(conn, id, packet, reply)
		case ldap.ApplicationUnbindRequest:
			return
		default:
			err = reply(ldap.ApplicationExtendedResponse, ldap.LDAPResultProtocolError)
		}
		if err != nil {
			return
		}
	}
}

func (s *Server) search(conn net.Conn, id int64, packet *ber.Packet, reply func(ber.Tag, uint16, ...ldap.Control) error) error {
	op := packet.Children[1]
	base, _ := op.Children[0].Value.(string)
	scope, _ := op.Children[1].Value.(int64)
	var wanted []string
	for _, a := range op.Children[7].Children {
		name, _ := a.Value.(string)
		wanted = append(wanted, strings.ToLower(name))
	}
	if scope == ldap.ScopeBaseObject && base == "" {
		root := company.Entry{Attributes: []company.Attribute{
			{Name: "namingContexts", Values: []string{company.Suffix}}, {Name: "supportedControl", Values: []string{ldap.ControlTypePaging}},
		}}
		if err := send(conn, id, entry(root, wanted)); err != nil {
			return err
		}
		return reply(ldap.ApplicationSearchResultDone, ldap.LDAPResultSuccess)
	}
	s.mu.Lock()
	entries, fault := s.entries, s.fault
	var found []company.Entry
	for _, e := range entries {
		if (e.DN == base || strings.HasSuffix(e.DN, ","+base)) && matches(e, op.Children[6]) {
			found = append(found, e)
		}
	}
	s.mu.Unlock()

	size, from := len(found), 0
	var paging *ldap.ControlPaging
	if len(packet.Children) > 2 {
		for _, c := range packet.Children[2].Children {
			if decoded, err := ldap.DecodeControl(c); err == nil {
				if p, ok := decoded.(*ldap.ControlPaging); ok {
					paging, size = p, int(p.PagingSize)
					from, _ = strconv.Atoi(string(p.Cookie))
				}
			}
		}
	}
	if limit, _ := op.Children[3].Value.(int64); limit > 0 {
		size = min(size, int(limit))
	}
	to := min(from+size, len(found))
	for i := from; i < to; i++ {
		if fault != (Fault{}) && i >= fault.After {
			switch {
			case fault.Cut:
				return errCut
			case fault.Stall:
				<-s.closed
				return errCut
			case fault.Result != 0:
				return reply(ldap.ApplicationSearchResultDone, fault.Result)
			case fault.Refer != "":
				if err := send(conn, id, reference(fault.Refer)); err != nil {
					return err
				}
			}
		}
		if err := send(conn, id, entry(found[i], wanted)); err != nil {
			return err
		}
	}
	if paging == nil || fault.Unpaged {
		return reply(ldap.ApplicationSearchResultDone, ldap.LDAPResultSuccess)
	}
	answer := ldap.NewControlPaging(0)
	if to < len(found) {
		answer.SetCookie([]byte(strconv.Itoa(to)))
	}
	return reply(ldap.ApplicationSearchResultDone, ldap.LDAPResultSuccess, answer)
}

// matches evaluates the filters that Ambit sends: and, or, not, equality, presence.
func matches(e company.Entry, filter *ber.Packet) bool {
	switch filter.Tag {
	case ldap.FilterAnd:
		return !slices.ContainsFunc(filter.Children, func(f *ber.Packet) bool { return !matches(e, f) })
	case ldap.FilterOr:
		return slices.ContainsFunc(filter.Children, func(f *ber.Packet) bool { return matches(e, f) })
	case ldap.FilterNot:
		return !matches(e, filter.Children[0])
	case ldap.FilterEqualityMatch:
		name, _ := filter.Children[0].Value.(string)
		want, _ := filter.Children[1].Value.(string)
		return slices.ContainsFunc(e.Attributes, func(a company.Attribute) bool {
			return strings.EqualFold(a.Name, name) && slices.ContainsFunc(a.Values, func(v string) bool { return strings.EqualFold(v, want) })
		})
	case ldap.FilterPresent:
		name := filter.Data.String()
		return strings.EqualFold(name, "objectClass") || slices.ContainsFunc(e.Attributes, func(a company.Attribute) bool { return strings.EqualFold(a.Name, name) })
	}
	return false
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func sequence(tag ber.Tag) *ber.Packet {
	return ber.Encode(ber.ClassUniversal, ber.TypeConstructed, tag, nil, "")
}

func operation(tag ber.Tag) *ber.Packet {
	return ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
}

// entry is a search's entry with the wanted attributes; nil: all.
func entry(e company.Entry, wanted []string) *ber.Packet {
	op := operation(ldap.ApplicationSearchResultEntry)
	op.AppendChild(octets(e.DN))
	attributes := sequence(ber.TagSequence)
	for _, a := range e.Attributes {
		if name, _, _ := strings.Cut(a.Name, ";"); wanted != nil && !slices.Contains(wanted, strings.ToLower(name)) {
			continue
		}
		one, values := sequence(ber.TagSequence), sequence(ber.TagSet)
		for _, v := range a.Values {
			values.AppendChild(octets(v))
		}
		one.AppendChild(octets(a.Name))
		one.AppendChild(values)
		attributes.AppendChild(one)
	}
	op.AppendChild(attributes)
	return op
}

func reference(url string) *ber.Packet {
	op := operation(ldap.ApplicationSearchResultReference)
	op.AppendChild(octets(url))
	return op
}

func result(tag ber.Tag, code uint16) *ber.Packet {
	op := operation(tag)
	op.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, int64(code), ""))
	op.AppendChild(octets(""))
	op.AppendChild(octets(ldap.LDAPResultCodeMap[code]))
	return op
}

func send(conn net.Conn, id int64, op *ber.Packet, controls ...ldap.Control) error {
	_, err := conn.Write(message(id, op, controls...).Bytes())
	return err
}

func message(id int64, op *ber.Packet, controls ...ldap.Control) *ber.Packet {
	message := sequence(ber.TagSequence)
	message.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
	message.AppendChild(op)
	if len(controls) > 0 {
		list := ber.Encode(ber.ClassContext, ber.TypeConstructed, 0, nil, "")
		for _, c := range controls {
			list.AppendChild(c.Encode())
		}
		message.AppendChild(list)
	}
	return message
}
