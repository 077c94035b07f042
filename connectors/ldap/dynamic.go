package ldap

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// dynamicGroup is the class of groups whose members are whoever a search finds
// (Rule LDAP-12). Such a group does not change when its members do, so that each
// round searches anew. Where a search cannot be made or believed, the group stays as
// it was and is told of: it never looks empty.
const (
	dynamicGroup = "groupOfURLs"
	isDynamic    = "(objectClass=" + dynamicGroup + ")"
)

func (c Config) dynamic() bool { return slices.Contains(c.Groups.Classes, dynamicGroup) }

// readDynamic hands on the dynamic groups, and on the last page those that are gone.
func (s *Source) readDynamic(r *round, attributes []string, end *directory.Page, last cursor, next *cursor) error {
	next.Dynamic = nil
	err := s.dynamicGroups(r.connection, isDynamic, attributes, func(page directory.Page, _ string) error {
		for _, o := range page.Upserts {
			next.Dynamic = append(next.Dynamic, o.ID)
		}
		for _, problem := range page.Problems {
			next.Dynamic = append(next.Dynamic, problem.Object)
		}
		return r.hand(page)
	})
	if err != nil {
		return err
	}
	for _, id := range last.Dynamic {
		if !slices.Contains(next.Dynamic, id) {
			end.Removed = append(end.Removed, id)
		}
	}
	return nil
}

// dynamicGroups gives each group that a filter finds with its members, or with a
// problem and nothing else, and its name as the server writes it.
func (s *Source) dynamicGroups(c *connection, filter string, attributes []string, yield func(page directory.Page, dn string) error) error {
	g := s.config.Groups
	p := part{"dynamic groups", g.Base, "(&" + g.Filter + filter + ")", s.config.newShape(directory.KindGroup, attributes)}
	type group struct {
		dn   string // as the server writes it
		page directory.Page
		urls []string
	}
	var groups []group
	var e entry
	if err := c.paged(p.base, p.filter, p.shape.attributes(), nil, func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		p.shape.urls = nil
		var page directory.Page
		err := p.shape.add(&e, &page)
		groups = append(groups, group{e.dn, page, p.shape.urls})
		return err
	}, func() error { return nil }); err != nil {
		return p.of(err)
	}
	for _, g := range groups {
		o := g.page.Upserts[0]
		delete(o.Attributes, directory.AttrMark) // which is of the entry alone
		members, err := s.found(c, g.urls)
		switch problem, odd := errors.AsType[oddURL](err); {
		case odd:
			g.page = directory.Page{Problems: []directory.Problem{{Object: o.ID, DN: o.DN, Text: string(problem) + "; the group stays as it was"}}}
		case err != nil:
			return fmt.Errorf("the members of %s: %w", o.DN, err)
		default:
			own := &g.page.Members[0]
			own.Add = slices.Concat(own.Add, members)
		}
		if err := yield(g.page, g.dn); err != nil {
			return err
		}
	}
	return nil
}

// oddURL is why a group's members are not known.
type oddURL string

func (o oddURL) Error() string { return string(o) }

// found are those whom a group's searches find.
func (s *Source) found(c *connection, urls []string) ([]directory.Ref, error) {
	if len(urls) == 0 {
		return nil, oddURL("it has no memberURL, or none that the account that Ambit binds as may read; let it, or delete the group")
	}
	var members []directory.Ref
	for _, raw := range urls {
		u, err := s.memberURL(raw)
		if err != nil {
			return nil, oddURL(fmt.Sprintf("its memberURL %q is not taken: %v; mend it in the directory", raw, err))
		}
		found, err := s.search(c, u)
		if err != nil {
			return nil, err
		}
		members = append(members, found...)
	}
	return members, nil
}

// memberURL is a search (RFC 4516).
type memberURL struct {
	base, filter string
	scope        int
}

var scopes = map[string]int{"": ldap.ScopeBaseObject, "base": ldap.ScopeBaseObject, "one": ldap.ScopeSingleLevel, "sub": ldap.ScopeWholeSubtree}

// memberURL reads one, as slapd does: spaces need not be escaped, and no label
// follows.
func (s *Source) memberURL(raw string) (memberURL, error) {
	var u memberURL
	scheme, rest, ok := strings.Cut(raw, "://")
	host, rest, hasBase := strings.Cut(rest, "/")
	if !ok || !strings.EqualFold(scheme, "ldap") || !hasBase {
		return u, fmt.Errorf("want ldap:///BASE??SCOPE?FILTER")
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host != "" && !strings.EqualFold(host, s.target.host) {
		return u, fmt.Errorf("it leads to %s, and only the configured server is asked (Rule LDAP-7)", host)
	}
	parts := strings.Split(rest, "?")
	for i := range parts {
		var err error
		if parts[i], err = url.PathUnescape(parts[i]); err != nil {
			return u, err
		}
	}
	parts = append(parts, "", "", "", "")
	u.base, u.filter = parts[0], parts[3]
	or(&u.filter, "(objectClass=*)")
	if _, err := NormalDN(u.base); err != nil || u.base == "" {
		return u, fmt.Errorf("%q is not the DN of a base", u.base)
	}
	if u.scope, ok = scopes[strings.ToLower(parts[2])]; !ok {
		return u, fmt.Errorf("%q is not one of the scopes base, one and sub", parts[2])
	}
	if _, err := ldap.CompileFilter(u.filter); err != nil {
		return u, fmt.Errorf("%q is not a filter: %w", u.filter, err)
	}
	switch {
	case parts[1] != "":
		return u, fmt.Errorf("it asks for values of %s, and not for entries", parts[1])
	case strings.Join(parts[4:], "") != "":
		return u, fmt.Errorf("it has the extension %s", strings.Join(parts[4:], ""))
	}
	return u, nil
}

// search finds the people and groups that a URL means. Nobody is believed only
// where somebody could have been found.
func (s *Source) search(c *connection, u memberURL) ([]directory.Ref, error) {
	ids := idForm(s.config.UniqueID)
	var found []directory.Ref
	var e entry
	err := c.pagedIn(u.scope, u.base, "(&"+u.filter+"(|"+s.config.Users.Filter+s.config.Groups.Filter+"))", []string{s.config.UniqueID}, nil, func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		id := ids.of(&e)
		if id == "" {
			return ids.missing(e.dn)
		}
		found = append(found, directory.ByID(id))
		return nil
	}, func() error { return nil })
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		return nil, oddURL(fmt.Sprintf("the base %s of its memberURL is not there, or the account that Ambit binds as may not see it", u.base))
	case err != nil || len(found) > 0:
		return found, err
	}
	compiled, err := ldap.CompileFilter(u.filter)
	if err != nil {
		return nil, err
	}
	for _, attribute := range append(attributesOf(compiled), "objectClass") {
		there, err := c.anyHas(u.base, attribute)
		if err == nil && !there {
			err = oddURL(fmt.Sprintf("its memberURL finds nobody, and nothing at or below %s has %s as far as the account that Ambit binds as can see; see whether it may search by that", u.base, attribute))
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// anyHas tells whether anything at or below a base has an attribute, as far as can
// be seen.
func (c *connection) anyHas(base, attribute string) (bool, error) {
	there := false
	request := ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 1, 0, false, "("+attribute+"=*)", []string{"1.1"}, nil)
	_, err := c.search(request, func(string) error {
		there = true
		return nil
	}, nil)
	if ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) {
		err = nil // there are more
	}
	err = c.referred(err, request.Scope, func(base string) error {
		there, err = c.anyHas(base, attribute)
		return err
	})
	return there, err
}

// attributesOf lists the attributes that a filter asks for.
func attributesOf(filter *ber.Packet) []string {
	switch filter.Tag {
	case ldap.FilterAnd, ldap.FilterOr, ldap.FilterNot:
		var names []string
		for _, f := range filter.Children {
			names = append(names, attributesOf(f)...)
		}
		return names
	case ldap.FilterPresent:
		return []string{filter.Data.String()}
	case ldap.FilterExtensibleMatch:
		for _, part := range filter.Children {
			if name, ok := part.Value.(string); ok && part.Tag == ldap.MatchingRuleAssertionType {
				return []string{name}
			}
		}
		return nil
	}
	name, _ := filter.Children[0].Value.(string)
	return []string{name}
}
